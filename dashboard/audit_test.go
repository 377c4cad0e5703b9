package dashboard_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
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
