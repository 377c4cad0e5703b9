package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

func TestActsOfTheCommandLineAreInTheAuditLog(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		_, err = client.Enqueue(t.Context(), Welcome{}, jobs.Queue("mail"), jobs.ID("a"))
		require.NoError(t, err)
		require.Contains(t, on(t, url, "audit").err, "no acts")

		require.Zero(t, on(t, url, "queue", "pause", "mail", "--for", "10m").code)
		require.Zero(t, on(t, url, "jobs").code, "which is no act")
		require.Zero(t, on(t, url, "job", "cancel", "a").code)
		require.Zero(t, on(t, url, "job", "edit", "a", `{"user_id":7,"secret":"hunter2"}`).code)
		require.NotZero(t, on(t, url, "job", "retry", "none").code)
		require.Equal(t, 2, on(t, url, "job", "retry").code, "which reaches no store")

		a := on(t, url, "audit", "-o", "json")
		require.Zero(t, a.code, a.err)
		require.NotContains(t, a.out, "hunter2")
		var log struct{ Acts []operate.AuditEntry }
		require.NoError(t, json.Unmarshal([]byte(a.out), &log))
		var acts []string
		for _, e := range log.Acts {
			require.NotEmpty(t, e.Who)
			require.Equal(t, "command line", e.Via)
			acts = append(acts, e.Act+" "+e.On+": "+e.Outcome)
		}
		require.Len(t, acts, 4)
		require.Contains(t, acts[0], "job retry none: ")
		require.Contains(t, acts[0], "not found")
		require.Equal(t, "job edit a: done", acts[1])
		require.Equal(t, "job cancel a: done", acts[2])
		require.Equal(t, "queue pause mail --for=10m0s: done", acts[3])

		a = on(t, url, "audit", "--limit", "1", "-o", "json")
		require.Contains(t, a.err, "go on with --before 3")
		require.Contains(t, on(t, url, "audit", "--limit", "1", "--before", "3").out, "job edit")
		require.Equal(t, 2, on(t, url, "audit", "--limit", "0").code)

		all := []string{"job", "cancel", "--all", "--queue", "mail", "--state", "waiting"}
		require.Zero(t, on(t, url, append(all, "--dry-run")...).code)
		require.Contains(t, on(t, url, "audit", "--limit", "1").out, "job retry", "a dry run is no act")
		require.Zero(t, on(t, url, all...).code)
		require.Contains(t, on(t, url, "audit", "--limit", "1").out, "done: 1 job")
	})
}

func TestWhatWasDoneInPartIsNoted(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		for _, at := range []string{"mail a", "mail b", "other b", "mail c", "other c"} {
			queue, id, _ := strings.Cut(at, " ")
			_, err := client.Enqueue(t.Context(), Welcome{}, jobs.Queue(queue), jobs.ID(id))
			require.NoError(t, err)
		}
		a := on(t, url, "job", "delete", "a", "b")
		require.Equal(t, exitFailed, a.code)
		require.Contains(t, a.err, `1 of 2 jobs were not deleted: there is a job "b" in several queues: mail, other; say which by --queue`)
		require.Equal(t, exitUsage, on(t, url, "job", "delete", "b", "c").code, "nothing was done")
		entries, _, err := operate.Audit(t.Context(), client, operate.AuditQuery{})
		require.NoError(t, err)
		require.Len(t, entries, 1)
		require.Equal(t, "a b", entries[0].On)
		require.Contains(t, entries[0].Outcome, "1 of 2 jobs were not deleted")
	})
}

func TestEachCommandIsNotedOrOnlyReads(t *testing.T) {
	t.Parallel()
	// enqueue and work are what programs do as well.
	others := []string{"audit", "demand", "doctor", "enqueue", "errors", "events", "job show", "job why", "jobs", "limit show", "limits", "queue lanes",
		"queue show", "queues", "schedules", "top", "ui", "work", "worker show", "workers"}
	root := newTool(handling()).root()
	var acting []string
	for _, c := range leaves(root) {
		name := strings.TrimPrefix(c.CommandPath(), root.Name()+" ")
		if _, acts := noted[name]; acts {
			acting = append(acting, name)
		} else {
			require.True(t, slices.Contains(others, name), "does %q act? then it belongs to noted", name)
		}
	}
	require.Len(t, acting, len(noted), "noted has a command that is none")
}

func TestAnEditThatDoesNotFitSaysWhyToWhoWroteItAndToNobodyElse(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), Welcome{}, jobs.Queue("mail"), jobs.ID("a"))
	require.NoError(t, err)
	require.Zero(t, on(t, url, "job", "cancel", "a").code)
	a := call(t, handling(), url, "", "job", "edit", "a", `{"user_id": "hunter2"}`)
	require.Equal(t, 2, a.code)
	require.Contains(t, a.err, `the args do not fit the kind "welcome": found a JSON string where a Go int64 belongs in field "user_id"`)
	require.NotContains(t, on(t, url, "audit").out, "hunter2")
}

func TestWhatWasDoneInPartIsShownAndNoted(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		for _, job := range [][2]string{{"mail", "a"}, {"mail", "b"}, {"other", "b"}} {
			_, err = client.Enqueue(t.Context(), Welcome{}, jobs.Queue(job[0]), jobs.ID(job[1]))
			require.NoError(t, err)
		}
		a := on(t, url, "job", "delete", "a", "b")
		require.Equal(t, 1, a.code)
		require.Contains(t, a.err, "1 of 2 jobs were not deleted: ")
		require.Contains(t, on(t, url, "audit").out, "job delete")
		require.Equal(t, 2, on(t, url, "job", "delete", "b", "b").code, "of which nothing was done")

		_, err = client.PutSchedule(t.Context(), "nightly", jobs.Every(time.Hour), Welcome{}, jobs.Queue("mail"))
		require.NoError(t, err)
		a = on(t, url, "schedule", "run", "nightly", "nightly")
		require.Equal(t, 1, a.code, a.err)
		require.Contains(t, a.out, "schedule:nightly@", "the receipt of the first")
	})
}
