package cli

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// diagnoses are what doctor says of a fleet in a file.
var diagnoses = []step{
	{"doctor", 1, `
LEVEL  ABOUT  FOUND  WHAT TO DO
ok  program  caddis (devel), with VERSIONS
ok  store  URL VERSION can be used
ok  latency  MEASURED
ok  workers  1 running
note  queue mail  1 job is dead  caddis errors --queue mail
warning  queue mail  1 job waits for a worker that knows the kind report  start a worker that has a handler for it
`, `
caddis: 1 of 6 findings are warnings or errors
`},
	{"doctor -o jsonl", 1, `
{"level":"ok","about":"program","text":"caddis (devel), with VERSIONS"}
{"level":"ok","about":"store","text":"URL VERSION can be used"}
{"level":"ok","about":"latency"}
{"level":"ok","about":"workers","text":"1 running"}
{"level":"note","about":"queue mail","text":"1 job is dead","remedy":"caddis errors --queue mail","problem":"dead","queue":"mail"}
{"level":"warning","about":"queue mail","text":"1 job waits for a worker that knows the kind report","remedy":"start a worker that has a handler for it","problem":"unknown-kind","queue":"mail"}
`, `
caddis: 1 of 6 findings are warnings or errors
`},
}

func TestDoctorSaysWhatItFound(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	newFleet(t, url)
	for _, s := range diagnoses {
		s.check(t, url)
	}
}

// findings calls doctor and answers what it found but for latency, by what it is about.
func findings(t testing.TB, url string, code int) map[string]operate.Finding {
	t.Helper()
	a := on(t, url, "doctor", "-o", "json")
	require.Equal(t, code, a.code, a.out+a.err)
	var answer struct{ Findings []operate.Finding }
	require.NoError(t, json.Unmarshal([]byte(a.out), &answer), a.out)
	found := map[string]operate.Finding{}
	for _, f := range answer.Findings {
		if f.About != "latency" && f.Level != operate.LevelNote {
			found[f.About] = f
		}
	}
	return found
}

func TestDoctorFindsJobsThatNobodyTakes(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		store := openStore(t, url)
		announce := func(state string, queues ...string) {
			_, err := store.Announce(t.Context(), backend.WorkerInfo{
				ID: "w-1", Queues: queues, Kinds: []string{"welcome"}, Concurrency: 1, State: state, StartedAt: time.Now(),
			}, time.Hour)
			require.NoError(t, err)
		}
		announce("running", "default")
		require.NotContains(t, findings(t, url, unsafe(url)), "queue mail")
		require.Zero(t, on(t, url, "enqueue", "welcome", "--queue", "mail").code)

		require.Contains(t, findings(t, url, 1)["queue mail"].Text, "1 job waits, and no worker takes from it, the oldest for ")
		announce("quiet", "mail")
		require.Contains(t, findings(t, url, 1)["queue mail"].Text, "no worker of it is running, the first is quiet, the oldest for ")
		announce("running", "mail")
		require.NotContains(t, findings(t, url, unsafe(url)), "queue mail")
		require.Zero(t, on(t, url, "queue", "pause", "mail").code)
		require.Equal(t, operate.Finding{
			Level: operate.LevelWarning, About: "queue mail", Text: "it is paused, and 1 job waits", Remedy: "caddis queue resume mail",
			Problem: operate.ProblemPaused, Queue: "mail",
		}, findings(t, url, 1)["queue mail"])
	})
}

// unsafe is how doctor ends on a store that holds nothing which is stuck: the Redis of the
// tests keeps nothing on disk.
func unsafe(url string) int {
	if strings.HasPrefix(url, "redis") {
		return 1
	}
	return 0
}

func TestDoctorFindsSchedulesThatNobodyTicks(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		store := openStore(t, url)
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		info, err := client.PutSchedule(t.Context(), "often", jobs.Every(time.Hour), Report{}, jobs.Queue("mail"))
		require.NoError(t, err)
		require.NotContains(t, findings(t, url, unsafe(url)), "schedule often")

		late := info.Schedule
		late.Next = time.Now().Add(-3 * time.Hour).Truncate(time.Millisecond)
		_, err = store.PutSchedule(t.Context(), late)
		require.NoError(t, err)
		require.Contains(t, findings(t, url, 1)["schedule often"].Text, "and no worker has enqueued its job")
		require.Zero(t, on(t, url, "schedule", "pause", "often").code)
		require.NotContains(t, findings(t, url, unsafe(url)), "schedule often", "it is paused")
	})
}

func TestDoctorTellsWhatOfTheStoreIsUnsafe(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Args: []string{"--maxmemory-policy", "allkeys-lru"}})
	found := findings(t, "redis://"+server.Addr, 1)
	require.Equal(t, operate.LevelWarning, found["maxmemory-policy"].Level)
	require.Equal(t, "set it to noeviction", found["maxmemory-policy"].Remedy)
	require.Equal(t, operate.LevelWarning, found["appendonly"].Level)
	require.Equal(t, operate.LevelOK, found["store"].Level)

	server.Stop()
	a := on(t, "redis://"+server.Addr, "doctor")
	require.Equal(t, exitFailed, a.code)
	require.Contains(t, steady(a.out), "error  store  URL cannot be used: check: the job store is unavailable")
}

func TestAnOperatorWithoutTheRightsOfAWorkerIsToldSoAndNoMore(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	newFleet(t, "redis://"+server.Addr)
	admin := server.Client()
	defer func() { _ = admin.Close() }()
	text, err := os.ReadFile("../../../docs/redis.md")
	require.NoError(t, err)
	rights := regexp.MustCompile("(?s)ACL SETUSER operator (.*?)```").FindSubmatch(text)
	require.NotNil(t, rights, "docs/redis.md has no ACL SETUSER operator")
	require.NoError(t, admin.ACLSetUser(t.Context(), "operator", strings.Fields(strings.ReplaceAll(string(rights[1]), "\\\n", ""))...).Err())
	url := "redis://operator:secret@" + server.Addr
	for _, s := range story {
		if !strings.HasPrefix(s.line, "enqueue") && !strings.Contains(s.line, "fresh") {
			s.check(t, url)
		}
		if s.line == "job show dead-1" { // what follows acts, and was tried elsewhere
			break
		}
	}
	a := on(t, url, "doctor")
	require.NotContains(t, a.out, "cannot be used")
	require.Contains(t, steady(a.out), "ok  store  URL can be used")

	a = on(t, "redis://operator:wrong@"+server.Addr, "doctor")
	require.Equal(t, exitFailed, a.code)
	require.Contains(t, a.out, "look at the password, and at the rights that docs/redis.md lists")
}
