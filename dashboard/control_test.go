package dashboard_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

// told is what counts for a worker.
func (s *site) told(worker string, verb jobs.OrderVerb) jobs.Order {
	s.t.Helper()
	orders, err := jobs.ReadOrders(s.t.Context(), s.store)
	require.NoError(s.t, err)
	return orders.For(worker, verb)
}

func TestWorkersAreToldOneOrAllOfThem(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.fill()
		one := []string{"worker", "w-1", "back", "worker?id=w-1"}
		require.Equal(t, "The worker w-1 takes no more jobs until it is resumed; those that run go on.", s.act("quiet-workers", one...))
		require.EqualValues(t, 1, s.told("w-1", jobs.OrderQuiet).Value)
		require.Zero(t, s.told("w-2", jobs.OrderQuiet).Number, "another one is not told")
		require.Equal(t, "The worker w-1 takes jobs again.", s.act("resume-workers", one...))
		require.Zero(t, s.told("w-1", jobs.OrderQuiet).Value)
		require.Equal(t, "The worker w-1 has 7 executors.", s.act("resize-workers", append(one, "concurrency", "7")...))
		require.EqualValues(t, 7, s.told("w-1", jobs.OrderResize).Value)
		require.Equal(t, "All workers have as many executors as configured. This counts for those that start later, too.", s.act("resize-workers", "who", "all", "concurrency", "0"))
		require.Zero(t, s.told("w-1", jobs.OrderResize).Value)
		require.Contains(t, s.act("quiet-workers", "who", "all"), "All workers take no more jobs")
		require.EqualValues(t, 1, s.told("w-2", jobs.OrderQuiet).Value)
		require.Contains(t, s.act("stop-workers", one...), "The worker w-1 stops.")
		require.NotZero(t, s.told("w-1", jobs.OrderStop).Number)
		require.Zero(t, s.told("w-2", jobs.OrderStop).Number)
		require.Contains(t, s.log.String(), `act="stop workers" workers=[w-1]`)
		require.Contains(t, s.log.String(), `act="quiet workers" workers=all`)
	})
}

func TestWorkersAreNotToldByMistake(t *testing.T) {
	t.Parallel()
	var name string // of somebody else for each act, as their rate is bounded
	s := newSite(t, "memory:", dashboard.Config{Authorize: func(*http.Request) (dashboard.Visitor, error) {
		return dashboard.Visitor{Name: name, Role: dashboard.RoleAdmin}, nil
	}})
	s.fill()
	for _, act := range []string{"quiet-workers", "resume-workers", "resize-workers", "stop-workers", "worker-stacks"} {
		name = act
		require.Equal(t, http.StatusBadRequest, s.post(act, "concurrency", "1").Code, "nobody is named, which is not all: "+act)
		require.Equal(t, http.StatusBadRequest, s.post(act, "concurrency", "1", "worker", "w-1", "who", "all").Code, act)
		require.Equal(t, http.StatusNotFound, s.post(act, "concurrency", "1", "worker", "w-1", "worker", evil).Code, act)
	}
	for _, n := range []string{"", "-1", "x", "1000000000", "1e3"} {
		require.Equal(t, http.StatusBadRequest, s.post("resize-workers", "worker", "w-1", "concurrency", n).Code, n)
	}
	many := []string{}
	for range 101 {
		many = append(many, "worker", "w-1")
	}
	require.Equal(t, http.StatusBadRequest, s.post("stop-workers", many...).Code)
	require.Zero(t, s.told("w-1", jobs.OrderStop).Number)
	require.Contains(t, s.page("workers"), `<details class="sure"><summary>Stop all…</summary>`, "it is asked once more")
}

func TestTheStacksOfHandlersAreShown(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		worker, release := s.work(1)
		s.enqueue(Welcome{}, jobs.ID("slow-1"))
		require.Eventually(t, func() bool { return worker.Status().Running == 1 }, 20*time.Second, 5*time.Millisecond)
		id := worker.Status().Worker
		require.Eventually(t, func() bool { return s.get("worker?id="+id).Code == http.StatusOK }, 20*time.Second, 5*time.Millisecond)
		w := s.post("worker-stacks", "worker", id, "back", "worker?id="+id)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Contains(t, w.Body.String(), "dashboard_test.(*site).work")
		require.Contains(t, w.Body.String(), `href="worker?id=`+id)
		require.Contains(t, w.Body.String(), "slow-1")
		w = s.post("worker-stacks", "worker", id, "job", "mail/other")
		require.Contains(t, w.Body.String(), "does not run any more")
		require.Contains(t, s.page("job?queue=mail&id=slow-1"), "Where its handler is")
		release()
	})
}

// work starts a worker whose handlers wait until they are released.
func (s *site) work(concurrency int) (system *caddis.System, release func()) {
	s.t.Helper()
	registry, gate := jobs.NewRegistry(), make(chan struct{})
	jobs.Handle(registry, func(ctx context.Context, _ *jobs.Job[Welcome]) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}, jobs.Queue("mail"))
	return s.start(caddis.Config{Registry: registry, Concurrency: concurrency, Grace: 5 * time.Second}), func() { close(gate) }
}

// start starts a worker, which is stopped at the end of the test.
func (s *site) start(config caddis.Config) *caddis.System {
	s.t.Helper()
	config.Backend, config.Logger = s.store, slog.New(slog.DiscardHandler)
	system, err := caddis.New(config)
	require.NoError(s.t, err)
	require.NoError(s.t, system.Start(context.Background()))
	s.t.Cleanup(func() {
		_, err := system.Stop().Wait(context.Background())
		require.NoError(s.t, err)
	})
	return system
}
