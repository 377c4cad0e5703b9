package actors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// tree is what the worker has told last.
func (r *rig) tree() (tree jobs.WorkerTree, found bool) {
	r.t.Helper()
	tree, found, err := r.client.WorkerTree(context.Background(), r.worker.ID())
	require.NoError(r.t, err)
	return tree, found
}

func TestAWorkerThatNobodyLooksAtTellsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, polite)
		r.enqueue(1)
		pause(10 * time.Minute)
		require.Zero(t, r.faulty.count("write memo"))
		_, found := r.tree()
		require.False(t, found)
	})
}

func TestAWorkerThatIsWatchedTellsItsTreeAsItChanges(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		r := newRig(t, obstinate(gate), concurrency(3))
		pause(time.Second)
		require.NoError(t, r.client.WatchWorkers(t.Context(), r.worker.ID()))
		pause(50 * time.Millisecond)
		tree, found := r.tree()
		require.True(t, found)
		require.Equal(t, "running", tree.State)
		require.Nil(t, tree.Stop)
		var names []string
		for _, p := range tree.Parts {
			require.False(t, p.Ended)
			names = append(names, p.Name)
		}
		require.Equal(t, []string{"settler", "fetcher", "recorder", "keeper", "clock", "pool"}, names)
		require.Empty(t, tree.Executors)

		began := time.Now()
		r.enqueue(2)
		pause(300 * time.Millisecond)
		tree, _ = r.tree()
		require.Len(t, tree.Executors, 2)
		require.Equal(t, 3, tree.Concurrency)
		require.WithinDuration(t, began, tree.Executors[0].Began, time.Second)
		require.Zero(t, tree.Executors[0].CancelledAt)
		_, err := r.client.Cancel(t.Context(), jobs.DefaultQueue, "0")
		require.NoError(t, err)
		pause(time.Second)
		tree, _ = r.tree()
		require.Len(t, tree.Executors, 2, "it ignores its context")
		for _, e := range tree.Executors {
			require.Equal(t, e.ID == "0", !e.CancelledAt.IsZero())
		}
		close(gate)
		pause(time.Second)
		tree, _ = r.tree()
		require.Empty(t, tree.Executors)

		pause(jobs.WatchTime) // nobody looks any more
		r.faulty.forget()
		pause(10 * time.Minute)
		require.Zero(t, r.faulty.count("write memo"))
	})
}

func TestAWatchedWorkerWithNothingToDoTellsLittle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		pause(time.Second)
		require.NoError(t, r.client.WatchWorkers(t.Context(), r.worker.ID()))
		pause(time.Second)
		r.faulty.forget()
		pause(25 * time.Second)
		require.LessOrEqual(t, r.faulty.count("write memo"), 3)
	})
}

func TestAStopIsToldPhaseByPhaseAndAtLastTheReport(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		handlers := map[int]handler{
			0: func(context.Context, *jobs.Job[task]) error { pause(2 * time.Second); return nil }, // ends
			1: polite,                                                                              // returns when it is cancelled
			2: obstinate(gate),                                                                     // ignores its context
		}
		r := newRig(t, func(ctx context.Context, job *jobs.Job[task]) error { return handlers[job.Args.N](ctx, job) },
			concurrency(3), times(20*time.Second, 5*time.Second, 3*time.Second))
		defer close(gate)
		r.enqueue(3)
		synctest.Wait()
		pause(time.Second)

		// seen is when each state was first told, held how many jobs held it up then.
		seen, held := map[string]time.Time{}, map[string]int{}
		stop := time.Now()
		r.faulty.on(func(_ context.Context, call func() error) error { pause(time.Second); return call() }, "settle") // so that each step lasts
		r.worker.Stop(actors.Stop{})
		var last jobs.WorkerTree
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); pause(10 * time.Millisecond) {
			synctest.Wait() // what is told in this instant has been heard, too
			tree, found := r.tree()
			if _, before := seen[tree.State]; found && !before {
				seen[tree.State], held[tree.State] = time.Now(), len(tree.Executors)
			}
			last = tree
			if tree.State == "cancelling" && time.Since(stop) > r.states.after(t, actors.StateCancelling, stop)+time.Second {
				require.Len(t, tree.Executors, 1, "one has returned, and the other one ignores its context")
				require.Equal(t, "2", tree.Executors[0].ID)
				require.NotZero(t, tree.Executors[0].CancelledAt)
				require.WithinDuration(t, stop.Add(17*time.Second), tree.Stop.HandBackAt, time.Second)
				require.WithinDuration(t, stop.Add(20*time.Second), tree.Stop.EndAt, time.Second)
			}
		}
		for _, state := range []actors.State{actors.StateDraining, actors.StateCancelling, actors.StateHandingBack, actors.StateStopped} {
			require.LessOrEqual(t, seen[string(state)].Sub(stop)-r.states.after(t, state, stop), 100*time.Millisecond, state)
			require.Contains(t, seen, string(state))
		}
		require.Equal(t, 3, held["draining"])
		require.Equal(t, "stop was asked for", last.Report.Reason)
		require.Equal(t, 3, last.Report.Leased)
		require.Equal(t, []jobs.Became{{How: "completed", Jobs: 1}, {How: "interrupted", Jobs: 1}, {How: "abandoned", Jobs: 1}}, last.Report.Became)
		require.Len(t, last.Report.Abandoned, 1)
		require.Equal(t, "2", last.Report.Abandoned[0].ID)
		require.NotZero(t, last.Report.Took)
		pause(50 * time.Minute)
		_, found := r.tree()
		require.True(t, found, "the report is there for an hour")
		pause(11 * time.Minute)
		_, found = r.tree()
		require.False(t, found)
	})
}

func TestTheStateOfAWorkerIsPublishedAsItChanges(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, noop)
		pause(12 * time.Second)
		require.Equal(t, 3, r.faulty.count("announce"), "no more than before")
		published := func() string {
			pause(10 * time.Millisecond)
			workers, err := r.store.Workers(t.Context())
			require.NoError(t, err)
			return workers[0].State
		}
		r.worker.Quiet()
		require.Equal(t, "quiet", published())
		r.worker.Resume()
		require.Equal(t, "running", published())
	})
}

func TestAStoreThatTakesNoTreeHoldsNoStopUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for name, r := range map[string]rule{"hangs": hangs, "is down": down} {
			rig := newRig(t, noop)
			rig.enqueue(5)
			synctest.Wait()
			rig.faulty.on(r, "write memo")
			began := time.Now()
			report := rig.stop(actors.Stop{})
			require.Equal(t, 5, report.Completed, name)
			require.LessOrEqual(t, time.Since(began), 2*time.Second, name)
			workers, err := rig.store.Workers(t.Context())
			require.NoError(t, err)
			require.Empty(t, workers, "it has signed off: "+name)
		}
	})
}

func TestATreeIsBoundedInBytes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		store := newStore(t)
		tree := jobs.WorkerTree{Worker: "w"}
		long := make([]byte, backend.MaxNameLength)
		for i := range long {
			long[i] = 'x'
		}
		for range 500 {
			tree.Executors = append(tree.Executors, jobs.WorkerExecutor{Queue: string(long), ID: string(long), Kind: string(long)})
		}
		require.NoError(t, jobs.TellTree(t.Context(), store.store, tree))
		got, found, err := store.client.WorkerTree(t.Context(), "w")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, 500, len(got.Executors)+got.Omitted)
		require.NotEmpty(t, got.Executors)
	})
}
