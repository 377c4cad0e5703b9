package dashboard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

func TestEachPageShowsWhatIsStored(t *testing.T) {
	onStores(t, dashboard.Config{Title: "shop"}, func(t *testing.T, s *site) {
		s.fill()
		for path, says := range map[string][]string{
			"":                     {"What is wrong", "1 job waits for a worker that knows the kind report", "What to do: start a worker", "mail", "1 worker , 1 of 10 executors busy", "a read takes"},
			"queues":               {"mail", "open", "Waiting"},
			"queue?name=mail":      {"Queue mail", "open", "w-1", "Ever completed 1", "Ever dead 1", "nightly", "until resumed"},
			"jobs":                 {"waiting-1", "vip", "waiting 1", "Cancel"},
			"jobs?state=dead":      {"dead-1", "no such user", "2 of 2"},
			"jobs?state=running":   {"running-1", "w-1"},
			"jobs?state=blocked":   {"blocked-1", "report"},
			"jobs?state=scheduled": {"scheduled-1", "report 0"},
			"jobs?state=completed": {"completed-1"},
			"jobs?state=cancelled": {"cancelled-1"},
			"errors":               {"no such user", "main.crash main.go:7", "welcome in mail", "Retry…"},
			"errors?state=scheduled": {
				"No job that has failed waits for its next attempt",
			},
			"workers":       {"w-1", "host-a, process 77", "running", "1 of 10", "mail"},
			"worker?id=w-1": {"Worker w-1", "1 of 10 executors", "running-1"},
			"schedules":     {"nightly", "30 2 * * * in Europe/Berlin", "active", "Run now"},
			"operations":    {"Nothing is being done to many jobs"},
			"audit":         {"No act is noted"},
			"job?queue=mail&id=dead-1": {
				"Job dead-1", "dead", "no such user", "attempt 1 failed", "main.crash", "Header trace abc", "Retry", "2 of 2", "vip",
			},
			"job?queue=mail&id=running-1":   {"Where it runs", "it runs on worker w-1", "lease ends"},
			"job?queue=mail&id=scheduled-1": {"Why it does not run", "delayed", "it is due in", "Run now"},
			"job?queue=mail&id=blocked-1":   {"unknown-kind", "there is none; deploy one"},
		} {
			if strings.HasPrefix(path, "errors") {
				s.summedUp(path)
			}
			text := s.text(path)
			for _, part := range says {
				require.Contains(t, text, part, path)
			}
			require.Contains(t, text, "shop", path)
			require.NotContains(t, s.page(path), "hunter2", path)
		}
	})
}

func TestAJobShowsItsLimitsAndWhatItWaitsFor(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		one := jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(func(Welcome) string { return "acme" }))
		s.enqueue(Welcome{}, jobs.ID("first"), one)
		s.enqueue(Welcome{}, jobs.ID("second"), one)
		s.lease()
		reply, err := s.store.Lease(t.Context(), backend.LeaseRequest{Worker: "w-2", Token: "w-2.1", Queues: []string{"mail"}, Max: 1, Duration: time.Hour})
		require.NoError(t, err)
		require.Empty(t, reply.Leases)
		require.Contains(t, s.text("jobs?state=blocked"), "room in the limit tenant for acme")
		text := s.text("job?queue=mail&id=second")
		require.Contains(t, text, "tenant acme 1 of 1 – 1")
		require.Contains(t, text, "Why it does not run")
	})
}

func TestEmptyPagesSayWhatToDo(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	for path, says := range map[string]string{
		"": "There is no queue yet", "queues": "A queue appears with its first job", "jobs": "No job is waiting",
		"jobs?state=completed": "jobs.Retention", "errors": "No job is dead", "workers": "No worker runs",
		"schedules": "There is no schedule", "jobs?state=dead&kind=welcome": "No dead job matches",
	} {
		require.Contains(t, s.text(path), says, path)
	}
}

func TestJobsAreFilteredAndPaged(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		var items []jobs.Item
		for i := range 120 {
			options := []jobs.EnqueueOption{jobs.Queue("mail")}
			if i%30 == 7 {
				options = append(options, jobs.Tags("rare"))
			}
			items = append(items, jobs.New(Welcome{UserID: int64(i)}, options...))
		}
		items = append(items, jobs.New(Report{}, jobs.Queue("other"), jobs.ID("other-1")))
		_, err := s.client.EnqueueMany(t.Context(), items...)
		require.NoError(t, err)

		listed := func(page string) int { return strings.Count(page, `type="checkbox" name="job"`) }
		seen, path := 0, "jobs?queue=mail"
		for range 3 {
			page := s.page(path)
			seen += listed(page)
			_, rest, found := strings.Cut(page, `<a href="jobs?`)
			require.True(t, found)
			next := between(page, `<a href="`, `" rel="next">`)
			if next == "" {
				break
			}
			require.NotContains(t, rest, "javascript")
			path = strings.ReplaceAll(next, "&amp;", "&")
		}
		require.Equal(t, 120, seen)
		require.Equal(t, 4, listed(s.page("jobs?tag=rare")))
		require.Equal(t, 1, listed(s.page("jobs?kind=report")))
		require.Contains(t, s.text("jobs?kind=report"), "other-1")
		require.Equal(t, http.StatusNotFound, s.get("jobs?queue=nowhere").Code)
		require.Equal(t, http.StatusBadRequest, s.get("jobs?state=nowhere").Code)
		require.Equal(t, http.StatusBadRequest, s.get("jobs?cursor=x").Code)
		require.Equal(t, http.StatusBadRequest, s.get("jobs?kind=a+b").Code)
	})
}

// between is the text before the last part that follows the last one before it.
func between(text, after, before string) string {
	head, _, found := strings.Cut(text, before)
	if !found {
		return ""
	}
	return head[strings.LastIndex(head, after)+len(after):]
}

func TestAJobIsFoundByItsID(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.enqueue(Welcome{}, jobs.ID("a/b?c=1#d"))
	w := s.get("find?id=a%2Fb%3Fc%3D1%23d")
	require.Equal(t, http.StatusSeeOther, w.Code)
	require.Equal(t, "job?id=a%2Fb%3Fc%3D1%23d&queue=mail", w.Header().Get("Location"))
	require.Contains(t, s.text(w.Header().Get("Location")), "a/b?c=1#d")
	s.enqueue(Welcome{}, jobs.ID("a/b?c=1#d"), jobs.Queue("other"))
	s = onStore(t, s.store, dashboard.Config{}) // which has not looked yet
	require.Contains(t, s.text("find?id=a%2Fb%3Fc%3D1%23d"), "in the queue other")
	require.Equal(t, http.StatusNotFound, s.get("find?id=x").Code)
	require.Equal(t, http.StatusBadRequest, s.get("find").Code)
}

func TestPayloadsAreShownToWhomTheConfigSaysOnly(t *testing.T) {
	t.Parallel()
	role := dashboard.RoleOperate
	authorize := func(*http.Request) (dashboard.Visitor, error) { return dashboard.Visitor{Name: "ann", Role: role}, nil }
	s := newSite(t, "memory:", dashboard.Config{Authorize: authorize, Payloads: dashboard.RoleAdmin})
	s.fill()
	for _, id := range []string{"dead-1", "completed-1"} {
		text := s.text("job?queue=mail&id=" + id)
		require.Contains(t, text, "which are not shown to your role")
		require.NotContains(t, text, "user_id")
		require.NotContains(t, text, "mail\": 7")
	}
	role = dashboard.RoleAdmin
	require.Contains(t, s.text("job?queue=mail&id=dead-1"), `"secret": "hunter2"`)
	require.Contains(t, s.text("job?queue=mail&id=completed-1"), `"mail": 7`)
}

func TestAStopIsSeenStepByStep(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	for _, state := range []string{"draining", "cancelling", "handing-back"} {
		s.announce(state)
		require.Eventually(t, func() bool {
			return strings.Contains(s.page("worker?id=w-1"), `<li class="now" aria-current="step">`+state+`</li>`)
		}, 10*time.Second, 10*time.Millisecond)
	}
}

func TestWhatAVanishedWorkerHoldsIsShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.enqueue(Welcome{}, jobs.ID("held"))
	s.lease()
	require.Contains(t, s.text("worker?id=w-1"), "it has signed off or vanished")
	require.Contains(t, s.text("worker?id=w-1"), "held")
	require.Equal(t, http.StatusNotFound, s.get("worker?id=w-2").Code)
}

func TestAStoreThatIsAwayIsSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	require.NoError(t, s.store.Close())
	w := s.get("queues")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "closed")
	require.Contains(t, w.Body.String(), `data-every="3"`, "it is tried again")
}

// left is a store that is being checked when whoever asked goes away.
type left struct {
	backend.Backend
	leave context.CancelFunc
}

func (l *left) Check(ctx context.Context) ([]backend.Warning, error) {
	if l.leave == nil {
		return l.Backend.Check(ctx)
	}
	l.leave()
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAVisitorWhoLeavesIsNoFaultOfTheStore(t *testing.T) {
	t.Parallel()
	store := &left{Backend: newSite(t, "memory:", dashboard.Config{}).store}
	s := onStore(t, store, dashboard.Config{})
	ctx, leave := context.WithCancel(t.Context())
	store.leave = leave
	s.do(httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	store.leave = nil
	require.Contains(t, s.text(""), "the store can be used")
}
