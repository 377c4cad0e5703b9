package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// jobsPage is what `jobs -o json` prints.
type jobsPage struct {
	Jobs []jobView
	Next string
}

// pagedIDs pages through a list by its cursors and answers the ids, and on how many pages.
func pagedIDs(t testing.TB, url string, args ...string) (ids []string, pages int) {
	t.Helper()
	cursor := ""
	for pages = 1; ; pages++ {
		a := on(t, url, append([]string{"jobs", "-o", "json", "--cursor", cursor}, args...)...)
		require.Zero(t, a.code, a.err)
		var page jobsPage
		require.NoError(t, json.Unmarshal([]byte(a.out), &page), a.out)
		for i := range page.Jobs {
			ids = append(ids, page.Jobs[i].ID)
		}
		if page.Next == "" {
			return ids, pages
		}
		require.Contains(t, a.err, "go on with --cursor "+page.Next)
		require.Less(t, pages, 1000)
		cursor = page.Next
	}
}

func TestAListThatWasCutGoesOnByItsCursorAndMissesNothing(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		var all, vip []string
		for _, queue := range []string{"a", "b"} {
			for i := range 30 {
				options := []jobs.EnqueueOption{jobs.Queue(queue), jobs.ID(fmt.Sprintf("%s-%02d", queue, i))}
				if i%7 == 3 {
					options = append(options, jobs.Tags("vip"))
				}
				receipt, err := client.Enqueue(t.Context(), Welcome{UserID: int64(i)}, options...)
				require.NoError(t, err)
				all = append(all, receipt.ID)
				if i%7 == 3 {
					vip = append(vip, receipt.ID)
				}
			}
		}
		for _, c := range []struct {
			want  []string
			pages int
			args  string
		}{
			{all, 1, "--limit 100"},
			{all, 9, "--limit 7"},
			{all, 60, "--limit 1"},
			{all[30:], 5, "--limit 7 --queue b"},
			{all, 9, "--kind welcome --limit 7"}, // those that match follow each other
			{vip, 1, "--tag vip"},
			{vip, 9, "--tag vip --limit 1"}, // the last of them finds none
			{vip, 5, "--tag vip --limit 2"},
			{vip, 6, "--tag vip --scan 11"},
			{vip[4:], 1, "--tag vip --queue b --state waiting,dead"},
			{nil, 1, "--tag vip --kind report"},
		} {
			ids, pages := pagedIDs(t, url, strings.Fields(c.args)...)
			require.Equal(t, c.want, ids, c.args)
			require.Equal(t, c.pages, pages, c.args)
		}
	})
}

func TestDataOfJobsIsShownOnlyWhenAskedFor(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		newFleet(t, url)
		for _, line := range []string{
			"jobs", "jobs -o json", "jobs -o jsonl", "job show dead-1", "job show dead-1 -o json", "doctor", "schedules -o json",
		} {
			a := on(t, url, strings.Fields(line)...)
			require.NotContains(t, a.out+a.err, "hunter2", line)
			require.NotContains(t, a.out, "payload", line)
			require.NotContains(t, a.out, "aHVudGVyMg", line) // the same in base64
		}
		a := on(t, url, "jobs", "-o", "json", "--payload", "--state", "dead,completed,running")
		var page jobsPage
		require.NoError(t, json.Unmarshal([]byte(a.out), &page))
		require.Len(t, page.Jobs, 3)
		require.JSONEq(t, `{"user_id":2,"secret":"hunter2"}`, string(page.Jobs[slices.IndexFunc(page.Jobs, func(v jobView) bool { return v.ID == "dead-1" })].Payload))
		require.Equal(t, []string{"running-1", "dead-1", "completed-1"}, []string{page.Jobs[2].ID, page.Jobs[0].ID, page.Jobs[1].ID})
		require.JSONEq(t, `{"mail":7}`, string(page.Jobs[1].Result))
		require.Empty(t, page.Jobs[2].Token, "a token is nobody's business")
	})
}

func TestAJobInSeveralQueuesHasToBeNamedWithItsQueue(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	for _, queue := range []string{"a", "b"} {
		require.Zero(t, on(t, url, "enqueue", "welcome", "--id", "same", "--queue", queue).code)
	}
	for _, verb := range []string{"show", "cancel"} {
		a := on(t, url, "job", verb, "same")
		require.Equal(t, exitUsage, a.code, a.err)
		require.Contains(t, a.err, `there is a job "same" in several queues: a, b; say which by --queue`)
	}
	require.Zero(t, on(t, url, "job", "cancel", "same", "--queue", "b").code)
	a := on(t, url, "job", "show", "same", "--queue", "a", "-o", "jsonl")
	require.Contains(t, a.out, `"state":"waiting"`)
}

func TestAnActOnAllIsDoneToThoseOfAKind(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		(&fleet{t: t, client: client}).enqueueMany(2*backend.MaxPage+10, Welcome{}, Report{})
		count := func(state string, more ...string) int {
			a := on(t, url, append([]string{"job", "cancel", "--all", "--queue", "mail", "--state", state, "-o", "jsonl"}, more...)...)
			require.Zero(t, a.code, a.err)
			var result bulkResult
			require.NoError(t, json.Unmarshal([]byte(a.out), &result))
			require.Equal(t, slices.Contains(more, "--dry-run"), result.DryRun)
			return result.Jobs
		}
		require.Equal(t, backend.MaxPage+5, count("waiting", "--kind", "report", "--dry-run"))
		require.Equal(t, 2*backend.MaxPage+10, count("waiting", "--dry-run"), "a dry run changes nothing")
		require.Equal(t, backend.MaxPage+5, count("waiting", "--kind", "report"))
		require.Zero(t, count("waiting", "--kind", "report"))
		require.Equal(t, backend.MaxPage+5, count("waiting", "--dry-run"))
	})
}

// What a producer controls is written by others, who may want to write to the terminal
// of who looks after it.
func TestWhatJobsHoldCannotSteerTheTerminal(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		const evil = "a\u202eb\u009b31m" // reverses the text, and a control of eight bits
		f := newFleet(t, url)
		f.enqueue(Welcome{Secret: evil + "\x1b[2J"}, jobs.ID("id-"+evil), jobs.Tags("\x1b]0;owned\x07"+evil), jobs.Header("h\r\n", evil), jobs.Retention(1<<40))
		_, err := f.client.Cancel(t.Context(), "mail", "waiting-1")
		require.NoError(t, err)
		f.settle(f.lease(), backend.Settlement{Outcome: backend.OutcomeDead, History: &backend.History{
			Attempts: 1, Worker: "w-1", Failures: []backend.Failure{{Attempt: 1, Error: "\x1b[31m" + evil + "\r\nsecond", Stack: "x\x1b[A\n\ty"}},
		}})
		for _, args := range [][]string{
			{"jobs"},
			{"jobs", "-o", "json", "--payload"},
			{"jobs", "-o", "jsonl", "--payload"},
			{"job", "show", "id-" + evil, "--payload"},
			{"job", "show", "id-" + evil, "-o", "json", "--payload"},
			{"job", "run", "id-" + evil},
			{"job", "show", "id-" + evil + "-2"},
			{"enqueue", "welcome", "--id", "id-" + evil, "--queue", "mail"},
		} {
			a := on(t, url, args...)
			for _, r := range a.out + a.err {
				require.True(t, r == '\n' || r == '\t' || r >= ' ' && r < 0x7f || r > 0x9f && r != '\u202e', "%q: %q", args, a.out+a.err)
			}
		}
		a := on(t, url, "jobs", "-o", "json", "--payload", "--state", "dead")
		var page jobsPage
		require.NoError(t, json.Unmarshal([]byte(a.out), &page), a.out)
		found := page.Jobs[slices.IndexFunc(page.Jobs, func(v jobView) bool { return v.ID == "id-"+evil })]
		require.Equal(t, "\x1b]0;owned\x07"+evil, found.Tags[0], "programs get what is stored")
		var args Welcome
		require.NoError(t, json.Unmarshal(found.Payload, &args))
		require.Equal(t, evil+"\x1b[2J", args.Secret)
	})
}

func TestWhoAsksForALimitThatIsNotThereLearnsWhichAre(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		client, err := jobs.NewClient(openStore(t, url), jobs.ClientConfig{})
		require.NoError(t, err)
		for _, name := range []string{"smtp", "api"} {
			_, err := client.Enqueue(t.Context(), Welcome{}, jobs.Queue("mail"), jobs.Limit(name, jobs.Slots(1)))
			require.NoError(t, err)
		}
		for _, verb := range []string{"show", "reset"} {
			a := on(t, url, "limit", verb, "mail", "nope")
			require.Equal(t, exitNotFound, a.code)
			require.Contains(t, a.err, `no job of the queue "mail" has had a limit "nope": not found; there are api, smtp`)
		}
		require.Contains(t, on(t, url, "limit", "show", "mail", "smpt").err, `did you mean "smtp"?`)
		require.Contains(t, on(t, url, "limit", "show", "mial", "smtp").err, `did you mean "mail"?`)
		require.Contains(t, on(t, url, "limit", "show", "mail", "a b").err, `limit "a b" has ' ' at byte 1`)
	})
}
