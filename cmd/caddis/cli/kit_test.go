package cli

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/memory"
	_ "github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	_ "github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/jobs"
)

type Welcome struct {
	UserID int64  `json:"user_id"`
	Secret string `json:"secret,omitempty"`
}

func (Welcome) Kind() string { return "welcome" }

type Report struct {
	Of string `json:"of"`
}

func (Report) Kind() string { return "report" }

// onStores runs a test on a new store of each kind that the command line can reach.
func onStores(t *testing.T, test func(t *testing.T, url string)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newFile(t))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, "redis://"+redistest.Start(t, redistest.Options{}).Addr)
	})
}

// newFile is the URL of a SQLite store that is there.
func newFile(t testing.TB) string {
	url := "sqlite:" + filepath.Join(t.TempDir(), "jobs.db")
	_, err := openStore(t, url).Check(t.Context())
	require.NoError(t, err)
	return url
}

func openStore(t testing.TB, url string) backend.Backend {
	store, err := backend.Open(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// answer is what a call of the command line left.
type answer struct {
	code     int
	out, err string
}

// on calls the command line of a program without handlers.
func on(t testing.TB, url string, args ...string) answer {
	t.Helper()
	return call(t, jobs.NewRegistry(), url, "", args...)
}

// call calls the command line of a program with this registry.
func call(t testing.TB, registry *jobs.Registry, url, stdin string, args ...string) answer {
	t.Helper()
	var out, err bytes.Buffer
	program := newTool(registry)
	program.stdin, program.stdout, program.stderr = strings.NewReader(stdin), &out, &err
	program.getenv = func(name string) string { return map[string]string{StoreVariable: url}[name] }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code := program.run(ctx, args)
	return answer{code, out.String(), err.String()}
}

// newTool is a command line without an environment.
func newTool(registry *jobs.Registry) *tool {
	return &tool{
		name: "caddis", registry: registry, stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard,
		getenv: func(string) string { return "" },
	}
}

// steady makes a text the same in each run: times, versions and how columns are aligned
// around them.
func steady(text string) string {
	for _, part := range []struct{ pattern, by string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "INSTANT"},
		{`\b(\d+d|\d+h\d+m\d+s|\d+h\d\dm|\d+m|\d+s|\d+ms|[\d.]+(µs|ms|s))( |$|\)|,|;|"|\n)`, "TIME$3"},
		{`SQLite [\d.]+|Redis [\d.]+`, "VERSION"},
		{`\b01[0-9A-Z]{24}\b`, "NEW"},
		{`with Caddis \S+ and go[\w.]+`, "with VERSIONS"},
		{`(sqlite|redis):\S+`, "URL"},
		{`[^\S\n]{2,}`, "  "},
		{`(ok|note)  latency .*`, "ok  latency  MEASURED"},
		{`"(ok|note)","about":"latency",.*`, `"ok","about":"latency"}`},
	} {
		text = regexp.MustCompile(part.pattern).ReplaceAllString(text, part.by)
	}
	return text
}

// fleet is a store that holds a job of each state, a worker and a schedule.
type fleet struct {
	t      *testing.T
	store  backend.Backend
	client *jobs.Client
	leases uint64
	calls  uint64 // of Record
}

// newFleet fills a store.
func newFleet(t *testing.T, url string) *fleet {
	store := openStore(t, url)
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	f := &fleet{t: t, store: store, client: client}

	f.enqueue(Welcome{UserID: 1}, jobs.ID("completed-1"), jobs.Retention(time.Hour))
	f.settle(f.lease(), backend.Settlement{Outcome: backend.OutcomeCompleted, Keep: time.Hour, History: &backend.History{
		Attempts: 1, AttemptLimit: 25, Worker: "w-1", StartedAt: time.Now(), FinishedAt: time.Now(), Result: []byte(`{"mail":7}`),
	}})
	f.enqueue(Welcome{UserID: 2, Secret: "hunter2"}, jobs.ID("dead-1"), jobs.MaxAttempts(2), jobs.Tags("vip", "eu"), jobs.Header("trace", "abc"))
	f.settle(f.lease(), backend.Settlement{Outcome: backend.OutcomeDead, History: &backend.History{
		Attempts: 2, AttemptLimit: 2, Worker: "w-1", StartedAt: time.Now(), FinishedAt: time.Now(),
		Failures: []backend.Failure{
			{Attempt: 1, At: time.Now(), Worker: "w-1", Error: "the server is busy"},
			{Attempt: 2, At: time.Now(), Worker: "w-1", Error: "no such user", Stack: "main.go:7\nmain.go:9"},
		},
	}})
	f.enqueue(Report{Of: "stock"}, jobs.ID("blocked-1"))
	f.settle(f.lease(), backend.Settlement{Outcome: backend.OutcomeBlocked, Key: jobs.BlockKey("report")})
	f.enqueue(Welcome{UserID: 3}, jobs.ID("running-1"))
	f.lease()
	f.enqueue(Welcome{UserID: 4}, jobs.ID("cancelled-1"))
	_, err = client.Cancel(t.Context(), "mail", "cancelled-1")
	require.NoError(t, err)
	f.enqueue(Welcome{UserID: 5}, jobs.ID("waiting-1"), jobs.Tags("vip"))
	f.enqueue(Report{Of: "orders"}, jobs.ID("scheduled-1"), jobs.In(3*time.Hour))

	_, err = store.Announce(t.Context(), backend.WorkerInfo{
		ID: "w-1", Host: "host-a", PID: 77, Queues: []string{"mail"}, Kinds: []string{"welcome"},
		Concurrency: 10, Running: 1, State: "running", StartedAt: time.Now(),
	}, time.Hour)
	require.NoError(t, err)
	at := time.Now().Add(-time.Minute)
	f.record(
		backend.Event{Type: jobs.EventWorkerStarted, At: at, Worker: "w-1"},
		backend.Event{Type: jobs.EventStarted, At: at.Add(1), Queue: "mail", Worker: "w-1", ID: "dead-1", Kind: "welcome", Attempt: 2},
		backend.Event{Type: jobs.EventDied, At: at.Add(2), Queue: "mail", Worker: "w-1", ID: "dead-1", Kind: "welcome", Attempt: 2,
			Error: "no such user\nat all", Took: 12 * time.Millisecond},
		backend.Event{Type: jobs.EventLeftOut, At: at.Add(3), Queue: "mail", Worker: "w-1", Jobs: 7},
		backend.Event{Type: jobs.EventRecovered, At: at.Add(4), Worker: "w-1", Jobs: 3},
	)
	_, err = client.PutSchedule(t.Context(), "nightly", jobs.Cron("30 2 * * *", "Europe/Berlin"), Report{Of: "nights"}, jobs.Queue("mail"))
	require.NoError(t, err)
	return f
}

func (f *fleet) enqueue(args jobs.Args, options ...jobs.EnqueueOption) {
	f.t.Helper()
	_, err := f.client.Enqueue(f.t.Context(), args, append(options, jobs.Queue("mail"))...)
	require.NoError(f.t, err)
}

// record tells the store of events.
func (f *fleet) record(events ...backend.Event) {
	f.t.Helper()
	f.calls++
	require.NoError(f.t, f.store.Record(f.t.Context(), backend.Record{Worker: "w-1", Call: f.calls, Events: events}))
}

// enqueueMany stores jobs that wait, of kinds in turns.
func (f *fleet) enqueueMany(n int, kinds ...jobs.Args) {
	f.t.Helper()
	var items []jobs.Item
	for i := range n {
		items = append(items, jobs.New(kinds[i%len(kinds)], jobs.Queue("mail")))
	}
	_, err := f.client.EnqueueMany(f.t.Context(), items...)
	require.NoError(f.t, err)
}

// lease takes the one job that waits.
func (f *fleet) lease() *backend.Lease {
	f.t.Helper()
	f.leases++
	reply, err := f.store.Lease(f.t.Context(), backend.LeaseRequest{
		Worker: "w-1", Token: "w-1." + string(rune('a'+f.leases)), Queues: []string{"mail"}, Max: 1, Duration: time.Hour,
	})
	require.NoError(f.t, err)
	require.Len(f.t, reply.Leases, 1)
	return &reply.Leases[0]
}

func (f *fleet) settle(lease *backend.Lease, s backend.Settlement) {
	f.t.Helper()
	s.Queue, s.ID, s.Token = lease.Job.Queue, lease.Job.ID, lease.Token
	results, err := f.store.Settle(f.t.Context(), backend.SettleRequest{Worker: "w-1", Call: f.leases, Settlements: []backend.Settlement{s}})
	require.NoError(f.t, err)
	require.NoError(f.t, results[0].Err)
	require.False(f.t, results[0].Stale)
}

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		programOfTests()
	}
	os.Exit(m.Run())
}

// lock keeps all others from writing to a file of SQLite until it is undone.
func lock(t testing.TB, url string) (undo func()) {
	db, err := sql.Open("sqlite", "file:"+strings.TrimPrefix(url, "sqlite:")+"?_txlock=immediate")
	require.NoError(t, err)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	return func() {
		require.NoError(t, tx.Rollback())
		require.NoError(t, db.Close())
	}
}
