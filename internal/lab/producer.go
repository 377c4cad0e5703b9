//go:build unix

package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Load is what producers enqueue.
type Load struct {
	// URL is that of their store.
	URL string
	// Producers is their number; each enqueues Batch jobs every Every.
	Producers, Batch int
	Every            time.Duration
	// Task is the job with a number.
	Task func(i int) Task
	// Options are what is said of the job with a number besides; nil for nothing.
	Options func(i int) []jobs.EnqueueOption
	// GiveUp is set if a batch whose fate is not known is left so. Otherwise it
	// is enqueued again, with the same ids, until there are receipts.
	GiveUp bool
	// Remember is how long the store keeps the ids of jobs that have ended, so that
	// an enqueue that is repeated later than they ran adds nothing.
	Remember time.Duration
}

// Producers enqueue until they are stopped.
type Producers struct {
	books  *Books
	load   Load
	client *jobs.Client
	end    chan struct{}
	all    sync.WaitGroup
}

// Produce starts producers.
func Produce(t testing.TB, books *Books, load Load) *Producers {
	t.Helper()
	store, err := backend.Open(load.URL)
	require.NoError(t, err)
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	p := &Producers{books: books, load: load, client: client, end: make(chan struct{})}
	for n := range load.Producers {
		p.all.Go(func() { p.run(n) })
	}
	var once sync.Once
	t.Cleanup(func() {
		once.Do(func() {
			p.halt()
			require.NoError(t, store.Close())
		})
	})
	return p
}

// Stop ends the producers. Each still gets an answer to its last batch, unless it
// gives up or the store is away for 20 seconds.
func (p *Producers) Stop() { p.halt() }

func (p *Producers) halt() {
	select {
	case <-p.end:
	default:
		close(p.end)
	}
	p.all.Wait()
}

// overtime is for how long a stopped producer still asks for its answer.
const overtime = 20 * time.Second

func (p *Producers) run(producer int) {
	tick := time.NewTicker(p.load.Every)
	defer tick.Stop()
	var stopped time.Time
	var batch []pending
	for seq := 0; ; {
		select {
		case <-tick.C:
		case <-p.end:
			if stopped.IsZero() {
				stopped = time.Now()
			}
			if len(batch) == 0 || time.Since(stopped) > overtime {
				return
			}
			<-tick.C
		}
		if len(batch) == 0 {
			for range p.load.Batch {
				id := fmt.Sprintf("p%d-%d", producer, seq)
				options := []jobs.EnqueueOption{jobs.ID(id)}
				if p.load.Remember > 0 {
					options = append(options, jobs.Retention(p.load.Remember))
				}
				if p.load.Options != nil {
					options = append(options, p.load.Options(seq)...)
				}
				batch = append(batch, pending{id, jobs.New(p.load.Task(seq), options...)})
				seq++
			}
		}
		batch = p.enqueue(batch)
		if p.load.GiveUp {
			batch = nil
		}
	}
}

// pending is a job whose enqueue was not answered yet.
type pending struct {
	id   string
	item jobs.Item
}

// enqueue enqueues jobs in their order and returns those without an answer.
func (p *Producers) enqueue(batch []pending) (left []pending) {
	var ids []string
	var items []jobs.Item
	for _, job := range batch {
		ids, items = append(ids, job.id), append(items, job.item)
	}
	p.books.try(ids)
	receipts, err := p.client.EnqueueMany(context.Background(), items...)
	for i, id := range ids {
		failed := err
		if i < len(receipts) {
			failed = receipts[i].Err
		}
		if errors.Is(failed, backend.ErrUnavailable) {
			left = append(left, batch[i])
			continue
		}
		p.books.answer(id, failed == nil)
	}
	return left
}
