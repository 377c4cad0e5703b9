package dashboard

import (
	"context"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// attend reads the tree of a worker again and again, so that a stop is seen as it happens,
// until no stream is about it any more.
func (w *watch) attend(id string, a *attention) {
	var last *jobs.WorkerTree
	for first := true; ; first = false {
		began := time.Now()
		tree, err := w.tree(id)
		pause := max(attendEvery, lookShare*time.Since(began))
		switch {
		case err != nil:
			pause = max(pause, doneEvery)
		case !first && !reflect.DeepEqual(tree, last):
			w.tell(true, id)
			fallthrough
		default:
			last = tree
		}
		if tree != nil && tree.Report != nil {
			pause = max(pause, doneEvery)
		}
		select {
		case <-time.After(min(pause, 2*doneEvery)):
		case <-w.closed:
			return
		}
		w.mu.Lock()
		left := w.attended[id] != a
		w.mu.Unlock()
		if left {
			return
		}
	}
}

// tree has a worker tell how it is, and reads what it told last; nil if that is nothing.
func (w *watch) tree(id string) (tree *jobs.WorkerTree, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &jobs.Panic{Value: value, Stack: debug.Stack()}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	if tree, err = readTree(ctx, w.client, id); err == nil && (tree == nil || tree.Report == nil) {
		w.ask(ctx, id)
	}
	return tree, err
}

func readTree(ctx context.Context, client *jobs.Client, id string) (*jobs.WorkerTree, error) {
	tree, found, err := client.WorkerTree(ctx, id)
	if err != nil || !found {
		return nil, err
	}
	return &tree, nil
}

// ask has a worker tell its tree, for as long as somebody looks. All workers hear of it, so
// that this is bounded: each is asked from time to time, and few at the same time. Where
// this client may only read, the trees of stops are there all the same.
func (w *watch) ask(ctx context.Context, id string) {
	const again = jobs.WatchTime / 3
	now := time.Now()
	w.mu.Lock()
	for other, at := range w.asked {
		if now.Sub(at) >= again {
			delete(w.asked, other)
		}
	}
	_, asked := w.asked[id]
	asked = asked || len(w.asked) >= maxAttended
	if !asked {
		w.asked[id] = now
	}
	w.mu.Unlock()
	if asked {
		return
	}
	if err := w.client.WatchWorkers(ctx, id); err != nil {
		w.log.Debug("a worker cannot be asked to tell how it is", "worker", id, "error", err)
	}
}
