package cli

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/encrypt"
)

func TestAProgramThatKnowsTheKindChecksItsArgs(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		for _, c := range []struct{ line, says string }{
			{`welcome {"user_id":"x"}`, `the args do not fit the kind "welcome"`},
			{`welcome {"userid":1}`, `unknown field "userid"`},
			{`welcome [1]`, `the args do not fit the kind "welcome"`},
			{`wellcome {}`, `this program does not know the kind "wellcome"; did you mean "welcome"?`},
		} {
			a := call(t, handling(), url, "", append([]string{"enqueue"}, strings.Fields(c.line)...)...)
			require.Equal(t, exitUsage, a.code, c.line)
			require.Contains(t, a.err, c.says)
		}

		a := call(t, handling(), url, ` {"user_id": 9} `+"\n", "enqueue", "welcome", "-", "--id", "w")
		require.Zero(t, a.code, a.err)
		a = call(t, handling(), url, "", "job", "show", "w", "--payload", "-o", "json")
		var job jobView
		require.NoError(t, json.Unmarshal([]byte(a.out), &job))
		require.Equal(t, "mail", job.Queue, "it is the queue of the kind")
		require.JSONEq(t, `{"user_id":9}`, string(job.Payload))

		a = call(t, handling(), url, "", "enqueue", "other", `{"x": 1}`, "--queue", "others")
		require.Zero(t, a.code, a.err)
	})
}

func TestWhatIsSaidOfAJobIsStoredWithIt(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		due := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		a := on(t, url, "enqueue", "welcome", "--queue", "mail", "--id", "w", "--at", due.Format(time.RFC3339), "--priority", "2",
			"--max-attempts", "3", "--timeout", "30s", "--deadline", due.Add(time.Hour).Format(time.RFC3339), "--retention", "24h",
			"--expire-after", "2h", "--tag", "a", "--tag", "b,c", "--header", "trace=1=2", "-o", "json")
		require.Zero(t, a.code, a.err)
		var answer struct{ Receipts []backend.Receipt }
		require.NoError(t, json.Unmarshal([]byte(a.out), &answer))
		require.Equal(t, []backend.Receipt{{Queue: "mail", ID: "w", State: backend.StateScheduled}}, answer.Receipts)

		job, err := openStore(t, url).Job(t.Context(), "mail", "w")
		require.NoError(t, err)
		require.Equal(t, 2, job.Priority)
		require.Equal(t, 3, job.MaxAttempts)
		require.Equal(t, 30*time.Second, job.Timeout)
		require.Equal(t, 24*time.Hour, job.Retention)
		require.Equal(t, 2*time.Hour, job.ExpireAfter)
		require.Equal(t, []string{"a", "b,c"}, job.Tags)
		require.Equal(t, map[string]string{"trace": "1=2"}, job.Headers)
		require.True(t, due.Equal(job.ScheduledFor), job.ScheduledFor)
		require.True(t, due.Add(time.Hour).Equal(job.Deadline), job.Deadline)

		require.Zero(t, on(t, url, "job", "cancel", "w").code)
		a = on(t, url, "enqueue", "welcome", "--queue", "mail", "--id", "w")
		require.Equal(t, exitFailed, a.code)
		require.Contains(t, a.err, "its id is held by a job that has ended")
		a = on(t, url, "enqueue", "welcome", "--queue", "mail", "--id", "w", "--replace-finished")
		require.Zero(t, a.code, a.err)
	})
}

func TestArgsThatAreTooLargeOrCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	a := call(t, jobs.NewRegistry(), url, `"`+strings.Repeat("x", backend.MaxPayload)+`"`, "enqueue", "welcome", "-")
	require.Equal(t, exitUsage, a.code)
	require.Contains(t, a.err, "more than 4194304 bytes")
	a = call(t, jobs.NewRegistry(), url, "", "enqueue", "welcome", "-")
	require.Equal(t, exitUsage, a.code)
	require.Contains(t, a.err, "the args are no JSON, at byte ")
}

// gobCodec is one that JSON has no part in.
type gobCodec struct{}

func (gobCodec) Name() string { return "gob" }

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

func TestDataInAnyCodecIsShownByAProgramThatKnowsIt(t *testing.T) {
	t.Parallel()
	key, err := encrypt.NewKey("2026-03", bytes.Repeat([]byte{7}, 32))
	require.NoError(t, err)
	encrypted, err := encrypt.New(jobs.JSON, key)
	require.NoError(t, err)
	for _, codec := range []jobs.Codec{encrypted, gobCodec{}} {
		registry := jobs.NewRegistry(jobs.WithCodec(codec))
		jobs.Handle(registry, func(context.Context, *jobs.Job[Welcome]) error { return nil })
		url := newFile(t)
		a := call(t, registry, url, "", "enqueue", "welcome", `{"user_id": 9}`, "--id", "w")
		require.Zero(t, a.code, a.err)
		a = call(t, registry, url, "", "job", "show", "w", "--payload")
		require.Zero(t, a.code, a.err)
		require.Regexp(t, `payload +\{"user_id":9\}\n`, a.out)

		a = on(t, url, "job", "show", "w", "--payload")
		require.Zero(t, a.code, "the rest of the job is shown all the same")
		require.NotContains(t, a.out, "user_id")
		require.Regexp(t, `payload error +.*this client does not know the codec`, a.out)
	}
}

func TestOnlyAProgramWithHandlersCanWork(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	a := on(t, url, "work")
	require.Equal(t, exitUsage, a.code)
	require.Contains(t, a.err, "caddis has no handlers, so it cannot work jobs; a program of yours can, with cli.Main")
	a = call(t, handling(), url, "", "--help")
	require.Contains(t, a.out, "Run the worker of this program's handlers until TERM or INT comes")
}

func TestAWorkerEndsWithItsContextAndReportsInWords(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	var out bytes.Buffer
	program := newTool(handling())
	program.stdout, program.config.Store = &out, url
	ctx, cancel := context.WithCancel(t.Context())
	program.config.Worker.Logger = nil
	time.AfterFunc(100*time.Millisecond, cancel)
	require.Zero(t, program.run(ctx, []string{"work", "--queue", "mail,other"}))
	require.Regexp(t, `^stopped after .*: 0 leased\n$`, out.String())
}

func TestAKindWithALimitAndALaneByItsArgsIsEnqueuedByItsProgram(t *testing.T) {
	t.Parallel()
	user := func(w Welcome) string { return fmt.Sprint(w.UserID) }
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(context.Context, *jobs.Job[Welcome]) error { return nil },
		jobs.Limit("user", jobs.Slots(1), jobs.LimitBy(user)), jobs.FairBy(user))
	url := newFile(t)
	a := call(t, registry, url, "", "enqueue", "welcome", `{"user_id": 9}`, "--id", "w")
	require.Zero(t, a.code, a.err)
	a = on(t, url, "job", "show", "w", "-o", "json")
	require.Zero(t, a.code, a.err)
	require.Regexp(t, `"lane": \{\s+"key": "9"`, a.out)
}
