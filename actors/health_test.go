package actors_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

type probe struct {
	code int
	body map[string]any
}

func probed(t *testing.T, h http.Handler, path string) probe {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	p := probe{code: w.Code}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p.body))
	require.Equal(t, w.Code == http.StatusOK, p.body["ok"])
	return p
}

func TestProbesTellTheStateAndTheTimeLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), times(20*time.Second, 4*time.Second, 2*time.Second))
		health := actors.Health(r.worker.Status, actors.DefaultLease)
		r.enqueue(1)
		synctest.Wait()
		look := func(state actors.State, live, ready int) probe {
			t.Helper()
			synctest.Wait()
			l, rd := probed(t, health, "/livez"), probed(t, health, "/readyz")
			require.EqualValues(t, state, l.body["state"])
			require.Equal(t, live, l.code)
			require.Equal(t, ready, rd.code)
			return rd
		}
		running := look(actors.StateRunning, 200, 200)
		require.NotContains(t, running.body, "time_left")
		require.EqualValues(t, 1, running.body["running"])

		r.worker.Quiet()
		look(actors.StateQuiet, 200, 503)
		r.worker.Resume()
		look(actors.StateRunning, 200, 200)

		r.worker.Stop(actors.Stop{})
		require.Equal(t, "20s", look(actors.StateDraining, 200, 503).body["time_left"])
		pause(15 * time.Second)
		require.Equal(t, "5s", look(actors.StateCancelling, 200, 503).body["time_left"])
		pause(3*time.Second - 1)
		require.Equal(t, "2s", look(actors.StateCancelling, 200, 503).body["time_left"])
		r.report()
		look(actors.StateStopped, 200, 503)
	})
}

func TestACrashedWorkerIsNotLive(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(context.Context, *jobs.Job[task]) error { panic("at the disco") },
			strategy(actors.Always(actor.EscalateDirective)))
		r.enqueue(1)
		r.report()
		require.Equal(t, 503, probed(t, actors.Health(r.worker.Status, actors.DefaultLease), "/livez").code)
	})
}

func TestAStoreThatIsAwayIsNoReasonToRestart(t *testing.T) {
	for name, how := range outages {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, noop)
				synctest.Wait()
				r.outage(how)
				health := actors.Health(r.worker.Status, actors.DefaultLease)
				for range 60 {
					pause(time.Minute)
					p := probed(t, health, "/livez")
					require.Equal(t, 200, p.code)
					require.Equal(t, "the job store is unavailable or refuses a call; the log says more", p.body["backend_error"],
						"a stranger does not learn where the store is")
				}
			})
		})
	}
}

// A worker that is alive but consumes nothing (celery, bull, bullmq).
func TestLessonLivenessMeansProgress(t *testing.T) {
	for _, verb := range []string{"lease", "settle", "renew", "sweep", "announce"} {
		t.Run("a call that never ends: "+verb, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				gate := make(chan struct{})
				defer close(gate)
				r := newStore(t)
				r.faulty.on(func(context.Context, func() error) error { // whatever the context says
					<-gate
					return errDown
				}, verb)
				r.enqueue(1)
				r.start(polite)
				health := actors.Health(r.worker.Status, actors.DefaultLease)
				synctest.Wait()
				require.Equal(t, 200, probed(t, health, "/livez").code)
				if verb == "settle" {
					_, err := r.client.Cancel(t.Context(), jobs.DefaultQueue, "0")
					require.NoError(t, err)
				}
				pause(2*actors.DefaultLease + 11*time.Second)
				require.Equal(t, 503, probed(t, health, "/livez").code)
			})
		})
	}
	for _, part := range []string{"fetcher", "keeper"} {
		t.Run("an actor that hangs: "+part, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, noop)
				synctest.Wait()
				suspend(r.system, partName(part))
				health := actors.Health(r.worker.Status, actors.DefaultLease)
				pause(2*actors.DefaultLease + 17*time.Second)
				require.Equal(t, 503, probed(t, health, "/livez").code)
				r.system.Root.Stop(r.worker.PID())
			})
		})
	}
}

// suspend makes an actor deaf.
func suspend(system *actor.ActorSystem, name string) {
	process, _ := system.ProcessRegistry.GetLocal(name)
	process.SendSystemMessage(system.NewLocalPID(name), &actor.SuspendMailbox{})
}

func TestOtherPathsAndMethodsAreRefused(t *testing.T) {
	t.Parallel()
	h := actors.Health(func() actors.Status { return actors.Status{State: actors.StateRunning} }, time.Second)
	for path, want := range map[string]int{"/": 404, "/livez/x": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, want, w.Code)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/livez", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
}

func TestTheDrainPageWritesOutWhatATerminalWouldObey(t *testing.T) {
	t.Parallel()
	tree := jobs.WorkerTree{Worker: "w", State: "running", Executors: []jobs.WorkerExecutor{
		{Queue: "q", ID: "a\u009b31m\u202eb", Kind: "task"},
	}}
	page := func() string {
		w := httptest.NewRecorder()
		actors.DrainPage(func() jobs.WorkerTree { return tree }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/drain", nil))
		return w.Body.String()
	}
	require.Contains(t, page(), `a\u009b31m\u202eb`)
	tree.Report = &jobs.WorkerReport{Reason: "panic: \x1b[2J\nall is well"}
	require.Contains(t, page(), `panic: \u001b[2J all is well: `)
}

func TestTheDrainPageTellsAStopStepByStep(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		defer close(gate)
		r := newRig(t, obstinate(gate), times(20*time.Second, 4*time.Second, 2*time.Second))
		r.enqueue(1)
		synctest.Wait()
		page := func() string {
			t.Helper()
			synctest.Wait()
			w := httptest.NewRecorder()
			actors.DrainPage(r.worker.Tree).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/drain", nil))
			require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
			return w.Body.String()
		}
		require.Contains(t, page(), " is running, for 0s.\n1 of ")
		require.NotContains(t, page(), "It stops")

		r.worker.Stop(actors.Stop{})
		pause(time.Second)
		require.Contains(t, page(), "It stops. It began 1s ago. Jobs are cancelled in 13s, those that are left are handed back in 17s, and all is over in 19s at the latest.")
		require.Regexp(t, `default +\S+ +task +1s`, page())
		pause(15 * time.Second)
		require.Contains(t, page(), "is cancelling, for 2s.")
		require.Contains(t, page(), "its context ended 2s ago")
		require.Contains(t, page(), "Jobs were cancelled 2s ago, those that are left are handed back in 2s, and all")
		r.report()
		ended := page()
		require.Contains(t, ended, "is stopped, for 0s.")
		require.Contains(t, ended, "1 leased, 1 abandoned.")
		pause(time.Minute)
		require.Contains(t, page(), "is stopped, for 1m0s.")
	})
}
