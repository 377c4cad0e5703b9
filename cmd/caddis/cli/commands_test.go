package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// step is one call, and what it leaves.
type step struct {
	line     string
	code     int
	out, err string
}

// check calls the command line and compares what it leaves.
func (s step) check(t testing.TB, url string) {
	t.Helper()
	a := on(t, url, strings.Fields(s.line)...)
	require.Equal(t, strings.TrimPrefix(s.out, "\n"), steady(a.out), s.line)
	require.Equal(t, strings.TrimPrefix(s.err, "\n"), steady(a.err), s.line)
	require.Equal(t, s.code, a.code, s.line)
}

// story is calls of the command line, one after the other on a fleet.
var story = []step{
	{"queues", 0, `
QUEUE  STATE  SCHEDULED  WAITING  BLOCKED  RUNNING  COMPLETED  CANCELLED  DEAD  OLDEST WAITING
mail  open  1  1  1  1  1  1  1  TIME ago
`, ""},
	{"queue show mail", 0, `
queue  mail
state  open
shards  1
scheduled  1
waiting  1
blocked  1
running  1
completed  1
cancelled  1
dead  1
oldest waiting  INSTANT (TIME ago)
ever completed  1
ever failed  0
ever cancelled  1
ever dead  1
ever crashed  0
trimmed  0
`, ""},
	{"jobs", 0, `
QUEUE  ID  KIND  STATE  ATTEMPTS  ENQUEUED  ABOUT
mail  scheduled-1  report  scheduled  0  TIME ago  due in TIME
mail  waiting-1  welcome  waiting  0  TIME ago
mail  blocked-1  report  blocked  0  TIME ago  waits for a worker that knows the kind report
mail  running-1  welcome  running  0  TIME ago  by w-1
mail  completed-1  welcome  completed  1/25  TIME ago  finished TIME ago
mail  cancelled-1  welcome  cancelled  0  TIME ago
mail  dead-1  welcome  dead  2/2  TIME ago  no such user
`, ""},
	{"jobs -o jsonl --queue mail --tag vip --payload", 0, `
{"id":"waiting-1","queue":"mail","kind":"welcome","tags":["vip"],"enqueued_at":"INSTANT","due_at":"INSTANT","state":"waiting","payload":{"user_id":5}}
{"id":"dead-1","queue":"mail","kind":"welcome","max_attempts":2,"tags":["vip","eu"],"headers":{"trace":"abc"},"enqueued_at":"INSTANT","due_at":"INSTANT","state":"dead","attempts":2,"attempt_limit":2,"failures":[{"attempt":1,"at":"INSTANT","worker":"w-1","error":"the server is busy"},{"attempt":2,"at":"INSTANT","worker":"w-1","error":"no such user","stack":"main.go:7\nmain.go:9"}],"worker":"w-1","started_at":"INSTANT","finished_at":"INSTANT","kept_until":"INSTANT","payload":{"user_id":2,"secret":"hunter2"}}
`, ""},
	{"jobs --limit 2", 0, `
QUEUE  ID  KIND  STATE  ATTEMPTS  ENQUEUED  ABOUT
mail  scheduled-1  report  scheduled  0  TIME ago  due in TIME
mail  waiting-1  welcome  waiting  0  TIME ago
`, `
there may be more: go on with --cursor mail:blocked:
`},
	{"jobs --limit 1 --kind report --scan 1", 0, `
QUEUE  ID  KIND  STATE  ATTEMPTS  ENQUEUED  ABOUT
mail  scheduled-1  report  scheduled  0  TIME ago  due in TIME
`, `
there may be more: go on with --cursor mail:waiting:
`},
	{"errors", 0, `
GROUP  QUEUE  KIND  JOBS  FIRST  LAST  ERROR
e2ebd42be526ee92  mail  welcome  1  TIME ago  TIME ago  no such user at main.go:7 main.go:9
`, ""},
	{"job show running-1", 0, `
id  running-1
queue  mail
kind  welcome
state  running
leased  by w-1 until INSTANT (in TIME)
attempts  0
enqueued  INSTANT (TIME ago)
`, ""},
	{"job show dead-1", 0, `
id  dead-1
queue  mail
kind  welcome
state  dead
attempts  2/2
enqueued  INSTANT (TIME ago)
started  INSTANT (TIME ago)
finished  INSTANT (TIME ago)
worker  w-1
kept until  INSTANT (in TIME)
tags  vip, eu
headers  trace: abc
failure 1  INSTANT (TIME ago), by w-1: the server is busy
failure 2  INSTANT (TIME ago), by w-1: no such user
  main.go:7
  main.go:9
`, ""},
	{"job show dead-1 --queue mail --payload", 0, `
id  dead-1
queue  mail
kind  welcome
state  dead
attempts  2/2
enqueued  INSTANT (TIME ago)
started  INSTANT (TIME ago)
finished  INSTANT (TIME ago)
worker  w-1
kept until  INSTANT (in TIME)
tags  vip, eu
headers  trace: abc
payload  {"user_id":2,"secret":"hunter2"}
failure 1  INSTANT (TIME ago), by w-1: the server is busy
failure 2  INSTANT (TIME ago), by w-1: no such user
  main.go:7
  main.go:9
`, ""},
	{"workers", 0, `
ID  HOST  PID  STATE  RUNNING  QUEUES  KINDS  STARTED  SEEN
w-1  host-a  77  running  1/10  mail  welcome  TIME ago  TIME ago
`, ""},
	{"workers -o jsonl", 0, `
{"id":"w-1","host":"host-a","pid":77,"queues":["mail"],"kinds":["welcome"],"concurrency":10,"running":1,"state":"running","started_at":"INSTANT","seen_at":"INSTANT"}
`, ""},
	{"events", 0, `
TIME  EVENT  QUEUE  KIND  ID  ATTEMPT  TOOK  ABOUT
INSTANT  worker-started  w-1
INSTANT  started  mail  welcome  dead-1  2
INSTANT  died  mail  welcome  dead-1  2  TIME  no such user …
INSTANT  left-out  mail  7 events
INSTANT  recovered  3 jobs, by w-1
`, ""},
	{"events --queue mail --limit 2 --event died,started --kind welcome -o jsonl", 0, `
{"type":"started","at":"INSTANT","queue":"mail","worker":"w-1","id":"dead-1","kind":"welcome","attempt":2}
{"type":"died","at":"INSTANT","queue":"mail","worker":"w-1","id":"dead-1","kind":"welcome","attempt":2,"error":"no such user\nat all","took":12000000}
`, ""},
	{"events --event parked", 0, "", `
no events
`},
	{"events --queue mial", 3, "", `
caddis: there is no queue "mial": not found; did you mean "mail"?
`},
	{"events --event dide", 2, "", `
caddis: --event=dide: there is no event "dide"; did you mean "died"?
see caddis events --help
`},
	{"events --follow -o json", 2, "", `
caddis: --follow has no end, and -o json prints one value: use -o jsonl
see caddis events --help
`},
	{"events --limit 0", 2, "", `
caddis: --limit=0: give a number from 1 to 1000
see caddis events --help
`},
	{"worker quiet w-1", 0, `
ID  HOST  PID  TOLD
w-1  host-a  77  quiet
`, ""},
	{"worker resume --all", 0, `
ID  HOST  PID  TOLD
w-1  host-a  77  resume
`, ""},
	{"worker resize 5 w-1", 0, `
ID  HOST  PID  TOLD
w-1  host-a  77  resize
`, ""},
	{"worker stop w-1", 0, `
ID  HOST  PID  TOLD
w-1  host-a  77  stop
`, ""},
	{"worker show w-2", 3, "", `
caddis: there is no worker "w-2": not found; did you mean "w-1"?
`},
	{"worker show", 2, "", `
caddis: caddis worker show needs the id of a worker
see caddis worker show --help
`},
	{"worker stacks w-2", 3, "", `
caddis: there is no worker "w-2": not found; did you mean "w-1"?
`},
	{"schedules", 0, `
QUEUE  NAME  STATE  WHEN  KIND  NEXT  LAST  LAST JOB  ENQUEUED  SKIPPED
mail  nightly  active  30 2 * * * in Europe/Berlin  report  in TIME  0  0
`, ""},
	{"queue pause mail", 0, `
QUEUE  STATE  SCHEDULED  WAITING  BLOCKED  RUNNING  COMPLETED  CANCELLED  DEAD  OLDEST WAITING
mail  paused  1  1  1  1  1  1  1  TIME ago
`, ""},
	{"job why waiting-1", 0, `
job  waiting-1
queue  mail
kind  welcome
state  waiting
paused  the queue mail is paused until somebody resumes it
remedy  caddis queue resume mail
`, ""},
	{"job why dead-1", 0, `
job  dead-1
queue  mail
kind  welcome
state  dead
finished  it has been dead for TIME, with: no such user
remedy  caddis job retry --queue mail dead-1
`, ""},
	{"job why scheduled-1", 0, `
job  scheduled-1
queue  mail
kind  report
state  scheduled
paused  the queue mail is paused until somebody resumes it
no-handler  1 worker takes from the queue mail, and none knows the kind "report"
delayed  it is due in TIME
remedy  caddis queue resume mail
remedy  start a worker that has a handler for the kind report
remedy  caddis job run --queue mail scheduled-1
`, ""},
	{"job why blocked-1", 0, `
job  blocked-1
queue  mail
kind  report
state  blocked
unknown-kind  it waits for a worker of its queue that knows the kind "report", and there is none; deploy one, or cancel the job
paused  the queue mail is paused until somebody resumes it
remedy  start a worker that has a handler for the kind report
remedy  caddis queue resume mail
`, ""},
	{"queue pause mail --for 1h", 0, `
QUEUE  STATE  SCHEDULED  WAITING  BLOCKED  RUNNING  COMPLETED  CANCELLED  DEAD  OLDEST WAITING
mail  paused (TIME left)  1  1  1  1  1  1  1  TIME ago
`, ""},
	{"queue resume mail", 0, `
QUEUE  STATE  SCHEDULED  WAITING  BLOCKED  RUNNING  COMPLETED  CANCELLED  DEAD  OLDEST WAITING
mail  open  1  1  1  1  1  1  1  TIME ago
`, ""},
	{"queue pause fresh --new", 0, `
QUEUE  STATE  SCHEDULED  WAITING  BLOCKED  RUNNING  COMPLETED  CANCELLED  DEAD  OLDEST WAITING
fresh  paused  0  0  0  0  0  0  0
`, ""},
	{"schedule pause nightly", 0, `
QUEUE  NAME  STATE  WHEN  KIND  NEXT  LAST  LAST JOB  ENQUEUED  SKIPPED
mail  nightly  paused  30 2 * * * in Europe/Berlin  report  in TIME  0  0
`, ""},
	{"schedule run nightly", 0, `
QUEUE  ID  STATE
mail  schedule:nightly@INSTANT  waiting
`, ""},
	{"schedule resume nightly --queue mail", 0, `
QUEUE  NAME  STATE  WHEN  KIND  NEXT  LAST  LAST JOB  ENQUEUED  SKIPPED
mail  nightly  active  30 2 * * * in Europe/Berlin  report  in TIME  TIME ago  waiting  1  0
`, ""},
	{"schedule delete nightly -o jsonl", 0, `
{"name":"nightly","queue":"mail"}
`, ""},
	{"enqueue welcome {\"user_id\":6} --queue mail --id new-1", 0, `
QUEUE  ID  STATE
mail  new-1  waiting
`, ""},
	{"enqueue welcome {\"user_id\":6} --queue mail --id new-1 -o json", 0, `
{
  "receipts": [
  {
  "queue": "mail",
  "id": "new-1",
  "state": "waiting",
  "existing": true
  }
  ]
}
`, `
nothing was stored: the queue holds a job of this id already
`},
	{"enqueue report --queue archive --id new-2 --in 1h", 0, `
QUEUE  ID  STATE
archive  new-2  scheduled
`, `
note: no worker takes from the queue "archive" at the moment
`},
	{"enqueue wellcome --queue mail --id new-3", 0, `
QUEUE  ID  STATE
mail  new-3  waiting
`, `
note: no worker of the queue "mail" knows the kind "wellcome" at the moment; did you mean "welcome"?
`},
	{"job cancel running-1 waiting-1", 0, `
QUEUE  ID  STATE  ERROR
mail  running-1  running
mail  waiting-1  cancelled
`, `
the job running-1 runs, and its worker is told to cancel it
`},
	{"job cancel waiting-1 nowhere completed-1", 1, `
QUEUE  ID  STATE  ERROR
  nowhere  no queue holds a job "nowhere": not found; a completed one is forgotten at once…
mail  waiting-1  cancelled
mail  completed-1  completed  job "completed-1" in queue "mail" is completed: not possible in this state
`, `
caddis: 2 of 3 jobs were not cancelled: job "completed-1" in queue "mail" is completed: not possible in this state
`},
	{"job run scheduled-1 -o jsonl", 0, `
{"queue":"mail","id":"scheduled-1","state":"waiting"}
`, ""},
	{"job retry --all --queue mail --state dead --dry-run", 0, `
QUEUE  WAS  ACT  JOBS
mail  dead  retry (dry run)  1
`, ""},
	{"job retry --all --queue mail --state dead -o json", 0, `
{
  "results": [
  {
  "queue": "mail",
  "state": "dead",
  "act": "retry",
  "jobs": 1,
  "dry_run": false
  }
  ]
}
`, ""},
	{"job delete --all --queue mail --state cancelled --kind report", 0, `
QUEUE  WAS  ACT  JOBS
mail  cancelled  delete  0
`, ""},
	{"job delete --all --queue mail --state waiting --tag vip --tag eu", 0, `
QUEUE  WAS  ACT  JOBS
mail  waiting  delete  1
`, ""},
	{"job delete cancelled-1 --queue mail", 0, `
QUEUE  ID  STATE  ERROR
mail  cancelled-1  deleted
`, ""},
	{"job show cancelled-1 --queue mail", 3, "", `
caddis: job: job "cancelled-1" in queue "mail": not found
`},
	{"job show cancelled-1", 3, "", `
caddis: no queue holds a job "cancelled-1": not found; a completed one is forgotten at once unless it has a retention
`},
	{"job copy running-1", 0, `
QUEUE  ID  STATE
mail  NEW  waiting
`, ""},
	{"job edit waiting-1 {\"user_id\":7}", 0, `
QUEUE  ID  STATE
mail  NEW  waiting
`, `
the job "waiting-1" was deleted
`},
	{"job edit running-1 {}", 1, "", `
caddis: edit job "running-1": it is running, and only dead and cancelled ones are edited; copy it instead: not possible in this state
`},
	{"job edit running-1 {\"user_id\":}", 2, "", `
caddis: the args are no JSON, at byte 12: invalid character '}' looking for beginning of value; write them like '{"user_id": 42}'
see caddis job edit --help
`},
	{"job edit running-1", 2, "", `
caddis: caddis job edit needs the id of a job and one JSON value in quotes, and got 1 arguments
see caddis job edit --help
`},
	{"demand --queue mail --per-worker 5 --min 2", 0, `
executors  1
workers  2
waiting  6
running  1
blocked  1
busy  1.0 executors
`, ""},
	{"demand -o jsonl", 0, `
{"executors":1,"workers":1,"waiting":6,"running":1,"blocked":1,"busy":1,"took":0}
`, ""},
	{"demand --queue mial", 3, "", `
caddis: there is no queue "mial": not found; did you mean "mail"?
`},
	{"audit --limit 0", 2, "", `
caddis: --limit=0: give a number from 1 to 2000
see caddis audit --help
`},
	{"queue lanes mail", 0, "", `
no lanes
`},
	{"queue lanes", 2, "", `
caddis: caddis queue lanes needs the name of a queue
see caddis queue lanes --help
`},
	{"limits", 0, "", `
no limits
`},
	{"errors", 0, "", `
no errors
`},
	{"errors --state waiting", 2, "", `
caddis: --state=waiting: give dead, or scheduled for jobs that will be tried again
see caddis errors --help
`},
	{"limit show mail api", 3, "", `
caddis: no job of the queue "mail" has had a limit "api": not found; none of its unfinished jobs has one
`},
	{"limit set mail api --slots 3 --rate 100 --per 1m --burst 5", 0, `
queue  mail
limit  api
rule  3 at a time, 100 per 1m0s, 5 at once
set  for the whole fleet; the programs say no limit
slots taken  0
parked  0
`, ""},
	{"limit show mail api acme -o jsonl", 0, `
{"queue":"mail","class":"api","key":"acme","rule":{"slots":3,"rate":100,"per":60000000000,"burst":5},"code":{},"fleet":{"slots":3,"rate":100,"per":60000000000,"burst":5},"held":0,"parked":0,"now":"INSTANT"}
`, ""},
	{"limit reset mail api", 0, `
queue  mail
limit  api
rule  no limit
slots taken  0
parked  0
`, ""},
	{"limit set mial api --slots 3", 3, "", `
caddis: there is no queue "mial": not found; did you mean "mail"?
`},
	{"limit set mail api", 2, "", `
caddis: nothing is set; give --slots, --rate or both, or undo what was set with caddis limit reset
see caddis limit set --help
`},
	{"limit show mail", 2, "", `
caddis: caddis limit show needs a queue, the name of a limit, which is what programs give to jobs.Limit, and its key if it has keys
see caddis limit show --help
`},
	{"top", 2, "", `
caddis: top needs a terminal; scripts take caddis queues -o jsonl
see caddis top --help
`},
	{"queue resume fresh", 0, `
QUEUE  STATE  SCHEDULED  WAITING  BLOCKED  RUNNING  COMPLETED  CANCELLED  DEAD  OLDEST WAITING
fresh  open  0  0  0  0  0  0  0
`, ""},
}

func TestEveryCommandSaysWhatItFoundOrDidOnEveryStore(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		newFleet(t, url)
		for _, s := range story {
			s.check(t, url)
		}
	})
}

func TestTheStoryHasEveryCommand(t *testing.T) {
	t.Parallel()
	told := func(path string) bool {
		return slices.ContainsFunc(slices.Concat(story, diagnoses), func(s step) bool {
			return strings.HasPrefix("caddis "+s.line+" ", path+" ")
		})
	}
	for _, c := range leaves(newTool(jobs.NewRegistry()).root()) {
		if c.Name() == "ui" {
			continue // it goes on until it is told to end; ui_test.go does that
		}
		require.True(t, told(c.CommandPath()), "no step of the story is %q", c.CommandPath())
	}
}

// leaves are the commands that do something, but for those that cobra adds.
func leaves(c *cobra.Command) (found []*cobra.Command) {
	if !c.HasSubCommands() {
		return []*cobra.Command{c}
	}
	for _, sub := range c.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			found = append(found, leaves(sub)...)
		}
	}
	return found
}

// keeping is a store that deletes nothing.
type keeping struct{ backend.Backend }

func (keeping) Delete(context.Context, string, []string) ([]backend.ActResult, error) {
	return nil, backend.ErrUnavailable
}

func TestAnEditThatWasDoneInPartSaysWhatWasEnqueued(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	client, err := jobs.NewClient(keeping{openStore(t, url)}, jobs.ClientConfig{})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), Welcome{}, jobs.Queue("mail"), jobs.ID("a"))
	require.NoError(t, err)
	require.Zero(t, on(t, url, "job", "cancel", "a").code)
	receipt, err := operate.EditAndRetry(t.Context(), client, "mail", "a", json.RawMessage(`{"user_id": 1}`))
	require.ErrorIs(t, err, backend.ErrUnavailable)

	a := on(t, url, "job", "edit", "a", `{"user_id": 2}`)
	require.Equal(t, 1, a.code)
	require.Contains(t, a.out, receipt.ID)
	require.Contains(t, a.err, "was edited already")
	a = on(t, url, "job", "edit", "a", `{"user_id": 1}`)
	require.Zero(t, a.code, "once more it is brought to its end")
	require.Contains(t, a.out, receipt.ID)
	require.Equal(t, 3, on(t, url, "job", "show", "a").code)
}
