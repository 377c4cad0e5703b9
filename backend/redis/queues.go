package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

// refresh is how often a queue in use is entered into the directory again, so
// that it comes back if the directory was lost.
const refresh = time.Minute

// tag is where the keys of one shard of a queue live.
type tag struct {
	queue string
	name  string                  // within the braces
	base  string                  // what every key begins with
	heads []atomic.Pointer[[]any] // by script, made when it is first called
	lanes [3]lane                 // for small calls, for large ones, and for those with unique keys or limits
	clock serverClock
	notes
}

// call makes a call of a script on the tag. last is the caller's memory, for
// scripts that have one.
func (t *tag) call(s *script, last string, args int) *call {
	head := t.head(s)
	all := make([]any, len(head), len(head)+1+args)
	copy(all, head)
	if s.last {
		all = append(all, t.base+"last:"+last)
	}
	return &call{script: s, args: all}
}

// head is the part of the calls of a script that is the same for all.
func (t *tag) head(s *script) []any {
	if head := t.heads[s.index].Load(); head != nil {
		return *head
	}
	head := s.head(func(what string) string { return t.base + what })
	t.heads[s.index].Store(&head)
	return head
}

func (c *call) add(args ...any) { c.args = append(c.args, args...) }

func (t *tag) bell() string { return t.base + "bell" }

// nudge is the bell of one waiter.
func (t *tag) nudge(waiter string) string { return t.base + "nudge:" + waiter }

// queue is a queue as this process knows it.
type queue struct {
	name    string
	tags    []*tag
	checked atomic.Int64 // unix ms of when it was last entered into the directory; 0 if never
	usedAt  atomic.Int64 // unix ms, to within a second
}

// tagOf is the shard that holds an id.
func (q *queue) tagOf(id string) *tag {
	if len(q.tags) == 1 {
		return q.tags[0]
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(backend.ShardKey(id)))
	return q.tags[h.Sum32()%uint32(len(q.tags))]
}

// registry is what this process knows of the queues that it has used lately.
type registry struct {
	mu     sync.RWMutex
	queues map[string]*queue
	swept  time.Time
}

// manyQueues is from how many queues on the registry forgets those that were not used
// for as long as the store remembers a call.
const manyQueues = 1000

// sweep forgets queues.
func (r *registry) sweep() {
	now := time.Now()
	if len(r.queues) < manyQueues || now.Sub(r.swept) < refresh {
		return
	}
	r.swept = now
	for name, q := range r.queues {
		if now.Sub(time.UnixMilli(q.usedAt.Load())) > memory {
			delete(r.queues, name)
		}
	}
}

func (b *Backend) directoryKey(what string) string {
	return b.config.Namespace + ":{*}:" + what
}

func (b *Backend) configuredShards(name string) int {
	if n, ok := b.config.Shards[name]; ok {
		return n
	}
	return b.config.DefaultShards
}

// local returns what the process knows of a queue, with the shards of the
// configuration.
func (b *Backend) local(name string) *queue {
	b.queues.mu.RLock()
	q := b.queues.queues[name]
	b.queues.mu.RUnlock()
	if q != nil {
		q.touch()
		return q
	}
	b.queues.mu.Lock()
	defer b.queues.mu.Unlock()
	if q := b.queues.queues[name]; q != nil {
		return q
	}
	if b.queues.queues == nil {
		b.queues.queues = map[string]*queue{}
	}
	b.queues.sweep()
	q = b.newQueue(name, b.configuredShards(name))
	b.queues.queues[name] = q
	return q
}

// touch keeps the queue in the registry.
func (q *queue) touch() {
	if now := time.Now().UnixMilli(); now-q.usedAt.Load() > time.Second.Milliseconds() {
		q.usedAt.Store(now)
	}
}

func (b *Backend) newQueue(name string, shards int) *queue {
	q := &queue{name: name}
	q.touch()
	for i := range shards {
		t := &tag{queue: name, name: name}
		if shards > 1 {
			t.name = name + "/" + strconv.Itoa(i)
		}
		t.base = b.config.Namespace + ":{" + t.name + "}:"
		t.heads = make([]atomic.Pointer[[]any], len(scripts))
		t.doubt()
		q.tags = append(q.tags, t)
	}
	return q
}

// enter returns the queues and enters those into the directory that were not
// entered lately. It fails if a queue was made with another number of shards,
// or if the store does not answer about one that was never entered.
func (b *Backend) enter(ctx context.Context, names []string) ([]*queue, error) {
	queues := make([]*queue, len(names))
	var due []*queue
	now := time.Now().UnixMilli()
	for i, name := range names {
		q := b.local(name)
		queues[i] = q
		if now-q.checked.Load() > refresh.Milliseconds() {
			due = append(due, q)
		}
	}
	if len(due) == 0 {
		return queues, nil
	}
	stored, err := b.readOrAdd(ctx, due)
	for i, q := range due {
		if err != nil {
			if q.checked.Load() == 0 {
				return nil, err
			}
			continue
		}
		if stored[i] == nil {
			continue // the store is full; what is stored in it can be worked off all the same
		}
		if n := fmt.Sprint(stored[i]); n != strconv.Itoa(len(q.tags)) {
			return nil, fmt.Errorf("%w: queue %q was made with %s shards and is configured with %d; set its shards to %s", backend.ErrRejected, q.name, n, len(q.tags), n)
		}
		q.checked.Store(now)
	}
	return queues, nil
}

// readOrAdd returns the shards of queues as the directory has them, after it has
// added those that it did not have, of which it tells the workers. It writes nothing
// else, as a full store refuses to; those that it refused are nil.
func (b *Backend) readOrAdd(ctx context.Context, queues []*queue) ([]any, error) {
	key, asked := b.directoryKey("queues"), false
	fields := make([]string, len(queues))
	for i, q := range queues {
		fields[i] = q.name
	}
	known := make([]any, len(queues))
	for {
		var stored []any
		var fresh []string
		var failed error
		err := b.await(ctx, 0, func(ctx context.Context) {
			pipe := b.client.Pipeline()
			added := map[string]*goredis.BoolCmd{}
			for i, q := range queues {
				if asked && known[i] == nil {
					added[q.name] = pipe.HSetNX(ctx, key, q.name, len(q.tags))
				}
			}
			read := pipe.HMGet(ctx, key, fields...)
			_, _ = pipe.Exec(ctx)
			for name, add := range added {
				if err := classify(add.Err()); err != nil && !errors.Is(err, backend.ErrFull) {
					failed = err
					return
				}
				if add.Val() {
					fresh = append(fresh, name)
				}
			}
			stored, failed = read.Result()
		})
		if err != nil {
			return nil, err // what was asked may still be answered
		}
		for _, name := range fresh {
			b.tell(ctx, backend.CommandQueue, name, []string{""})
		}
		if failed != nil || asked || !slices.Contains(stored, nil) {
			return stored, failed
		}
		known, asked = stored, true
	}
}

// known returns the queues of the directory and their shards.
func (b *Backend) known(ctx context.Context) (map[string]int, error) {
	var stored map[string]string
	var failed error
	err := b.await(ctx, 0, func(ctx context.Context) {
		stored, failed = b.client.HGetAll(ctx, b.directoryKey("queues")).Result()
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	known := make(map[string]int, len(stored))
	for name, value := range stored {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > MaxShards || backend.CheckQueue(name) != nil {
			b.log.Warn("the directory of queues has an entry that cannot be read", "queue", name, "shards", value)
			continue
		}
		known[name] = n
	}
	return known, nil
}

// find returns a queue without entering it, with the shards that the directory
// names; found is false if it is not there.
func (b *Backend) find(ctx context.Context, name string) (q *queue, found bool, err error) {
	q = b.local(name)
	if q.checked.Load() != 0 {
		return q, true, nil
	}
	var value string
	var failed error
	err = b.await(ctx, 0, func(ctx context.Context) {
		value, failed = b.client.HGet(ctx, b.directoryKey("queues"), name).Result()
	})
	if err == nil {
		err = failed
	}
	if err == goredis.Nil {
		return q, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	n, bad := strconv.Atoi(value)
	if bad == nil && n != len(q.tags) && n >= 1 && n <= MaxShards {
		// Whoever only looks need not configure the shards.
		return b.newQueue(name, n), true, nil
	}
	return q, true, nil
}
