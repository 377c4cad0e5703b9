package dashboard_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func TestTheAuditLogShowsWhoDidWhatAndWhatCameOfIt(t *testing.T) {
	onStores(t, dashboard.Config{Payloads: dashboard.RoleAdmin}, func(t *testing.T, s *site) {
		s.fill()
		s.act("act", "act", "retry", "job", "mail/dead-1", "back", "jobs?state=dead")
		s.act("act", "act", "delete", "job", "mail/none")
		s.act("pause-queue", "name", "mail", "for", "15m")
		require.Equal(t, http.StatusNotFound, s.post("run-schedule", "queue", "mail", "name", "none").Code)
		s.act("edit-job", "queue", "mail", "id", "cancelled-1", "payload", `{"user_id":5,"secret":"hunter3"}`)
		require.NotEqual(t, http.StatusSeeOther, s.post("edit-job", "queue", "mail", "id", "none", "payload", `{"secret":"hunter4"}`).Code)

		other := onStore(t, s.store, dashboard.Config{Authorize: func(*http.Request) (dashboard.Visitor, error) {
			return dashboard.Visitor{Name: "vic", Role: dashboard.RoleView}, nil
		}})
		text := other.text("audit")
		require.Contains(t, text, "local admin, dashboard retry queue mail, jobs 1, ids dead-1 done")
		require.Contains(t, text, "local admin, dashboard delete queue mail, jobs 1, ids none 1 refused")
		require.Contains(t, text, "pause queue queue mail, for 15m done")
		require.Contains(t, text, "run-schedule queue mail, name none")
		require.Contains(t, text, "edit job queue mail, id cancelled-1, new ")
		require.Contains(t, text, "edit-job queue mail, id none")
		require.NotContains(t, text, "hunter")
	})
}

// oneSided is a store that does no acts in the queue other, and reads no limit that was set.
type oneSided struct {
	backend.Backend
	set atomic.Bool
}

func (s *oneSided) Cancel(ctx context.Context, queue string, ids []string) ([]backend.ActResult, error) {
	if queue == "other" {
		return nil, backend.ErrUnavailable
	}
	return s.Backend.Cancel(ctx, queue, ids)
}

func (s *oneSided) SetLimit(ctx context.Context, queue, class string, rule *backend.LimitRule) error {
	s.set.Store(true)
	return s.Backend.SetLimit(ctx, queue, class, rule)
}

func (s *oneSided) Limit(ctx context.Context, query backend.LimitQuery) (backend.LimitInfo, error) {
	if s.set.Load() {
		return backend.LimitInfo{}, backend.ErrUnavailable
	}
	return s.Backend.Limit(ctx, query)
}

func TestAnActInSeveralQueuesIsNotedForEachOfThemAsItEnded(t *testing.T) {
	t.Parallel()
	memory := newSite(t, "memory:", dashboard.Config{})
	memory.fill()
	for _, queue := range []string{"a", "b", "other"} {
		memory.enqueue(Welcome{}, jobs.ID("x"), jobs.Queue(queue))
	}
	s := onStore(t, &oneSided{Backend: memory.store}, dashboard.Config{})
	for range 3 { // in whatever order they are kept
		require.Equal(t, "2 jobs were cancelled. 2 were not, the first: there is no job none in queue a any more.",
			s.act("act", "act", "cancel", "job", "other/x", "job", "a/none", "job", "mail/waiting-1", "job", "b/x"))
	}
	text := s.text("audit")
	require.Equal(t, 3, strings.Count(text, "cancel queue a, jobs 1, ids none 1 refused"), text)
	require.Equal(t, 3, strings.Count(text, "cancel queue b, jobs 1, ids x done"), text)
	require.Equal(t, 3, strings.Count(text, "cancel queue other, jobs 1, ids x the job store is unavailable"), text)
	require.Equal(t, 3, strings.Count(text, "cancel queue mail, jobs 1, ids waiting-1 done"), text)
	require.Equal(t, http.StatusServiceUnavailable, s.post("act", "act", "cancel", "job", "other/x").Code, "where nothing was done")
}

func TestALimitThatWasSetIsNotedAsSetWhateverComesAfterIt(t *testing.T) {
	t.Parallel()
	memory := newSite(t, "memory:", dashboard.Config{})
	memory.limited("acme")
	s := onStore(t, &oneSided{Backend: memory.store}, dashboard.Config{})
	require.Equal(t, "The limit tenant of the queue mail is set for the whole fleet: 2 at a time.",
		s.act("set-limit", "queue", "mail", "name", "tenant", "slots", "2"))
	require.Contains(t, s.text("audit"), "set limit queue mail, limit tenant, rule 2 at a time done")
}

func TestOlderActsAreOnPagesOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	for range 130 {
		require.NoError(t, operate.Note(t.Context(), s.client, operate.AuditEntry{Who: "<b>ann</b>\u202e", Via: "command line", Act: "retry", Outcome: "done"}))
	}
	page := s.page("audit")
	require.Contains(t, page, `href="audit?before=30"`)
	require.NotContains(t, page, "<b>ann")
	require.NotContains(t, page, "\u202e")
	page = s.page("audit?before=30")
	require.NotContains(t, page, "Older acts")
	require.Contains(t, page, "The newest")
	require.Equal(t, http.StatusBadRequest, s.get("audit?before=x").Code)
}

// forgetful is a store that takes no memos, or panics on them.
type forgetful struct {
	backend.Backend
	panics bool
}

func (f forgetful) WriteMemo(context.Context, backend.MemoWrite) (backend.Memo, error) {
	if f.panics {
		panic("a fault of the store")
	}
	return backend.Memo{}, backend.ErrDenied
}

func TestAnActThatCannotBeNotedIsDoneAllTheSameAndTheLogSaysSo(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		memory := newSite(t, "memory:", dashboard.Config{})
		memory.fill()
		s := onStore(t, forgetful{memory.store, panics}, dashboard.Config{})
		require.Equal(t, "1 job was retried.", s.act("act", "act", "retry", "job", "mail/dead-1"))
		require.Contains(t, s.log.String(), `msg="dashboard act" who=local`)
		require.Contains(t, s.log.String(), `msg="an act could not be noted in the audit log of the store" who=local act=retry`)
		job, err := s.client.Job(t.Context(), "mail", "dead-1")
		require.NoError(t, err)
		require.Equal(t, backend.StateWaiting, job.State)
	}
}
