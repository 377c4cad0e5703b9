package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

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
	others := []string{"audit", "demand", "doctor", "enqueue", "events", "job show", "job why", "jobs", "limit show", "queue lanes",
		"queue show", "queues", "schedules", "top", "ui", "work", "workers"}
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
