package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// parkedKeys is how many keys of the limit there are. One job of each runs all the time.
const parkedKeys = 100

// beside is what lies in the queue of the jobs that are measured.
type beside struct {
	name            string
	delayed, parked int
	elsewhere       int // parked, in another queue of the same server
}

// otherQueue is one from which no worker takes.
const otherQueue = "elsewhere"

// parked measures plain jobs in a queue that has no other jobs, many that are delayed, some
// that are parked, and many: what one costs, by the wells of depth, and how many a worker
// drains. The delayed ones, and those that are parked in another queue, tell what is due to
// Redis having that much in its memory.
func parked(ctx context.Context, b *bench) error {
	many := min(b.part(2, 1), 100_000)
	cases := []beside{
		{name: "nothing else"},
		{name: thousands(int64(many)) + " delayed", delayed: many},
		{name: thousands(parkedKeys) + " parked", parked: parkedKeys},
		{name: thousands(int64(many)) + " parked", parked: many},
		{name: thousands(int64(many)) + " elsewhere", elsewhere: many},
	}
	return b.turns(ctx, b.among(caddisPeer), func(run int, p *peer) error {
		wells := make([]*well, len(cases))
		for i := range cases {
			w, err := b.well(ctx, p, 0)
			if err != nil {
				return err
			}
			defer w.rig.close()
			if err := errors.Join(cases[i].fill(ctx, w.rig), w.rig.rest(ctx)); err != nil {
				return err
			}
			wells[i] = w
		}
		if err := b.rounds(ctx, wells); err != nil {
			return err
		}
		for i, w := range wells {
			c := cases[i]
			w.deep = int(w.rig.staying)
			w.next += w.deep
			if err := w.verify(ctx); err != nil {
				return err
			}
			s := settings{"delayed": c.delayed, "parked": c.parked, "elsewhere": c.elsewhere}
			w.note(b, p, run, c.name, s)
			if err := b.drainBeside(ctx, run, p, &c, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// drainBeside measures a worker that finds its jobs waiting, as drain does.
func (b *bench) drainBeside(ctx context.Context, run int, p *peer, c *beside, s settings) error {
	const concurrency = 50
	r, err := b.rig(ctx, p, place{concurrency: concurrency})
	if err != nil {
		return err
	}
	defer r.close()
	err = r.warmUp(ctx, r.store, concurrency, min(b.jobs, warmJobs))
	if err := errors.Join(err, c.fill(ctx, r), fill(ctx, p, r.store, b.jobs), r.rest(ctx)); err != nil {
		return err
	}
	took, err := r.run(ctx, r.store, concurrency, newLedger(b.jobs))
	if err != nil {
		return err
	}
	b.note(p, run, c.name, "drain", rate(b.jobs, took), "jobs/s", s)
	return nil
}

// moved has Redis end what it does little by little, a step with each use of a key: after a
// hash table has grown, its entries are moved.
var moved = redis.NewScript(`
local looks = { hash = { 'HLEN', 'HEXISTS' }, zset = { 'ZCARD', 'ZSCORE' } }
for _, key in ipairs(redis.call('KEYS', '*')) do
  local look = looks[redis.call('TYPE', key).ok]
  if look then
    for _ = 1, 2 * redis.call(look[1], key) do redis.call(look[2], key, '') end
  end
end`)

// rest makes equal what storing other numbers of jobs leaves behind, and the jobs that are
// measured would pay for: hash tables of Redis that still grow, and memory of this process, which
// the pools give back at the second collection; how often it collects depends on that.
func (r *rig) rest(ctx context.Context) error {
	runtime.GC()
	runtime.GC()
	if err := moved.Run(ctx, r.server.admin, nil).Err(); !errors.Is(err, redis.Nil) {
		return err
	}
	return nil
}

// fill stores what is beside, and has so many jobs run all the time as there are keys.
func (c *beside) fill(ctx context.Context, r *rig) error {
	r.staying = int64(parkedKeys + c.delayed + c.parked)
	s := r.store.(*caddisStore)
	err := errors.Join(park(ctx, s, jobs.DefaultQueue, c.parked), postpone(ctx, s, c.delayed))
	if err == nil && c.elsewhere > 0 {
		err = park(ctx, s, otherQueue, c.elsewhere)
	}
	return err
}

// postpone stores jobs that are due in a day.
func postpone(ctx context.Context, s *caddisStore, n int) error {
	for first := 0; first < n; first += batchSize {
		items := make([]jobs.Item, min(batchSize, n-first))
		for i := range items {
			items[i] = jobs.New(newTask(first+i), jobs.In(24*time.Hour))
		}
		if _, err := s.client.EnqueueMany(ctx, items...); err != nil {
			return err
		}
	}
	return nil
}

// park lets a job of each key run, under a lease that outlasts the measurement, and so many
// others wait for their slots; without any, those that run have no limit.
func park(ctx context.Context, s *caddisStore, queue string, n int) error {
	const worker = "holder"
	limit := jobs.Limit("key", jobs.Slots(1), jobs.LimitBy(func(t task) string { return strconv.Itoa(t.N % parkedKeys) }))
	store := func(first, count int) error {
		items := make([]jobs.Item, count)
		for i := range items {
			if n == 0 {
				items[i] = jobs.New(newTask(first+i), jobs.Queue(queue))
			} else {
				items[i] = jobs.New(newTask(first+i), jobs.Queue(queue), limit)
			}
		}
		_, err := s.client.EnqueueMany(ctx, items...)
		return err
	}
	lease := func(call int) (backend.LeaseReply, error) {
		return s.backend.Lease(ctx, backend.LeaseRequest{
			Worker: worker, Token: worker + "." + strconv.Itoa(call), Queues: []string{queue},
			Max: parkedKeys, Duration: time.Hour,
		})
	}
	if err := store(0, parkedKeys); err != nil {
		return err
	}
	reply, err := lease(1)
	if err == nil && len(reply.Leases) != parkedKeys {
		err = fmt.Errorf("%d jobs run, want %d", len(reply.Leases), parkedKeys)
	}
	for first := parkedKeys; err == nil && first < parkedKeys+n; first += batchSize {
		err = store(first, min(batchSize, parkedKeys+n-first))
	}
	for call := 2; err == nil; call++ {
		if reply, err = lease(call); err == nil && len(reply.Leases) > 0 {
			err = errors.New("a job was handed out whose slot is taken")
		}
		queue, failed := s.client.Queue(ctx, queue)
		if err = errors.Join(err, failed); err == nil && queue.Counts[backend.StateWaiting] == 0 {
			if held := queue.Counts[backend.StateBlocked]; held != int64(n) {
				return fmt.Errorf("%d jobs are parked, want %d", held, n)
			}
			return nil
		}
	}
	return err
}
