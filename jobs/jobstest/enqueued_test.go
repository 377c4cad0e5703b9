package jobstest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

// inMail is a registry whose welcomes go to the queue mail.
func inMail(options ...jobs.RegistryOption) *jobs.Registry {
	registry := jobs.NewRegistry(options...)
	jobs.Handle(registry, fine, jobs.Queue("mail"))
	jobs.Declare[Reminder](registry)
	return registry
}

func TestWhatWasEnqueuedIsFoundByTheWordsOfItsEnqueue(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, inMail())
	deadline := time.Now().Add(time.Hour)
	enqueue(t, store, Welcome{User: "ada", At: time.Now()})
	enqueue(t, store, Welcome{User: "grace"}, jobs.In(3*time.Minute), jobs.ID("grace"), jobs.Priority(2),
		jobs.Tags("a", "b"), jobs.Header("k", "v"), jobs.Header("l", "w"), jobs.MaxAttempts(4), jobs.Deadline(deadline))
	enqueue(t, store, Welcome{User: "barbara"}, jobs.Queue("bulk"))

	for _, options := range [][]jobs.EnqueueOption{
		{jobs.Priority(2)},
		{jobs.Priority(2), jobs.In(3 * time.Minute), jobs.Queue("mail")},
		{jobs.Priority(2), jobs.ID("grace"), jobs.MaxAttempts(4)},
		{jobs.Priority(2), jobs.Tags("b"), jobs.Header("l", "w"), jobs.Deadline(deadline.UTC())},
	} {
		require.Equal(t, "grace", store.RequireEnqueued(t, Welcome{User: "grace"}, options...).ID)
	}
	store.RequireEnqueued(t, Welcome{User: "barbara"}, jobs.Queue("bulk"))
	for _, options := range [][]jobs.EnqueueOption{
		{}, {jobs.Priority(1)},
		{jobs.Priority(2), jobs.In(4 * time.Minute)},
		{jobs.Priority(2), jobs.ID("other")},
		{jobs.Priority(2), jobs.Tags("c")},
		{jobs.Priority(2), jobs.Header("k", "w")},
		{jobs.Priority(2), jobs.Queue("bulk")},
		{jobs.Priority(2), jobs.Timeout(time.Hour)},
	} {
		store.RequireNotEnqueued(t, Welcome{User: "grace"}, options...)
	}
	store.RequireNotEnqueued(t, Welcome{User: "barbara"})
	store.RequireNotEnqueued(t, Reminder{})
}

func TestArgsAreComparedAsTheyComeThroughTheCodec(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, inMail())
	now := time.Now() // with a monotonic part, which no codec keeps
	enqueue(t, store, Welcome{User: "ada", Tags: nil, At: now})

	store.RequireEnqueued(t, Welcome{User: "ada", At: now})
	store.RequireEnqueued(t, &Welcome{User: "ada", At: now})
	store.RequireNotEnqueued(t, Welcome{User: "ada"})
}

func TestARandomIDIsNoExpectationWithMiddlewareEither(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, inMail(jobs.WithEnqueueMiddleware(func(next jobs.EnqueueFunc) jobs.EnqueueFunc {
		return func(ctx context.Context, batch []backend.NewJob) ([]jobs.Receipt, error) { return next(ctx, batch) }
	})))
	enqueue(t, store, Welcome{User: "ada"})

	store.RequireEnqueued(t, Welcome{User: "ada"})
	store.RequireNotEnqueued(t, Welcome{User: "ada"}, jobs.ID("ada"))
}

func TestAnEnqueueThatStoredNothingIsNotRemembered(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, inMail())
	enqueue(t, store, Welcome{User: "ada"}, jobs.ID("ada"))
	enqueue(t, store, Welcome{User: "grace"}, jobs.ID("ada"))
	_, err := store.Client().Enqueue(t.Context(), Welcome{User: "barbara"}, jobs.MaxAttempts(-1))
	require.Error(t, err)

	records := jobstest.Enqueued[Welcome](store)

	require.Len(t, records, 1)
	require.Equal(t, "ada", records[0].Args.User)
	require.Equal(t, "mail", records[0].Queue)
	require.Len(t, jobstest.Enqueued[*Welcome](store), 1)
}

func TestWhatRanAndIsForgottenWasStillEnqueued(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, inMail())
	enqueue(t, store, Welcome{User: "ada"})

	store.Drain(t.Context()).RequireCompleted(t)

	store.RequireEnqueued(t, Welcome{User: "ada"})
}

func TestAMissingEnqueueIsToldBesideWhatThereWas(t *testing.T) {
	t.Parallel()
	message := failure(t, func(tb jobstest.TB) {
		store := jobstest.New(tb, inMail())
		enqueue(t, store, Welcome{User: "ada"}, jobs.In(5*time.Minute))
		enqueue(t, store, Welcome{User: "grace"}, jobs.Queue("bulk"), jobs.ID("x"))
		store.RequireEnqueued(tb, Welcome{User: "ada"}, jobs.In(3*time.Minute))
	})

	require.Equal(t, `jobstest: no job was enqueued as
    welcome {"tags":null,"user":"ada"}, Queue("mail"), In(3m0s)
Of kind "welcome" there were:
    1. welcome {"tags":null,"user":"ada"}, Queue("mail"), In(5m0s)
       In is 5m0s and not 3m0s
    2. welcome {"tags":null,"user":"grace"}, Queue("bulk"), ID(x)
       other args; Queue is bulk and not mail; In is 0s and not 3m0s`, message)
}

func TestWhereNothingOfTheKindWasEnqueuedTheOthersAreNamed(t *testing.T) {
	t.Parallel()
	nothing := failure(t, func(tb jobstest.TB) {
		jobstest.New(tb, inMail()).RequireEnqueued(tb, Reminder{User: "ada"})
	})
	others := failure(t, func(tb jobstest.TB) {
		store := jobstest.New(tb, inMail())
		enqueue(t, store, Welcome{})
		store.RequireEnqueued(tb, Reminder{User: "ada"})
	})

	require.Contains(t, nothing, `None of kind "reminder" was enqueued, nor of any other.`)
	require.Contains(t, others, `None of kind "reminder" was enqueued, but of others: map[welcome:1].`)
}

func TestAnEnqueueThatShouldNotHaveBeenIsShown(t *testing.T) {
	t.Parallel()
	message := failure(t, func(tb jobstest.TB) {
		store := jobstest.New(tb, inMail())
		enqueue(t, store, Welcome{User: "ada"})
		store.RequireNotEnqueued(tb, Welcome{User: "ada"})
	})

	require.Equal(t, "jobstest: 1 of these were enqueued, and none should have been:\n"+
		`    welcome {"tags":null,"user":"ada"}, Queue("mail")`, message)
}

func TestAnExpectationThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	message := failure(t, func(tb jobstest.TB) {
		jobstest.New(tb, inMail()).RequireNotEnqueued(tb, Welcome{}, jobs.MaxAttempts(0))
	})

	require.Contains(t, message, "what is expected cannot be enqueued: ")
	require.Contains(t, message, "MaxAttempts(0)")
}
