//go:build unix

package lab_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
	"github.com/caddis-go/caddis/jobs"
)

// scene is a store under load: producers, worker processes, and the books.
type scene struct {
	t        *testing.T
	books    *lab.Books
	settings lab.Settings
	workers  []*lab.Worker
	journal  lab.Reader
	load     lab.Load
	producer *lab.Producers
	// honest is where the store itself is asked at the end, past all proxies.
	honest string
	// lost sums up what the workers reported as taken by somebody else.
	lost int
}

// leaseTime is the lease of the workers of a scene.
const leaseTime = 2 * time.Second

// settling is how long before a fault the store may have confirmed what it then lost, or
// did itself not know any more.
const settling = time.Second

// overBoth plays a test behind a proxy that takes plain connections, and behind one
// that takes them over TLS.
func overBoth(t *testing.T, f func(t *testing.T, server *redistest.Server, proxy *lab.Proxy)) {
	t.Helper()
	t.Parallel()
	for name, start := range map[string]func(testing.TB, string) *lab.Proxy{"plain": lab.StartProxy, "over TLS": lab.StartSecureProxy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			f(t, server, start(t, server.Addr))
		})
	}
}

// play starts two producers and so many workers on a URL, and waits until work
// goes on. change may alter the settings.
func play(t *testing.T, url string, workers int, change func(s *scene)) *scene {
	t.Helper()
	s := &scene{t: t, books: lab.NewBooks(), honest: url}
	s.settings = lab.Settings{
		URL: url, Journal: filepath.Join(t.TempDir(), "journal"), Concurrency: 10, Lease: leaseTime, Grace: 5 * time.Second,
	}
	s.load = lab.Load{
		URL: url, Producers: 2, Batch: 5, Every: 40 * time.Millisecond,
		Task: func(i int) lab.Task { return lab.Task{Milliseconds: 2 + i%20} },
	}
	if change != nil {
		change(s)
	}
	s.journal.Path = s.settings.Journal
	for range workers {
		s.hire(s.settings)
	}
	s.producer = lab.Produce(t, s.books, s.load)
	s.flow(time.Second)
	return s
}

func (s *scene) hire(settings lab.Settings) *lab.Worker {
	s.t.Helper()
	w := lab.StartWorker(s.t, settings)
	s.workers = append(s.workers, w)
	return w
}

func (s *scene) ledger() lab.Ledger { return s.journal.Read(s.t) }

// done counts the ends of runs.
func (s *scene) done() (n int) {
	ledger := s.ledger()
	for job := range ledger {
		n += ledger.Count(job, "end")
	}
	return n
}

// flow lets work go on for a time, and waits until some was done in it.
func (s *scene) flow(d time.Duration) {
	s.t.Helper()
	before := s.done()
	pause(d)
	require.Eventually(s.t, func() bool { return s.done() > before+20 }, hung, 20*time.Millisecond, "no work is done")
}

// recovered waits until the throughput is back, and says how long that took.
func (s *scene) recovered(began, back time.Time) time.Duration {
	s.t.Helper()
	var after time.Duration
	offered := int(time.Second/s.load.Every) * s.load.Producers * s.load.Batch
	require.Eventually(s.t, func() bool {
		var ok bool
		after, ok = s.ledger().Recovery(began, back, offered)
		return ok
	}, hung, 50*time.Millisecond, "the throughput does not come back")
	s.t.Logf("throughput was back to 90 %% %v after the fault ended", after.Round(time.Millisecond))
	return after
}

// resumed waits until each worker has begun a job that was enqueued after an instant,
// and says how long that took.
func (s *scene) resumed(back time.Time) (after time.Duration) {
	s.t.Helper()
	for _, w := range s.workers {
		var began time.Time
		require.Eventually(s.t, func() bool {
			for job, entries := range s.ledger() {
				for _, e := range entries {
					if e.Event == "start" && e.PID == w.PID() && (began.IsZero() || e.At.Before(began)) && s.books.OrderedAfter(job, back) {
						began = e.At
					}
				}
			}
			return !began.IsZero()
		}, hung, 50*time.Millisecond, "a worker takes no jobs any more")
		after = max(after, began.Sub(back))
	}
	s.t.Logf("all workers took jobs again %v after the fault ended", after.Round(time.Millisecond))
	return after
}

// kill kills a worker and lets another take its place.
func (s *scene) kill(w *lab.Worker) {
	s.t.Helper()
	at := time.Now()
	w.Kill()
	s.books.Blame(lab.Fault{What: "its worker was killed", PID: w.PID(), From: at.Add(-settling), To: time.Now(), Repeats: true})
	for i := range s.workers {
		if s.workers[i] == w {
			s.workers[i] = lab.StartWorker(s.t, s.settings)
		}
	}
}

// settle ends the load, lets the work be finished and the workers stop, and
// judges.
func (s *scene) settle() lab.Verdict {
	s.t.Helper()
	s.producer.Stop()
	s.quiet()
	for _, w := range s.workers {
		s.dismiss(w)
	}
	verdict := s.books.Judge(s.ledger(), lab.Stored(s.t, s.honest))
	verdict.Require(s.t)
	require.Zero(s.t, verdict.Unknown, "orders without an answer")
	return verdict
}

// dismiss stops a worker and checks its report.
func (s *scene) dismiss(w *lab.Worker) {
	s.t.Helper()
	require.True(s.t, w.Running(), "a worker has ended: %s", w.Log())
	w.Terminate()
	code, report := w.Exit(hung)
	require.Zero(s.t, code, "worker %d said:\n%s", w.PID(), w.Log())
	require.Equal(s.t, report.Leased, report.Ended(), "the report does not add up: %v", &report)
	require.Zero(s.t, report.Unconfirmed, "%v", &report)
	s.lost += report.Lost
	if strings.HasPrefix(s.settings.URL, "redis+") {
		return // of Sentinel and a Cluster the client library itself has things to say
	}
	for line := range strings.Lines(w.Log()) {
		require.True(s.t, strings.HasPrefix(line, "time="), "the client library writes past the logger: %s", line)
	}
}

// quiet waits until all jobs have ended.
func (s *scene) quiet() {
	s.t.Helper()
	store, err := backend.Open(s.honest)
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, store.Close()) }()
	var q backend.QueueInfo
	require.Eventually(s.t, func() bool {
		q, err = store.Queue(s.t.Context(), jobs.DefaultQueue)
		return err == nil && lab.Active(q.Counts) == 0
	}, hung, 50*time.Millisecond, "the work does not end: %v", &q)
}
