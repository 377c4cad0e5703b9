package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
)

func newStore(t testing.TB, config memory.Config) *memory.Backend {
	t.Helper()
	store, err := memory.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

// lease takes all waiting jobs of the queues.
func lease(t testing.TB, store backend.Backend, queues ...string) []backend.Lease {
	t.Helper()
	reply, err := store.Lease(t.Context(), backend.LeaseRequest{
		Worker: "w", Token: "w." + NewID(), Queues: queues, Max: 100, Duration: time.Minute,
	})
	require.NoError(t, err)
	return reply.Leases
}

func TestAClientNeedsABackend(t *testing.T) {
	t.Parallel()
	_, err := NewClient(nil, ClientConfig{})
	require.EqualError(t, err, "jobs: NewClient: the backend is nil; open one, such as memory.New or redis.New")
}

func TestAJobGoesFromTheEnqueueToItsResult(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	r := NewRegistry()
	Declare[other](r)
	Handle(r, func(ctx context.Context, job *Job[welcome]) error {
		client, ok := ClientFrom(ctx)
		require.True(t, ok)
		_, err := client.Enqueue(ctx, other{}, ID("from the handler"))
		require.NoError(t, err)
		require.NoError(t, job.Progress(0.5))
		return job.SetResult(job.Args.UserID * 2)
	}, Queue("mail"), Retention(time.Hour))
	client := newClient(t, store, r)

	receipt, err := client.Enqueue(t.Context(), welcome{UserID: 21}, Tags("vip"), Header("k", "v"))
	require.NoError(t, err)
	require.Equal(t, Receipt{Queue: "mail", ID: receipt.ID, State: backend.StateWaiting}, receipt)
	info, err := client.Job(t.Context(), "mail", receipt.ID)
	require.NoError(t, err)
	require.Equal(t, backend.StateWaiting, info.State)
	_, err = ResultOf[int](info)
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.ErrorContains(t, err, "is waiting and has no result")
	args, err := ArgsOf[welcome](info)
	require.NoError(t, err)
	require.Equal(t, welcome{UserID: 21}, args)
	var raw map[string]any
	require.NoError(t, info.DecodeArgs(&raw))
	require.Equal(t, map[string]any{"user_id": 21.0}, raw)
	_, err = ArgsOf[other](info)
	require.ErrorContains(t, err, `is of kind "welcome", jobs.other is of kind "other"`)

	leases := lease(t, store, "mail")
	require.Len(t, leases, 1)
	result := runIn(t, WithClient(t.Context(), client), r, &leases[0])
	_, err = store.Settle(t.Context(), backend.SettleRequest{Worker: "w", Call: 1, Settlements: []backend.Settlement{result.Settlement}})
	require.NoError(t, err)

	info, err = client.Job(t.Context(), "mail", receipt.ID)
	require.NoError(t, err)
	require.Equal(t, backend.StateCompleted, info.State)
	doubled, err := ResultOf[int](info)
	require.NoError(t, err)
	require.Equal(t, 42, doubled)
	progress, err := ProgressOf[float64](info)
	require.NoError(t, err)
	require.Equal(t, 0.5, progress)
	_, err = client.Job(t.Context(), DefaultQueue, "from the handler")
	require.NoError(t, err)
}

func TestWithoutAWorkerThereIsNoClientInTheContext(t *testing.T) {
	t.Parallel()
	for _, ctx := range []context.Context{t.Context(), WithClient(t.Context(), nil)} {
		_, ok := ClientFrom(ctx)
		require.False(t, ok)
	}
}

func TestARepeatedEnqueueReturnsTheExistingJobAndSaysSo(t *testing.T) {
	t.Parallel()
	client := newClient(t, newStore(t, memory.Config{}), nil)
	first, err := client.Enqueue(t.Context(), welcome{UserID: 1}, ID("once"), In(time.Hour))
	require.NoError(t, err)
	require.False(t, first.Existing)
	second, err := client.Enqueue(t.Context(), welcome{UserID: 2}, ID("once"))
	require.NoError(t, err)
	require.Equal(t, Receipt{Queue: DefaultQueue, ID: "once", State: backend.StateScheduled, Existing: true}, second)
	info, err := client.Job(t.Context(), DefaultQueue, "once")
	require.NoError(t, err)
	args, err := ArgsOf[welcome](info)
	require.NoError(t, err)
	require.Equal(t, int64(1), args.UserID, "the job that is there stays as it is")
}

func TestArgsThatCannotBeEnqueuedAreAnErrorAndNoPanic(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	client := newClient(t, store, nil)
	for want, args := range map[string]Args{
		"jobs: enqueue: rejected: the args are nil; give a value":                                   nil,
		"jobs: enqueue: rejected: the args are a nil *jobs.pointerArgs; give a value":               (*pointerArgs)(nil),
		"jobs: enqueue: rejected: the Kind method of jobs.fickle: panic: runtime error":             fickle{},
		"jobs: enqueue: the Kind method of jobs.nameless: rejected: the kind has no name":           nameless{},
		`jobs: enqueue: the Kind method of jobs.spaced: rejected: kind "two words" has ' ' at byte`: spaced{},
	} {
		_, err := client.Enqueue(t.Context(), args)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, backend.ErrRejected)
	}
	_, err := client.Enqueue(t.Context(), unencodable{})
	require.ErrorIs(t, err, ErrPayload)
	require.EqualError(t, err, `jobs: enqueue of kind "unencodable": cannot encode the payload of a job of kind "unencodable" with codec "json": json: unsupported type: chan int`)
	_, err = newClient(t, store, NewRegistry(WithCodec(obeseCodec{}))).Enqueue(t.Context(), welcome{})
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, "store large data elsewhere and enqueue where it is")
	require.Empty(t, store.stored)
}

type unencodable struct{ C chan int }

func (unencodable) Kind() string { return "unencodable" }

type obeseCodec struct{ fatCodec }

func (obeseCodec) Marshal(any) ([]byte, error) { return append(fat, 0), nil }

func TestManyJobsAreEnqueuedInOneCallWithOneReceiptEach(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	client := newClient(t, store, nil)
	var items []Item
	for i := range 100 {
		items = append(items, New(welcome{UserID: int64(i)}, ID(fmt.Sprint(i%50)), Queue(fmt.Sprintf("q%d", i%2))))
	}
	receipts, err := client.EnqueueMany(t.Context(), items...)
	require.NoError(t, err)
	require.Len(t, receipts, 100)
	for i, receipt := range receipts {
		require.Equal(t, Receipt{Queue: fmt.Sprintf("q%d", i%2), ID: fmt.Sprint(i % 50), State: backend.StateWaiting, Existing: i >= 50}, receipt)
	}
	receipts, err = client.EnqueueMany(t.Context())
	require.NoError(t, err)
	require.Empty(t, receipts)
}

func TestABatchThatIsTooLargeIsRefusedWithAHint(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	client := newClient(t, store, nil)
	_, err := client.EnqueueMany(t.Context(), make([]Item, backend.MaxBatch+1)...)
	require.EqualError(t, err, "jobs: enqueue: rejected: 10001 jobs in one call, 10000 are allowed; split them, for example by slices.Chunk")
	client = newClient(t, store, NewRegistry(WithCodec(fatCodec{})))
	items := make([]Item, 17)
	for i := range items {
		items[i] = New(welcome{})
	}
	_, err = client.EnqueueMany(t.Context(), items...)
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, "67108864 are allowed; split them")
	require.Empty(t, store.stored)
}

// fatCodec makes the largest payload of anything.
type fatCodec struct{ noCodec }

var fat = make([]byte, backend.MaxPayload)

func (fatCodec) Marshal(any) ([]byte, error) { return fat, nil }

func TestAStoreThatIsAwayIsToldByATypedErrorWithTheIDToTryAgainWith(t *testing.T) {
	t.Parallel()
	away := &backend.Error{Op: "enqueue", Err: backend.ErrUnavailable}
	client := newClient(t, &fakeStore{enqueue: func(context.Context, []backend.NewJob) ([]Receipt, error) { return nil, away }}, nil)
	receipt, err := client.Enqueue(t.Context(), welcome{}, Queue("mail"))
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.Equal(t, "mail", receipt.Queue)
	require.Len(t, receipt.ID, 26)
	require.Equal(t, err, receipt.Err)
	receipts, err := client.EnqueueMany(t.Context(), New(welcome{}, ID("1")), New(welcome{}, ID("2")))
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.Equal(t, []Receipt{{Queue: DefaultQueue, ID: "1", Err: away}, {Queue: DefaultQueue, ID: "2", Err: away}}, receipts)
}

func TestAFullStoreIsToldByATypedError(t *testing.T) {
	t.Parallel()
	client := newClient(t, newStore(t, memory.Config{MaxJobs: 1}), nil)
	_, err := client.Enqueue(t.Context(), welcome{})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), welcome{})
	require.ErrorIs(t, err, backend.ErrFull)
}

func TestPartialFailuresOfABatchAreVisible(t *testing.T) {
	t.Parallel()
	for name, fromStore := range map[string]error{"with the store's error": errBoom, "told by the receipts alone": nil} {
		client := newClient(t, &fakeStore{enqueue: func(_ context.Context, batch []backend.NewJob) ([]Receipt, error) {
			return []Receipt{{Queue: "a", ID: batch[0].ID, State: backend.StateWaiting}, {Queue: "b", ID: batch[1].ID, Err: errBoom}}, fromStore
		}}, nil)
		receipts, err := client.EnqueueMany(t.Context(), New(welcome{}, Queue("a")), New(welcome{}, Queue("b")))
		require.ErrorIs(t, err, errBoom, name)
		require.Len(t, receipts, 2, name)
		require.NoError(t, receipts[0].Err, name)
		require.ErrorIs(t, receipts[1].Err, errBoom, name)
		if fromStore == nil {
			require.EqualError(t, err, "jobs: enqueue: 1 of 2 jobs failed, the first with: boom")
		}
	}
}

func TestEnqueueMiddlewareSeesAndChangesJobsTheFirstOutermost(t *testing.T) {
	t.Parallel()
	var trace []string
	stamp := func(name string) EnqueueMiddleware {
		return func(next EnqueueFunc) EnqueueFunc {
			return func(ctx context.Context, batch []backend.NewJob) ([]Receipt, error) {
				trace = append(trace, name)
				for i := range batch {
					batch[i].Tags = append(batch[i].Tags, name)
				}
				return next(ctx, batch)
			}
		}
	}
	store := &fakeStore{}
	client := newClient(t, store, NewRegistry(WithEnqueueMiddleware(stamp("a"), stamp("b"))))
	_, err := client.Enqueue(t.Context(), welcome{})
	require.NoError(t, err)
	_, err = client.EnqueueMany(t.Context(), New(welcome{}), New(welcome{}))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "a", "b"}, trace)
	for _, job := range store.stored {
		require.Equal(t, []string{"a", "b"}, job.Tags)
	}
}

func TestMiddlewareMayRefuseButNotLoseJobs(t *testing.T) {
	t.Parallel()
	client := newClient(t, &fakeStore{}, NewRegistry(WithEnqueueMiddleware(func(EnqueueFunc) EnqueueFunc {
		return func(_ context.Context, batch []backend.NewJob) ([]Receipt, error) {
			if batch[0].Queue == "refused" {
				return nil, errBoom
			}
			return nil, nil
		}
	})))
	_, err := client.Enqueue(t.Context(), welcome{}, Queue("refused"))
	require.ErrorIs(t, err, errBoom)
	_, err = client.Enqueue(t.Context(), welcome{})
	require.ErrorContains(t, err, "0 receipts came back for 1 jobs; middleware must hand on all jobs or return an error")
}

func TestJobsAreReadInPagesAndAsOneSequence(t *testing.T) {
	t.Parallel()
	client := newClient(t, newStore(t, memory.Config{}), nil)
	for i := range 7 {
		_, err := client.Enqueue(t.Context(), welcome{UserID: int64(i)}, ID(fmt.Sprint(i)))
		require.NoError(t, err)
	}
	query := backend.JobsQuery{Queue: DefaultQueue, State: backend.StateWaiting, Limit: 3}
	page, err := client.Jobs(t.Context(), query)
	require.NoError(t, err)
	require.Len(t, page.Jobs, 3)
	require.NotEmpty(t, page.Next)
	for range 2 { // a sequence can be gone through again
		seen := map[int64]bool{}
		for job, err := range client.AllJobs(t.Context(), query) {
			require.NoError(t, err)
			args, err := ArgsOf[welcome](job)
			require.NoError(t, err)
			seen[args.UserID] = true
		}
		require.Len(t, seen, 7)
	}
	for range client.AllJobs(t.Context(), query) {
		break
	}
	query.State = "sleeping"
	failures := 0
	for _, err := range client.AllJobs(t.Context(), query) {
		require.ErrorIs(t, err, backend.ErrRejected)
		failures++
	}
	require.Equal(t, 1, failures)
}

func TestOperatorsActOnJobsAndQueues(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	client := newClient(t, store, nil)
	ctx := t.Context()
	state := func(id string) backend.State {
		info, err := client.Job(ctx, DefaultQueue, id)
		require.NoError(t, err)
		return info.State
	}
	_, err := client.Enqueue(ctx, welcome{}, ID("1"), In(time.Hour))
	require.NoError(t, err)

	_, err = client.RunNow(ctx, DefaultQueue, "1")
	require.NoError(t, err)
	require.Equal(t, backend.StateWaiting, state("1"))
	results, err := client.Cancel(ctx, DefaultQueue, "1")
	require.NoError(t, err)
	require.Equal(t, []backend.ActResult{{ID: "1", State: backend.StateCancelled}}, results)
	_, err = client.Retry(ctx, DefaultQueue, "1")
	require.NoError(t, err)
	require.Equal(t, backend.StateWaiting, state("1"))

	require.NoError(t, client.PauseQueue(ctx, DefaultQueue))
	require.Empty(t, lease(t, store, DefaultQueue))
	info, err := client.Queue(ctx, DefaultQueue)
	require.NoError(t, err)
	require.True(t, info.Paused)
	require.Equal(t, int64(1), info.Counts[backend.StateWaiting])
	require.Zero(t, info.PausedUntil)
	require.NoError(t, client.PauseQueue(ctx, DefaultQueue, For(time.Hour)))
	info, err = client.Queue(ctx, DefaultQueue)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Hour), info.PausedUntil, time.Minute)
	require.NoError(t, client.ResumeQueue(ctx, DefaultQueue))
	queues, err := client.Queues(ctx)
	require.NoError(t, err)
	require.Len(t, queues, 1)
	workers, err := client.Workers(ctx)
	require.NoError(t, err)
	require.Empty(t, workers)

	_, err = client.Delete(ctx, DefaultQueue, "1")
	require.NoError(t, err)
	_, err = client.Job(ctx, DefaultQueue, "1")
	require.ErrorIs(t, err, backend.ErrNotFound)
}

func TestAnActThatFailsForAJobIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	client := newClient(t, newStore(t, memory.Config{}), nil)
	ctx := t.Context()
	_, err := client.Enqueue(ctx, welcome{}, ID("1"))
	require.NoError(t, err)
	results, err := client.Cancel(ctx, DefaultQueue, "1", "no such job")
	require.Len(t, results, 2)
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, backend.ErrNotFound)
	require.ErrorIs(t, err, backend.ErrNotFound)
	require.ErrorContains(t, err, `1 of 2 jobs failed, the first with: cancel: job "no such job" in queue "default": not found`)
	require.Equal(t, 1, strings.Count(err.Error(), "cancel"), "it is said once")
	_, err = client.RunNow(ctx, DefaultQueue, "1")
	require.ErrorIs(t, err, backend.ErrState)
	results, err = client.Delete(ctx, DefaultQueue)
	require.NoError(t, err)
	require.Empty(t, results)
}

func TestBadNamesAreRefusedBeforeTheStoreIsAsked(t *testing.T) {
	t.Parallel()
	client := newClient(t, &fakeStore{}, nil) // whose other methods panic
	ctx := t.Context()
	act := func(_ []backend.ActResult, err error) error { return err }
	many := make([]string, backend.MaxBatch+1)
	for i, err := range []error{
		act(client.Cancel(ctx, "", "1")), act(client.Retry(ctx, "a b", "1")), act(client.Delete(ctx, "q", "")),
		act(client.RunNow(ctx, "q", many...)), client.PauseQueue(ctx, ""), client.PauseQueue(ctx, "q", For(0)),
		client.PauseQueue(ctx, "q", nil), client.ResumeQueue(ctx, "a b"),
		func() error { _, err := client.Job(ctx, "q", "a\x00"); return err }(),
		func() error { _, err := client.Queue(ctx, ""); return err }(),
	} {
		require.ErrorIs(t, err, backend.ErrRejected, "call %d", i)
		var typed *Error
		require.ErrorAs(t, err, &typed)
		require.NotEmpty(t, typed.Op)
	}
}

func TestAnErrorOfTheStoreComesThrough(t *testing.T) {
	t.Parallel()
	store := newStore(t, memory.Config{})
	client := newClient(t, store, nil)
	require.NoError(t, store.Close())
	_, err := client.Enqueue(t.Context(), welcome{})
	require.ErrorIs(t, err, backend.ErrClosed)
	_, err = client.Cancel(t.Context(), "q", "1")
	require.ErrorIs(t, err, backend.ErrClosed)
	require.False(t, errors.Is(err, backend.ErrRejected))
}

func TestBuildMakesWhatEnqueueWouldStoreAndStoresNothing(t *testing.T) {
	t.Parallel()
	registry := NewRegistry(WithEnqueueMiddleware(func(EnqueueFunc) EnqueueFunc { panic("not to be asked") }))
	Declare[welcome](registry, Queue("mail"), Priority(1))
	store := &fakeStore{}
	client := &Client{backend: store, registry: registry}

	job, err := client.Build(welcome{UserID: 42}, ID("w"), In(time.Minute))
	require.NoError(t, err)
	require.Equal(t, backend.NewJob{
		Job:   backend.Job{ID: "w", Queue: "mail", Kind: "welcome", Priority: 1, Payload: []byte(`{"user_id":42}`)},
		Delay: time.Minute,
	}, job)
	_, err = client.Build(welcome{}, MaxAttempts(0))
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, `jobs: build of kind "welcome"`)
	require.Empty(t, store.stored)
}
