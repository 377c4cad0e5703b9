package dashboard_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

func TestActsAreDoneToTheJobsThatAreSelected(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.fill()
		require.Equal(t, "1 job was retried.", s.act("act", "act", "retry", "job", "mail/dead-1", "back", "jobs?state=dead"))
		require.Equal(t, backend.StateWaiting, s.state("dead-1"))
		require.Equal(t, "2 jobs were made to run now.", s.act("act", "act", "run", "job", "mail/scheduled-1", "job", "mail/blocked-1"))
		require.Equal(t, backend.StateWaiting, s.state("scheduled-1"))
		require.Equal(t, "2 jobs were cancelled. 1 job runs; its worker is told to cancel it. 1 was not: job completed-1 in queue mail is completed, which does not allow it.",
			s.act("act", "act", "cancel", "job", "mail/scheduled-1", "job", "mail/waiting-1", "job", "mail/running-1", "job", "mail/completed-1"))
		require.Contains(t, s.text("job?queue=mail&id=running-1"), "to be cancelled")
		require.Equal(t, "1 job was deleted.", s.act("act", "act", "delete", "job", "mail/completed-1"))
		require.Equal(t, http.StatusNotFound, s.get("job?queue=mail&id=completed-1").Code)
		require.Contains(t, s.act("act", "act", "delete", "job", "mail/completed-1"), "1 was not: there is no job completed-1 in queue mail any more.")
		require.Equal(t, "No job is selected.", s.act("act", "act", "retry"))
		require.Contains(t, s.log.String(), `msg="dashboard act" who=local role=admin from=127.0.0.1:40000 act=retry queue=mail jobs=1`)
	})
}

var operationLink = regexp.MustCompile(`operation\?id=([A-Z0-9]+)`)

// finished waits for the end of an operation, and answers what its page says.
func (s *site) finished(path string) (text, page string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		text = s.text(path)
		return !strings.Contains(text, "that match running")
	}, 20*time.Second, 10*time.Millisecond)
	return text, s.page(path)
}

func TestAnActOnAllThatMatchIsCountedBeforeItIsDone(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		for range 4 {
			s.enqueue(Welcome{})
			s.die("no such user", "")
		}
		s.enqueue(Welcome{}, jobs.ID("other"))
		s.die("boom", "")
		group := regexp.MustCompile(`name="group" value="([0-9a-f]+)"`).FindStringSubmatch(s.summedUp("errors"))
		require.NotNil(t, group)
		require.Contains(t, s.text("jobs?state=dead&group="+group[1]), "Only those of one group of errors")

		form := []string{"act", "retry", "state", "dead", "queue", "mail", "group", group[1]}
		w := s.post("act-all", form...)
		require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
		text, page := s.finished(w.Header().Get("Location"))
		require.Contains(t, text, "Only counted: retry all that match done")
		require.Contains(t, page, "<title>Only counted: retry all that match ")
		require.Contains(t, text, "of one group of errors: “no such user”.")
		require.Contains(t, text, "5 of 5 looked at")
		require.Contains(t, text, "4 jobs match.")
		require.Contains(t, page, `name="sure" value="yes"`)
		require.Contains(t, page, `name="group" value="`+group[1]+`"`)
		require.Contains(t, page, "Retry these jobs")

		w = s.post("act-all", append(form, "sure", "yes")...)
		require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
		text, _ = s.finished(w.Header().Get("Location"))
		require.Contains(t, text, "4 jobs were retried.")
		require.Contains(t, text, "Retry all that match done")
		require.Contains(t, text, "of one group of errors: “no such user”.")
		require.Equal(t, backend.StateDead, s.state("other"))
		require.Contains(t, s.text("operations"), "retry, only counted done dead in mail: “no such user” local 5 of 5 4")
		require.Contains(t, s.log.String(), `act="retry all" queues=[mail] state=dead`)

		other := onStore(t, s.store, dashboard.Config{})
		require.Contains(t, other.text("operations"), "retry, only counted done dead in mail: “no such user” local 5 of 5 4", "another dashboard lists it too")

		id := operationLink.FindStringSubmatch(w.Header().Get("Location"))[1]
		require.Equal(t, "It had ended already.", s.act("stop-operation", "id", id, "back", "operation?id="+id))
		require.Equal(t, http.StatusNotFound, s.post("stop-operation", "id", "X").Code)
		require.Equal(t, http.StatusNotFound, s.get("operation?id=X").Code)
		require.Contains(t, s.act("act-all", "act", "run", "state", "blocked"), "no such job any more")
	})
}

func TestQueuesArePausedForATimeAndResumed(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.fill()
		require.Equal(t, "The queue mail is paused for 15m.", s.act("pause-queue", "name", "mail", "for", "15m", "back", "queue?name=mail"))
		require.Regexp(t, `It is paused and goes on in 1[45]m`, s.text("queue?name=mail"))
		require.Equal(t, "The queue mail is paused until somebody resumes it.", s.act("pause-queue", "name", "mail"))
		require.Contains(t, s.text("queue?name=mail"), "until somebody resumes it")
		require.Contains(t, s.text(""), "it is paused, and 2 jobs wait and 1 is scheduled")
		require.Contains(t, s.act("resume-queue", "name", "mail"), "hands out its jobs again")
		info, err := s.client.Queue(t.Context(), "mail")
		require.NoError(t, err)
		require.False(t, info.Paused)
		require.Equal(t, http.StatusNotFound, s.post("pause-queue", "name", "nowhere").Code, "an act makes no queue")
		require.Equal(t, http.StatusBadRequest, s.post("pause-queue", "name", "../x").Code)
		require.Equal(t, http.StatusBadRequest, s.post("pause-queue", "name", "mail", "for", "soon").Code)
		require.Equal(t, http.StatusBadRequest, s.post("pause-queue", "name", "mail", "for", "-1s").Code)
	})
}

func TestSchedulesArePausedResumedAndRun(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.fill()
		nightly := []string{"queue", "mail", "name", "nightly", "back", "schedules"}
		require.Contains(t, s.act("pause-schedule", nightly...), "The schedule nightly rests")
		require.Contains(t, s.text("schedules"), "paused")
		require.Contains(t, s.act("run-schedule", nightly...), "The job schedule:nightly@")
		require.Contains(t, s.act("resume-schedule", nightly...), "The schedule nightly goes on")
		info, err := s.client.Schedule(t.Context(), "mail", "nightly")
		require.NoError(t, err)
		require.False(t, info.Paused)
		require.EqualValues(t, 1, info.Enqueued)
		require.Equal(t, http.StatusNotFound, s.post("run-schedule", "queue", "mail", "name", "none").Code)
	})
}

func TestWhoMayNotActIsShownNoButtonAndRefused(t *testing.T) {
	t.Parallel()
	visitor := dashboard.Visitor{Name: "vic", Role: dashboard.RoleAdmin}
	s := newSite(t, "memory:", dashboard.Config{Authorize: func(*http.Request) (dashboard.Visitor, error) { return visitor, nil }})
	s.fill()
	require.NoError(t, s.client.SetLimit(t.Context(), "mail", "tenant", jobs.Slots(2)))
	token := s.token()
	acts := map[string][]string{
		"act": {"act", "retry", "job", "mail/dead-1"}, "act-all": {"act", "retry", "state", "dead"}, "stop-operation": {"id", "x"},
		"pause-queue": {"name", "mail"}, "resume-queue": {"name", "mail"}, "pause-schedule": {"queue", "mail", "name", "nightly"},
		"resume-schedule": {"queue", "mail", "name", "nightly"}, "run-schedule": {"queue", "mail", "name", "nightly"},
		"copy-job":  {"queue", "mail", "id", "dead-1"},
		"set-limit": {"queue", "mail", "name", "tenant", "slots", "1"}, "reset-limit": {"queue", "mail", "name", "tenant"},
		"quiet-workers": {"worker", "w-1"}, "resume-workers": {"who", "all"}, "resize-workers": {"worker", "w-1", "concurrency", "1"}, "worker-stacks": {"who", "all"},
	}
	visitor.Role = dashboard.RoleView
	for path, form := range acts {
		w := s.send(path, append(form, "token", token)...)
		require.Equal(t, http.StatusForbidden, w.Code, path)
		require.Contains(t, w.Body.String(), "this needs the role operate, and vic has the role view")
		require.Contains(t, s.text("audit"), "vic view, dashboard "+path+" ", "that it was tried is noted")
	}
	for _, path := range []string{"jobs?state=dead", "job?queue=mail&id=dead-1", "errors", "queue?name=mail", "schedules", "workers", "worker?id=w-1", "limits", "limit?queue=mail&name=tenant"} {
		page := s.page(path)
		require.NotContains(t, page, `method="post"`, path)
		require.NotContains(t, page, "<button name=", path)
	}
	visitor.Role = dashboard.RoleOperate
	require.Equal(t, http.StatusForbidden, s.send("act", "act", "delete", "job", "mail/dead-1", "token", token).Code)
	require.Equal(t, http.StatusForbidden, s.send("act-all", "act", "delete", "state", "dead", "sure", "yes", "token", token).Code)
	require.NotContains(t, s.page("jobs?state=dead"), `value="delete"`)
	require.Equal(t, http.StatusForbidden, s.send("stop-workers", "worker", "w-1", "token", token).Code)
	require.Contains(t, s.text("audit"), "stop-workers workers w-1 this needs the role admin, and vic has the role operate")
	require.NotContains(t, s.page("worker?id=w-1"), "stop-workers")
	require.Equal(t, backend.StateDead, s.state("dead-1"))
	visitor.Role = dashboard.RoleNone
	require.Equal(t, http.StatusForbidden, s.get("").Code)
}
