package dashboard_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

// follow calls f for each change that a stream tells of, until the test ends.
func (s *site) follow(path string, f func()) {
	r, w := io.Pipe()
	ctx, hangUp := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		request := httptest.NewRequest(http.MethodGet, "/"+path, nil).WithContext(ctx)
		request.RemoteAddr, request.Host = "127.0.0.1:40000", "localhost"
		s.board.ServeHTTP(&pipe{w, http.Header{}}, request)
		_ = w.Close()
	})
	all.Go(func() {
		for scan := bufio.NewScanner(r); scan.Scan(); {
			if scan.Text() == "event: change" {
				f()
			}
		}
	})
	s.t.Cleanup(func() {
		hangUp()
		_ = r.Close()
		all.Wait()
	})
}

// slowly is a store that takes a second to settle, so that each step of a stop lasts.
type slowly struct{ backend.Backend }

func (s *slowly) Settle(ctx context.Context, request backend.SettleRequest) ([]backend.SettleResult, error) {
	time.Sleep(time.Second)
	return s.Backend.Settle(ctx, request)
}

// A browser shows each phase of a stop within 300 ms.
func TestAStopIsWatchedAsItHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := newSite(t, "memory:", dashboard.Config{}).store
		s := onStore(t, &slowly{memory}, dashboard.Config{})
		registry, gate := jobs.NewRegistry(), make(chan struct{})
		defer close(gate)
		jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
			switch job.ID {
			case "ends":
				time.Sleep(2 * time.Second)
				return nil
			case "returns":
				<-ctx.Done()
				return context.Cause(ctx)
			}
			<-gate // it ignores its context
			return nil
		}, jobs.Queue("mail"))
		system := s.start(caddis.Config{Registry: registry, Concurrency: 4, Grace: 20 * time.Second, CancelTime: 5 * time.Second, HandBackTime: 3 * time.Second})
		for _, id := range []string{"ends", "returns", "ignores"} {
			s.enqueue(Welcome{}, jobs.ID(id))
		}
		time.Sleep(10 * time.Second)
		id := system.Status().Worker
		path := "worker?id=" + id
		s.page(path) // which asks for the tree
		time.Sleep(50 * time.Millisecond)
		text := s.text(path)
		for _, part := range []string{"Actors", "supervisor running", "fetcher takes from 2 of 2 queues", "pool 2 of 4 executors have a job",
			"settler the store has confirmed everything", "keeper keeps the leases of 2 jobs", "clock", "recorder", "exec-", "returns welcome in mail runs begun"} {
			require.Contains(t, text, part)
		}

		// shown is when the page first showed a step, as a browser reads it.
		var mu sync.Mutex
		shown, texts := map[string]time.Time{}, map[string]string{}
		now := regexp.MustCompile(`aria-current="step">([a-z-]+)<`)
		s.follow("live?worker="+id, func() {
			mu.Lock()
			defer mu.Unlock()
			page := s.get(path).Body.String()
			if found := now.FindStringSubmatch(page); found != nil {
				if _, before := shown[found[1]]; !before {
					shown[found[1]] = time.Now()
				}
				texts[found[1]] = textOf(page)
			}
		})
		began := map[string]time.Time{}
		time.Sleep(time.Second)
		future := system.Stop()
		for state := ""; state != "stopped"; time.Sleep(time.Millisecond) {
			if now := string(system.Status().State); now != state {
				state = now
				began[state] = time.Now()
			}
		}
		report, err := future.Wait(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		for _, step := range []string{"draining", "cancelling", "handing-back", "stopped"} {
			require.Contains(t, shown, step)
			require.LessOrEqual(t, shown[step].Sub(began[step]), 300*time.Millisecond, step)
		}
		require.Contains(t, texts["draining"], "waits for 2 jobs that have not ended")
		require.Contains(t, texts["draining"], "The contexts of what still runs are cancelled in")
		require.Contains(t, texts["cancelling"], "waits for 1 job that has not ended")
		require.Regexp(t, `ignores welcome in mail was told to end \d+\w+ ago, and still runs`, texts["cancelling"])
		require.Contains(t, texts["handing-back"], "was handed back, and its handler still runs: it ignores its context")
		for step, text := range texts {
			require.NotRegexp(t, `\b1 jobs`, text, step)
		}
		require.Regexp(t, `of 1 job\b`, texts["cancelling"])
		last := s.text(path)
		require.Contains(t, last, fmt.Sprintf("leased %d", report.Leased))
		for _, part := range []string{"stop was asked for", "interrupted 1", "abandoned 1", "Abandoned", "ignores welcome in mail"} {
			require.Contains(t, last, part)
		}
		require.Contains(t, s.text("workers"), "Stopped in the last hour "+id)
		time.Sleep(50 * time.Minute)
		require.Contains(t, s.text(path), "abandoned 1", "the report stays readable")
		time.Sleep(11 * time.Minute)
		require.Equal(t, http.StatusNotFound, s.get(path).Code)
		s.board.Close()
	})
}

func TestWhatAWorkerTellsIsShownAndNeverObeyed(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		const id = `w"><script>alert(1)</script>`
		_, err := s.store.Announce(t.Context(), backend.WorkerInfo{ID: id, Queues: []string{"mail"}, State: "running", StartedAt: time.Now()}, time.Hour)
		require.NoError(t, err)
		now := time.Now()
		bad := jobs.WorkerExecutor{Name: evil, Queue: "mail", ID: evil, Kind: evil, Began: now}
		tree := jobs.WorkerTree{
			Worker: id, At: now, State: evil, Since: now, StoreError: evil, Stop: &jobs.WorkerStop{Began: now, CancelAt: now.Add(time.Hour)},
			Parts: []jobs.WorkerPart{{Name: evil, Does: evil}, {Name: "pool", Does: evil}}, Executors: []jobs.WorkerExecutor{bad},
		}
		path := "worker?id=" + `w%22%3E%3Cscript%3Ealert(1)%3C/script%3E`
		for range 2 {
			require.NoError(t, jobs.TellTree(t.Context(), s.store, tree))
			page := s.page(path)
			require.Equal(t, 1, strings.Count(page, "<script"))
			require.NotContains(t, page, "<img")
			require.NotContains(t, regexp.MustCompile(` value="[^"]*"`).ReplaceAllString(page, ""), "\u202e", "the order of letters is not turned")
			require.Contains(t, page, "\\u202e", "but shown")
			tree.Report = &jobs.WorkerReport{Reason: evil, Became: []jobs.Became{{How: evil, Jobs: 1}}, Abandoned: []jobs.WorkerExecutor{bad}, Unconfirmed: []jobs.WorkerExecutor{bad}}
		}
	})
}

func TestTheTreeOfAWorkerThatIsSilentIsNotTakenForPresent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "memory:", dashboard.Config{})
		s.fill()
		require.NoError(t, jobs.TellTree(t.Context(), s.store, jobs.WorkerTree{Worker: "w-1", At: time.Now(), State: "draining"}))
		require.Contains(t, s.page("worker?id=w-1"), `aria-current="step">draining`)
		time.Sleep(20 * time.Second)
		require.NotContains(t, s.page("worker?id=w-1"), `aria-current="step"`)
		require.Contains(t, s.text("worker?id=w-1"), "running-1", "what it holds is read from the store")
	})
}

func TestStreamsAboutManyWorkersCostTheStoreWhatTwentyDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &counting{Backend: newSite(t, "memory:", dashboard.Config{}).store, calls: map[string]int{}}
		s := onStore(t, store, dashboard.Config{})
		for i := range 100 {
			s.follow(fmt.Sprintf("live?worker=w-%d", i), func() {})
		}
		s.follow("live?worker="+url.QueryEscape(strings.Repeat("\x00<script>", 100)), func() {})
		time.Sleep(time.Second)
		store.taken()
		time.Sleep(10 * time.Second)
		reads := store.reads("Memo")
		require.Greater(t, reads, 100)
		require.LessOrEqual(t, reads, 20*100+20)
		s.board.Close()
	})
}
