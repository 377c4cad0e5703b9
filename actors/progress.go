package actors

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// gatherProgress has the newest progress of all runs stored; what was to be stored
// before and is not under way gives way to it.
func (k *keeper) gatherProgress() {
	var runs []*run
	for _, r := range k.ledger.renewable() {
		if r.newestProgress() != nil {
			runs = append(runs, r)
		}
	}
	k.progress.replace(runs)
}

// newestProgress is what is to be stored of a run's progress; nil if there is nothing.
// It takes it from the handler, so only the keeper calls it.
func (r *run) newestProgress() []byte {
	if work := r.work.Load(); work != nil {
		if p := work.TakeProgress(); p != nil {
			r.progress = p
		}
	}
	return r.progress
}

// progressBell tells the keeper, once, that there is progress to store.
type progressBell struct {
	post   *post
	keeper *actor.PID
	rung   atomic.Bool
}

func (b *progressBell) ring() {
	if !b.rung.Swap(true) {
		b.post.send(b.keeper, &progressMade{})
	}
}

func (b *progressBell) heard() { b.rung.Store(false) }
