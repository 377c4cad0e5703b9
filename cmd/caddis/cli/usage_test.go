package cli

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
)

// bad is a value that a flag does not take, and a part of what is said of it.
type bad struct{ value, says string }

// badValues has some for every flag that takes a value, by its name.
var badValues = map[string][]bad{
	"event": {{"dide", `did you mean "died"?`}, {"", "there is no event"}},
	"store": {
		{"nope:x", `there is no store of the scheme "nope"; there are redis, redis+cluster, redis+sentinel, rediss, sqlite`},
		{"sqllite:jobs.db", `there is no store of the scheme "sqllite"; did you mean "sqlite"?`},
		{"jobs.db", "is no URL; did you mean sqlite:jobs.db?"},
		{"/tmp/x/shop.db", "is no URL; did you mean sqlite:/tmp/x/shop.db?"},
		{`C:\shop\jobs.db`, `did you mean sqlite:C:\shop\jobs.db?`},
		{"localhost:6379", "is no URL; did you mean redis://localhost:6379?"},
		{"[::1]:6379/2", "did you mean redis://[::1]:6379/2?"},
		{"shop", "is no URL; give one such as sqlite:jobs.db or redis://localhost:6379"},
		{"memory:", "lives in the one process that made it"},
		{"sqlite:", "without a file lives in the one process that made it"},
		{"sqlite:?relaxed=maybe", "without a file"},
		{"redis://a:b@host:99999", `the host "host:99999" is not well formed`},
	},
	"output":       {{"yaml", "there is no such format; there are json, jsonl, table"}, {"jsnl", `did you mean "jsonl"?`}},
	"queue":        {{"a b", `has ' ' at byte 1`}, {"", "the queue has no name"}, {strings.Repeat("q", 101), "101 bytes, 100 are allowed"}},
	"state":        {{"ded", `did you mean "dead"?`}, {"x", "there are blocked, cancelled, completed, dead, running, scheduled, waiting"}},
	"kind":         {{"a b", `kind "a b" has ' ' at byte 1`}},
	"tag":          {{"", "empty tag"}},
	"limit":        {{"0", "give a number from 1 to 10000"}, {"10001", "give a number from 1 to 10000"}, {"many", "it is no whole number"}},
	"scan":         {{"0", "give a number from 1"}, {"1.5", "it is no whole number"}},
	"group":        {{"mail", "is no group of errors"}},
	"error":        {{strings.Repeat("x", 201), "at most 200"}},
	"cursor":       {{"x", "is none; give what the list before this one told"}, {"gone:dead:", "belongs to another queue or state"}},
	"id":           {{"a\x01", "control character"}, {"", "the job has no id"}},
	"in":           {{"5", "it is no duration; give one such as 90s, 5m or 2h30m"}, {"-1s", "give a delay from 0 to"}},
	"at":           {{"tomorrow", "it is no instant; give one such as 2026-"}},
	"deadline":     {{"2001-01-01T00:00:00Z", "has passed"}, {"noon", "it is no instant"}},
	"priority":     {{"9", "give a number from -2 to 2"}, {"high", "it is no whole number"}},
	"max-attempts": {{"0", "give a number from 1"}},
	"timeout":      {{"0s", "give a positive duration"}, {"soon", "it is no duration"}},
	"retention":    {{"0s", "give a positive duration"}},
	"expire-after": {{"-1m", "give a positive duration"}},
	"header":       {{"trace", "write it as key=value"}, {"=x", "give a key that is not empty"}},
	"concurrency":  {{"0", "give more than 0"}, {"2000000", "it goes from 1 to 1000000"}},
	"before":       {{"-1", "give the number of an act"}, {"x", "it is no whole number"}},
	"http":         {{"8080", "it is no address; give one such as :8080"}},
	"pprof":        {{"6060", "it is no address; give one such as 127.0.0.1:6060"}, {":6060", "give an address of this machine alone"}},
	"drain-within": {{"-1s", "DrainWithin is -1s; give a positive time"}, {"0s", "give more than 0"}, {"soon", "it is no duration"}},
	"per-worker":   {{"-1", "PerWorker is -1; give a number from 1"}, {"few", "it is no whole number"}},
	"min":          {{"-1", "from -1 to 0 workers"}, {"few", "it is no whole number"}},
	"max":          {{"-1", "from 0 to -1 workers"}, {"few", "it is no whole number"}},
	"wait-timeout": {{"0s", "give a positive time"}, {"soon", "it is no duration"}},
	"for":          {{"0s", "give a positive time"}, {"soon", "it is no duration"}},
	"slots":        {{"-1", "--slots=-1: give a number from 1"}, {"few", "it is no whole number"}},
	"rate":         {{"-1", "--rate=-1: give a number from 1"}, {"often", "it is no whole number"}},
	"per":          {{"often", "it is no duration"}},
	"burst":        {{"-1", "--burst=-1: give a number from 1"}, {"all", "it is no whole number"}},
	"every":        {{"1ms", "1ms is too often, give 200ms or more"}, {"often", "it is no duration"}},
	"listen":       {{"8280", "it is no address; give one such as 127.0.0.1:8280"}, {"0.0.0.0:0", "others could reach it and do everything; give --users FILE"}},
	"users":        {{"nowhere", "no such file"}},
	"payloads":     {{"root", "there is no role"}},
	"title":        {{strings.Repeat("x", 101), "at most 100 fit on a page"}},
	"grace":        {{"0s", "give more than 0"}, {"25", "it is no duration"}},
}

// otherwise has what is said of a flag by one command only.
var otherwise = map[string][]bad{
	"caddis enqueue --tag":  {{"", "give a tag of 1 to 200 bytes"}},
	"caddis audit --limit":  {{"0", "give a number from 1 to 2000"}, {"2001", "give a number from 1 to 2000"}},
	"caddis events --limit": {{"0", "give a number from 1 to 1000"}, {"1001", "give a number from 1 to 1000"}},
}

// rightUse has arguments with which a command is used rightly, where it needs some.
var rightUse = map[string]string{
	"caddis queue show": "mail", "caddis queue lanes": "mail", "caddis queue pause": "mail", "caddis queue resume": "mail",
	"caddis limit show": "mail api", "caddis limit set": "mail api --slots 3 --rate 5", "caddis limit reset": "mail api",
	"caddis job show":   "waiting-1",
	"caddis job why":    "waiting-1",
	"caddis job cancel": "--all --queue mail --state waiting --dry-run",
	"caddis job retry":  "--all --queue mail --state dead --dry-run",
	"caddis job run":    "--all --queue mail --state scheduled --dry-run",
	"caddis job delete": "--all --queue mail --state dead --dry-run",
	"caddis enqueue":    "welcome --queue mail",
	"caddis job copy":   "waiting-1",
	"caddis job edit":   "dead-1 {}",

	"caddis worker resize": "5 w-1", "caddis worker quiet": "w-1", "caddis worker resume": "w-1",
	"caddis worker show": "w-1", "caddis worker stop": "w-1", "caddis worker stacks": "w-2",

	"caddis schedule pause": "nightly", "caddis schedule resume": "nightly",
	"caddis schedule run": "nightly", "caddis schedule delete": "nightly",
}

func TestEveryFlagRefusesWhatItCannotTake(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	newFleet(t, url)
	registry := handling()
	for _, c := range leaves(newTool(registry).root()) {
		path := c.CommandPath()
		c.InheritedFlags() // has them among its own
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			values := slices.Concat(badValues[f.Name], nil)
			if others := otherwise[path+" --"+f.Name]; others != nil {
				values = others
			}
			if f.Value.Type() == "bool" {
				values = []bad{{"maybe", "it is neither true nor false"}}
			}
			require.NotEmpty(t, values, "no bad value of --%s is known", f.Name)
			for _, b := range values {
				args := strings.Fields(strings.TrimPrefix(path, "caddis ") + " " + rightUse[path])
				if f.Name == "state" { // it is a list
					args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--state" || slices.Contains(stateNames, arg) })
				}
				a := call(t, registry, url, "", append(args, "--"+f.Name+"="+b.value)...)
				require.Equal(t, exitUsage, a.code, "%s --%s=%q: %s", path, f.Name, b.value, a.err)
				require.Contains(t, a.err, b.says, "%s --%s=%q", path, f.Name, b.value)
				require.Contains(t, a.err, "see "+path+" --help\n")
				require.Empty(t, a.out, "%s --%s=%q", path, f.Name, b.value)
			}
		})
	}
}

// handling is a registry with a handler.
func handling() *jobs.Registry {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(context.Context, *jobs.Job[Welcome]) error { return nil }, jobs.Queue("mail"))
	return registry
}

func TestWrongUseIsSaidWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	newFleet(t, url)
	for line, says := range map[string]string{
		"quueues":                       `there is no command "caddis quueues"; did you mean "queues"?`,
		"frobnicate":                    `there are audit, completion, demand, doctor, enqueue, errors, events, job, jobs, limit, limits, queue, queues, schedule, schedules, top, ui, worker, workers`,
		"queue paus mail":               `there is no command "caddis queue paus"; did you mean "pause"?`,
		"jobs --sate dead":              "there is no flag --sate for caddis jobs; did you mean --state?",
		"jobs -x":                       "there is no flag -x for caddis jobs; see caddis jobs --help",
		"jobs --limit":                  "the flag --limit needs a value",
		"jobs dead":                     `caddis jobs takes no argument, and got "dead"`,
		"jobs --payload":                "--payload needs -o json or -o jsonl",
		"queue pause":                   "caddis queue pause needs the name of a queue",
		"queue pause a+b":               `queue name "a+b" has '+' at byte 1`,
		"job show":                      "needs one id of a job, and got 0",
		"job retry":                     "give ids, or --all with --queue and --state",
		"job retry --all":               "--all needs a --queue",
		"job retry --all --queue mail":  "--all needs one --state: dead, cancelled",
		"job retry dead-1 --all":        "give ids or --all, not both",
		"job retry dead-1 --dry-run":    "go with --all, and not with ids",
		"job retry dead-1 --state dead": "go with --all, and not with ids",
		"enqueue":                       "needs a kind",
		"enqueue a b c":                 "it got 3 arguments",
		"enqueue a+b":                   `kind "a+b" has '+' at byte 1`,
		"enqueue welcome {a:1}":         "the args are no JSON",
		"enqueue welcome --in 1m --id=a --at 2036-01-01T00:00:00Z": "and At(",
		"schedule pause":     "needs the name of a schedule",
		"schedule pause a+b": `the name of the schedule "a+b"`,
		"job retry --all --queue mail --state waiting":      "retry is not for waiting jobs, but for those that are dead, cancelled",
		"job delete --all --queue mail --state running":     "delete is not for running jobs",
		"job cancel --all --queue mail --state dead":        "cancel is not for dead jobs",
		"job run --all --queue mail --state waiting":        "run is not for waiting jobs",
		"job retry --all --queue mail --state dead,waiting": "--all needs one --state",
	} {
		a := on(t, url, strings.Fields(line)...)
		require.Equal(t, exitUsage, a.code, "%s: %s", line, a.err)
		require.Contains(t, a.err, says, line)
		require.Empty(t, a.out, line)
	}
}

func TestWhatIsNotThereIsSaidWithWhatIsNear(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		newFleet(t, url)
		for line, says := range map[string]string{
			"queue show mial":                           `there is no queue "mial": not found; did you mean "mail"?`,
			"queue pause mial":                          `there is no queue "mial"`,
			"queue resume post mail":                    `there is no queue "post": not found; there are mail`,
			"jobs --queue mial":                         `did you mean "mail"?`,
			"job show nowhere":                          `no queue holds a job "nowhere"`,
			"job show nowhere --queue x":                `there is no queue "x"`,
			"job retry nowhere":                         `no queue holds a job "nowhere"`,
			"job retry a b --queue mail":                `2 of 2 jobs were not retried: job "a" in queue "mail": not found`,
			"schedules --queue mial":                    `did you mean "mail"?`,
			"schedule run nightley":                     `there is no schedule "nightley": not found; did you mean "nightly"?`,
			"job retry --all --queue mial --state dead": `did you mean "mail"?`,
		} {
			a := on(t, url, strings.Fields(line)...)
			require.Equal(t, exitNotFound, a.code, "%s: %s", line, a.err)
			require.Contains(t, a.err, says, line)
		}
		a := on(t, url, "queue", "show", "mail", "-o", "json")
		require.Contains(t, a.out, `"paused": false`, "a queue beside one that is not there was not paused")
	})
}

func TestAStoreHasToBeNamedAndAFileToBeThere(t *testing.T) {
	t.Parallel()
	a := on(t, "", "queues")
	require.Equal(t, exitUsage, a.code)
	require.Contains(t, a.err, "no store is named; give --store URL or set CADDIS_STORE")

	folder := t.TempDir()
	for _, args := range [][]string{{"queues"}, {"jobs"}, {"doctor"}, {"queue", "pause", "mail", "--new"}} {
		a = on(t, "sqlite:"+folder+"/new.db", args...)
		require.Equal(t, exitNotFound, a.code)
		require.Contains(t, a.err, "there is no file "+folder+"/new.db")
		require.NoFileExists(t, folder+"/new.db")
	}
	a = on(t, "sqlite:"+folder, "queues")
	require.Equal(t, exitUsage, a.code)
	require.Contains(t, a.err, "is a folder; give a file in it")

	a = on(t, "sqlite:"+folder+"/new.db", "enqueue", "welcome")
	require.Zero(t, a.code, a.err)
	a = on(t, "sqlite://"+folder+"/new.db?relaxed=true", "queues")
	require.Zero(t, a.code, a.err)
	require.Contains(t, steady(a.out), "default  open  0  1")
}

func TestAFaultOfTheProgramIsWrongUse(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	program := newTool(nil)
	require.Equal(t, exitUsage, program.run(t.Context(), []string{"queues"}))
	program = newTool(handling())
	program.config.Worker.Registry = handling()
	require.Equal(t, exitUsage, program.run(t.Context(), []string{"queues"}))
	program.config.Worker.Registry, program.config.Worker.Backend = nil, openStore(t, url)
	require.Equal(t, exitUsage, program.run(t.Context(), []string{"queues"}))
}
