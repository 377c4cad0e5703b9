package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestAHandlerGetsItsArgsAndAllThatIsKnownOfTheJob(t *testing.T) {
	t.Parallel()
	lease := aLease(func(l *backend.Lease) {
		l.Job.Priority, l.Job.Tags, l.Job.Headers = 1, []string{"vip"}, map[string]string{"trace": "1"}
		l.Job.Deadline, l.Job.MaxAttempts = instant.Add(time.Hour), 9
		l.History = backend.History{Attempts: 2, Snoozes: 4, Failures: []backend.Failure{{Attempt: 1, Error: "first"}}}
		l.Crashes = 1
	})
	var got Job[welcome]
	result := runJob(t, t.Context(), lease, func(_ context.Context, job *Job[welcome]) error {
		got = *job
		return nil
	})
	got.run = nil
	require.Equal(t, Job[welcome]{Args: welcome{UserID: 42}, Info: Info{
		ID: "job-1", Kind: "welcome", Queue: "mail", Priority: 1, Attempt: 3, MaxAttempts: 9, Crashes: 1, Snoozes: 4,
		EnqueuedAt: instant, DueAt: instant, Deadline: instant.Add(time.Hour),
		Tags: []string{"vip"}, Headers: map[string]string{"trace": "1"},
		Failures: []backend.Failure{{Attempt: 1, Error: "first"}}, Worker: "w",
	}}, got)
	require.Equal(t, Result{Settlement: backend.Settlement{
		Queue: "mail", ID: "job-1", Token: "w.1", Outcome: backend.OutcomeCompleted,
	}, Took: time.Second}, result, "a plain completion takes no history along")
}

func TestAFailedAttemptIsWrittenToTheHistory(t *testing.T) {
	t.Parallel()
	lease := aLease(func(l *backend.Lease) {
		l.History = backend.History{Attempts: 1, Snoozes: 2, Progress: []byte(`1`), Failures: []backend.Failure{{Attempt: 1, Error: "first"}}}
	})
	before := lease.History
	result := runJob(t, t.Context(), lease, func(context.Context, *Job[welcome]) error { return errBoom }, Backoff(fixedDelay(time.Minute)))
	require.ErrorIs(t, result.Err, errBoom)
	require.Nil(t, result.Panic)
	require.Equal(t, backend.Settlement{
		Queue: "mail", ID: "job-1", Token: "w.1", Outcome: backend.OutcomeRetry, Delay: time.Minute,
		History: &backend.History{
			Attempts: 2, AttemptLimit: DefaultMaxAttempts, Snoozes: 2, Progress: []byte(`1`), Worker: "w",
			StartedAt: instant, FinishedAt: instant.Add(time.Second),
			Failures: []backend.Failure{
				{Attempt: 1, Error: "first"},
				{Attempt: 2, At: instant.Add(time.Second), Worker: "w", Error: "boom"},
			},
		},
	}, result.Settlement)
	require.Equal(t, before, lease.History, "the lease is not written to")
}

func TestOldFailuresMakeRoomForNewOnes(t *testing.T) {
	t.Parallel()
	lease := aLease(func(l *backend.Lease) {
		for i := range backend.MaxFailures {
			l.History.Failures = append(l.History.Failures, backend.Failure{Attempt: i + 1})
		}
		l.History.Attempts = backend.MaxFailures
	})
	result := runJob(t, t.Context(), lease, func(context.Context, *Job[welcome]) error { return errBoom })
	failures := result.Settlement.History.Failures
	require.Len(t, failures, backend.MaxFailures)
	require.Equal(t, 2, failures[0].Attempt)
	require.Equal(t, "boom", failures[backend.MaxFailures-1].Error)
}

func TestASnoozeIsCountedAsSuchOnly(t *testing.T) {
	t.Parallel()
	result := runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error { return Snooze(time.Hour) })
	require.Equal(t, backend.OutcomeSnoozed, result.Settlement.Outcome)
	require.Equal(t, time.Hour, result.Settlement.Delay)
	require.Equal(t, 1, result.Settlement.History.Snoozes)
	require.Zero(t, result.Settlement.History.Attempts)
	require.Empty(t, result.Settlement.History.Failures)
}

func TestAPanicIsAFailedAttemptWithItsStack(t *testing.T) {
	t.Parallel()
	result := runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error { panic(fmt.Errorf("deep: %w", errBoom)) })
	require.Equal(t, backend.OutcomeRetry, result.Settlement.Outcome)
	require.ErrorIs(t, result.Err, errBoom)
	var p *Panic
	require.ErrorAs(t, result.Err, &p)
	require.Same(t, result.Panic, p)
	failure := result.Settlement.History.Failures[0]
	require.Equal(t, "panic: deep: boom", failure.Error)
	lines := strings.Split(failure.Stack, "\n")
	require.Contains(t, lines[0], "goroutine")
	require.Contains(t, lines[1], "TestAPanicIsAFailedAttemptWithItsStack", "the stack begins where the panic was")
	require.LessOrEqual(t, len(failure.Stack), maxStackText)
}

func TestADeepStackIsCut(t *testing.T) {
	t.Parallel()
	var dive func(n int)
	dive = func(n int) {
		if n == 0 {
			panic("down here")
		}
		dive(n - 1)
	}
	result := runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error { dive(200); return nil })
	stack := result.Settlement.History.Failures[0].Stack
	require.LessOrEqual(t, len(stack), maxStackText)
	require.True(t, strings.HasSuffix(stack, "… (cut)"))
}

func TestAHandlerThatEndsItsGoroutineIsSettledAsAPanic(t *testing.T) {
	t.Parallel()
	result := runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error { runtime.Goexit(); return nil })
	require.Equal(t, backend.OutcomeRetry, result.Settlement.Outcome)
	require.NotNil(t, result.Panic)
	failure := result.Settlement.History.Failures[0]
	require.Equal(t, "the handler called runtime.Goexit", failure.Error)
	require.Contains(t, failure.Stack, "TestAHandlerThatEndsItsGoroutine")
}

func TestAPanicOfNilIsAPanic(t *testing.T) {
	t.Parallel()
	result := runJob(t, t.Context(), aLease(), func(context.Context, *Job[welcome]) error { panic(nil) })
	require.Equal(t, backend.OutcomeRetry, result.Settlement.Outcome)
	require.Contains(t, result.Err.Error(), "panic")
}

func TestResultAndProgressAreStoredWithACompletedJob(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]KindOption{"with retention": {Retention(time.Hour)}, "by the backend's policy": nil} {
		result := runJob(t, t.Context(), aLease(), func(_ context.Context, job *Job[welcome]) error {
			require.NoError(t, job.SetResult(1))
			require.NoError(t, job.SetResult(map[string]int{"sent": 3}))
			return job.Progress(0.5)
		}, options...)
		h := result.Settlement.History
		require.NotNil(t, h, name)
		require.JSONEq(t, `{"sent":3}`, string(h.Result), name)
		require.JSONEq(t, `0.5`, string(h.Progress), name)
		require.Equal(t, 1, h.Attempts, name)
	}
}

func TestRetentionOfTheJobComesBeforeThatOfTheKind(t *testing.T) {
	t.Parallel()
	done := func(context.Context, *Job[welcome]) error { return nil }
	require.Zero(t, runJob(t, t.Context(), aLease(), done).Settlement.Keep)
	result := runJob(t, t.Context(), aLease(), done, Retention(time.Hour))
	require.Equal(t, time.Hour, result.Settlement.Keep)
	require.Equal(t, &backend.History{Attempts: 1, AttemptLimit: DefaultMaxAttempts, Worker: "w", StartedAt: instant, FinishedAt: instant.Add(time.Second)}, result.Settlement.History)
	kept := aLease(func(l *backend.Lease) { l.Job.Retention = time.Minute })
	require.Equal(t, time.Minute, runJob(t, t.Context(), kept, done, Retention(time.Hour)).Settlement.Keep)
	failed := runJob(t, t.Context(), kept, func(context.Context, *Job[welcome]) error { return errBoom })
	require.Zero(t, failed.Settlement.Keep, "it is for completed jobs")
}

func TestTheResultOfAnAttemptIsKeptIfItIsTheLast(t *testing.T) {
	t.Parallel()
	handler := func(err error) func(context.Context, *Job[welcome]) error {
		return func(_ context.Context, job *Job[welcome]) error {
			require.NoError(t, job.SetResult("partial"))
			return err
		}
	}
	require.Equal(t, `"partial"`, string(runJob(t, t.Context(), aLease(), handler(Discard(nil))).Settlement.History.Result))
	require.Equal(t, `"partial"`, string(runJob(t, t.Context(), aLease(), handler(Cancel(nil))).Settlement.History.Result))
	require.Nil(t, runJob(t, t.Context(), aLease(), handler(errBoom)).Settlement.History.Result)
	require.Nil(t, runJob(t, t.Context(), aLease(), handler(Snooze(1))).Settlement.History.Result)
}

func TestProgressIsTakenOnceAndOnlyTheNewest(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	var run *Run
	told := 0
	Handle(r, func(_ context.Context, job *Job[welcome]) error {
		require.Nil(t, run.TakeProgress())
		require.NoError(t, job.Progress(1))
		require.NoError(t, job.Progress(2))
		require.Equal(t, []byte("2"), run.TakeProgress())
		require.Nil(t, run.TakeProgress())
		return nil
	})
	run, _ = r.Begin(aLease(), instant, "w")
	run.OnProgress(func() { told++ })
	run.Do(t.Context(), time.Now, func(result Result) {
		require.Equal(t, "2", string(result.Settlement.History.Progress), "what was taken is stored again with the end")
	})
	require.Equal(t, 2, told)
}

func TestProgressMayBeReportedByManyGoroutines(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	var run *Run
	Handle(r, func(_ context.Context, job *Job[welcome]) error {
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				for range 100 {
					_ = job.Progress(i)
					_ = job.SetResult(i)
					run.TakeProgress()
				}
			})
		}
		group.Wait()
		return nil
	})
	run, _ = r.Begin(aLease(), instant, "w")
	run.OnProgress(func() {})
	run.Do(t.Context(), time.Now, func(result Result) { require.NoError(t, result.Err) })
}

func TestALateGoroutineCannotChangeWhatWasSettled(t *testing.T) {
	t.Parallel()
	var late *Job[welcome]
	runJob(t, t.Context(), aLease(), func(_ context.Context, job *Job[welcome]) error {
		late = job
		return nil
	})
	require.ErrorContains(t, late.Progress(1), "the attempt has ended")
	require.ErrorContains(t, late.SetResult(1), "the attempt has ended")
}

func TestResultsThatCannotBeStoredAreRefused(t *testing.T) {
	t.Parallel()
	runJob(t, t.Context(), aLease(), func(_ context.Context, job *Job[welcome]) error {
		err := job.SetResult(make(chan int))
		require.ErrorIs(t, err, ErrPayload)
		require.EqualError(t, err, `cannot encode the result of a job of kind "welcome" with codec "json": json: unsupported type: chan int`)
		err = job.Progress(strings.Repeat("x", MaxProgress))
		require.ErrorIs(t, err, ErrPayload)
		require.ErrorContains(t, err, "it has 65538 bytes, 65536 are allowed")
		return nil
	})
}

func TestAJobMadeByATestTakesResultsAndProgress(t *testing.T) {
	t.Parallel()
	job := &Job[welcome]{Args: welcome{UserID: 1}}
	var result string
	var progress int
	found, err := job.Result(&result)
	require.NoError(t, err)
	require.False(t, found)
	found, err = job.LastProgress(&progress)
	require.NoError(t, err)
	require.False(t, found)

	require.NoError(t, job.SetResult("fine"))
	require.NoError(t, job.Progress(1))
	require.ErrorIs(t, job.SetResult(make(chan int)), ErrPayload)

	found, err = job.Result(&result)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "fine", result)
	found, err = job.LastProgress(&progress)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, 1, progress)
	_, err = job.Result(&progress)
	require.ErrorIs(t, err, ErrPayload)
	require.NotContains(t, err.Error(), "fine")
}

func TestResultsOfAJobMadeByATestAreTakenConcurrently(t *testing.T) {
	t.Parallel()
	job := &Job[welcome]{}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			require.NoError(t, job.SetResult(i))
			var result int
			found, err := job.Result(&result)
			require.NoError(t, err)
			require.True(t, found)
		})
	}
	group.Wait()
}

// lesson: a long job that starts again wants to go on where it was.
func TestAHandlerReadsTheProgressOfTheRunBefore(t *testing.T) {
	t.Parallel()
	again := aLease(func(l *backend.Lease) { l.History.Progress = []byte(`40`) })
	runJob(t, t.Context(), again, func(_ context.Context, job *Job[welcome]) error {
		var page int
		found, err := job.LastProgress(&page)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, 40, page)
		require.NoError(t, job.Progress(page+1))
		_, err = job.LastProgress(&page)
		require.NoError(t, err)
		require.Equal(t, 41, page, "its own is newer")
		return nil
	})
	runJob(t, t.Context(), aLease(), func(_ context.Context, job *Job[welcome]) error {
		page := 7
		found, err := job.LastProgress(&page)
		require.NoError(t, err)
		require.False(t, found)
		require.Equal(t, 7, page)
		return nil
	})
}

func TestMiddlewareGoesAroundTheHandlerTheFirstOutermost(t *testing.T) {
	t.Parallel()
	var trace []string
	tracer := func(name string) RunMiddleware {
		return func(next RunFunc) RunFunc {
			return func(ctx context.Context, job *Info) error {
				trace = append(trace, name+" before "+job.ID)
				err := next(ctx, job)
				trace = append(trace, fmt.Sprintf("%s after: %v", name, err))
				return err
			}
		}
	}
	r := NewRegistry(WithRunMiddleware(tracer("a"), tracer("b")), WithRunMiddleware(tracer("c")))
	Handle(r, func(context.Context, *Job[welcome]) error { trace = append(trace, "handler"); return errBoom })
	runIn(t, t.Context(), r, aLease())
	require.Equal(t, []string{
		"a before job-1", "b before job-1", "c before job-1", "handler", "c after: boom", "b after: boom", "a after: boom",
	}, trace)
}

func TestMiddlewareThatInventsAnInfoIsToldSo(t *testing.T) {
	t.Parallel()
	r := NewRegistry(WithRunMiddleware(func(next RunFunc) RunFunc {
		return func(ctx context.Context, _ *Info) error { return next(ctx, &Info{}) }
	}))
	Handle(r, func(context.Context, *Job[welcome]) error { return nil })
	require.ErrorContains(t, runIn(t, t.Context(), r, aLease()).Err, "a middleware did not hand on the Info")
}

// Lesson: one undecodable message stops everything. Set the poison aside,
// visibly, and go on.
func TestLesson_AnUndecodablePayloadIsDeadWithAClearError(t *testing.T) {
	t.Parallel()
	swallow := func(next RunFunc) RunFunc {
		return func(ctx context.Context, job *Info) error { _ = next(ctx, job); return nil }
	}
	for name, r := range map[string]*Registry{"plain": NewRegistry(), "with middleware that swallows errors": NewRegistry(WithRunMiddleware(swallow))} {
		Handle(r, func(context.Context, *Job[welcome]) error {
			require.Fail(t, "the handler must not run")
			return nil
		})
		result := runIn(t, t.Context(), r, aLease(func(l *backend.Lease) { l.Job.Payload = []byte(`{"user_id":"secret-4711"}`) }))
		require.Equal(t, backend.OutcomeDead, result.Settlement.Outcome, name)
		require.ErrorIs(t, result.Err, ErrPayload, name)
		require.Equal(t, `cannot decode the payload of a job of kind "welcome" with codec "json": `+
			`found a JSON string where a Go int64 belongs in field "user_id", at byte 24 of 25`,
			result.Settlement.History.Failures[0].Error, name)
	}
}

func TestAJobOfAnUnknownCodecIsDeadWithAClearError(t *testing.T) {
	t.Parallel()
	result := runJob(t, t.Context(), aLease(func(l *backend.Lease) { l.Job.Codec = "msgpack" }),
		func(context.Context, *Job[welcome]) error { return nil })
	require.Equal(t, backend.OutcomeDead, result.Settlement.Outcome)
	require.ErrorContains(t, result.Err, `with codec "msgpack": this worker does not know the codec; add it by WithCodec`)
}

type pointerArgs struct{ N int }

func (*pointerArgs) Kind() string { return "welcome" }

func TestArgsMayBeAPointer(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]int{`{"N":3}`: 3, `null`: 0} {
		r := NewRegistry()
		Handle(r, func(_ context.Context, job *Job[*pointerArgs]) error {
			require.Equal(t, want, job.Args.N)
			return nil
		})
		result := runIn(t, t.Context(), r, aLease(func(l *backend.Lease) { l.Job.Payload = []byte(payload) }))
		require.NoError(t, result.Err)
	}
}

type secret struct{ Password string }

func (secret) Kind() string { return "secret" }

// Lesson: payloads in logs. Dead letters and panics print whole messages.
func TestLesson_PayloadsStayOutOfLogs(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	var log strings.Builder
	write := func(v any) {
		for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
			slog.New(h).Info("x", "value", v)
		}
		fmt.Fprintf(&log, "%v %+v %s\n", v, v, v)
	}
	for _, payload := range []string{`{"Password":"` + password + `"}`, `{"Password":["` + password, `"` + password + `"`, password} {
		r := NewRegistry()
		Handle(r, func(_ context.Context, job *Job[secret]) error {
			write(job)
			write(*job)
			write(job.Info)
			panic(job.Args)
		})
		result := runIn(t, t.Context(), r, aLease(func(l *backend.Lease) {
			l.Job.Kind, l.Job.Payload = "secret", []byte(payload)
			l.Job.Headers = map[string]string{"token": password}
		}))
		write(result.Err)
		history, err := json.Marshal(result.Settlement.History)
		require.NoError(t, err)
		log.Write(history)
		client := newClient(t, &fakeStore{}, r)
		info := client.jobInfo(backend.JobInfo{Job: backend.Job{Kind: "secret", Payload: []byte(payload)}, History: backend.History{Result: []byte(payload)}})
		write(info)
		_, err = ResultOf[int](info)
		write(err)
		_, err = ArgsOf[welcome](info)
		write(err)
	}
	write(New(secret{password}))
	require.Contains(t, log.String(), "panic with a value of type jobs.secret")
	require.NotContains(t, log.String(), password)
}

func TestPanicsShowWhatIsNoPayload(t *testing.T) {
	t.Parallel()
	for want, value := range map[string]any{
		"panic: boom": errBoom, "panic: text": "text", "panic: 42": 42, "panic: 1s": time.Second,
		"panic with a value of type []uint8": []byte("data"),
	} {
		require.Equal(t, want, (&Panic{Value: value}).Error())
	}
	require.ErrorIs(t, &Panic{Value: errBoom}, errBoom)
	require.NoError(t, errors.Unwrap(&Panic{Value: "text"}))
}
