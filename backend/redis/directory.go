package redis

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

func isNil(err error) bool { return errors.Is(err, goredis.Nil) }

func (b *Backend) directoryCall(s *script) *call {
	return &call{script: s, args: s.head(b.directoryKey)}
}

// Announce implements backend.Directory.
func (b *Backend) Announce(ctx context.Context, worker backend.WorkerInfo, ttl time.Duration) (backend.Announced, error) {
	var answer backend.Announced
	if worker.ID == "" || ttl <= 0 {
		return answer, b.fail("announce", "", fmt.Errorf("%w: a worker needs an id and a positive time to live", backend.ErrRejected))
	}
	worker.SeenAt, worker.StartedAt = time.Time{}, worker.StartedAt.UTC()
	record, err := json.Marshal(&worker)
	if err != nil {
		return answer, b.fail("announce", "", fmt.Errorf("%w: %w", backend.ErrRejected, err))
	}
	c := b.directoryCall(announceScript)
	c.add(worker.ID, millis(ttl), record, rand.Text()[:12], backend.VanishedFor.Milliseconds(), backend.MaxVanished)
	if err := b.run(ctx, c); err != nil {
		return answer, b.fail("announce", "", err)
	}
	reply, err := c.result()
	r, ok := reply.([]any)
	if err == nil && (!ok || len(r) != 5) {
		err = fmt.Errorf("%w: the announcement was answered by %T", backend.ErrUnavailable, reply)
	}
	if err != nil {
		return answer, b.fail("announce", "", err)
	}
	b.recognize(asString(r[0]))
	if !b.derive.clustered() {
		b.contact.Store(&contact{fmt.Sprint(asInt(r[2]), " ", asInt(r[1])), ttl})
	}
	answer.Next = time.Duration(asInt(r[3])) * time.Millisecond
	records, _ := r[4].([]any)
	for _, record := range records {
		if vanished, ok := b.readWorker(record); ok {
			answer.Vanished = append(answer.Vanished, vanished)
		}
	}
	return answer, nil
}

// readWorker reads the record of a worker.
func (b *Backend) readWorker(record any) (worker backend.WorkerInfo, ok bool) {
	text := asString(record)
	if text == "" {
		return worker, false // it has gone meanwhile
	}
	seen, rest, _ := strings.Cut(text, ":")
	_, info, _ := strings.Cut(rest, ":")
	at, err := strconv.ParseInt(seen, 10, 64)
	if err == nil {
		err = json.Unmarshal([]byte(info), &worker)
	}
	if err != nil {
		b.log.Warn("the record of a worker cannot be read", "record", text[:min(len(text), 200)], "error", err)
		return backend.WorkerInfo{}, false
	}
	worker.SeenAt = time.UnixMilli(at)
	return worker, true
}

// contact is what the last Announce tells of the store, if that is one server: that it
// was there and the same for a while, without a gap of more than half of ttl. Of the
// servers of a Cluster only one has the directory, so it tells nothing of the others.
type contact struct {
	proof string
	ttl   time.Duration
}

// proofFor writes for the scripts what is known of the store to who holds leases of a
// duration (see lib/grace.lua); "" if that is nothing.
func (b *Backend) proofFor(duration time.Duration) string {
	if c := b.contact.Load(); c != nil && c.ttl <= duration {
		return c.proof
	}
	return ""
}

// recognize compares the mark of the store with the one that it had before. With another
// one it is empty, or was, and the directory is to be written again.
func (b *Backend) recognize(mark string) {
	before := b.mark.Swap(&mark)
	if before == nil || *before == mark {
		return
	}
	b.log.Error("the job store has lost its jobs: it was emptied (FLUSHALL, FLUSHDB), came back without its data, or is another server; "+
		"what waited is gone, and what runs cannot be settled any more", "namespace", b.config.Namespace)
	b.queues.mu.RLock()
	defer b.queues.mu.RUnlock()
	for _, q := range b.queues.queues {
		if q.checked.Load() != 0 {
			q.checked.Store(1) // long ago
		}
	}
}

// SignOff implements backend.Directory.
func (b *Backend) SignOff(ctx context.Context, worker string, queues []string) error {
	if err := backend.CheckQueues(queues); err != nil {
		return b.fail("sign off", "", err)
	}
	b.plans.forget(worker)
	var failed error
	err := b.await(ctx, 0, func(ctx context.Context) {
		pipe := b.client.Pipeline()
		pipe.HDel(ctx, b.directoryKey("workers"), worker)
		pipe.ZRem(ctx, b.directoryKey("expire"), worker)
		pipe.Del(ctx, b.directoryKey("last:r:"+worker))
		for _, name := range queues {
			for _, t := range b.local(name).tags {
				pipe.Del(ctx, t.base+"last:l:"+worker)
				pipe.Del(ctx, t.base+"last:s:"+worker)
				pipe.Del(ctx, t.base+"last:r:"+worker)
			}
		}
		_, failed = pipe.Exec(ctx)
	})
	return b.fail("sign off", "", errors.Join(err, failed))
}

// Workers implements backend.Directory.
func (b *Backend) Workers(ctx context.Context) ([]backend.WorkerInfo, error) {
	c := b.directoryCall(workersScript)
	if err := b.run(ctx, c); err != nil {
		return nil, b.fail("workers", "", err)
	}
	reply, err := c.result()
	if err != nil {
		return nil, b.fail("workers", "", err)
	}
	rows, _ := reply.([]any)
	var workers []backend.WorkerInfo
	for _, row := range rows {
		if worker, ok := b.readWorker(row); ok {
			workers = append(workers, worker)
		}
	}
	slices.SortFunc(workers, func(x, y backend.WorkerInfo) int { return strings.Compare(x.ID, y.ID) })
	return workers, nil
}

func (b *Backend) channel() string { return b.config.Namespace + ":commands" }

// tell publishes hints. A lost one costs a little time only, so errors are
// logged and no more.
func (b *Backend) tell(ctx context.Context, verb, queue string, ids []string) {
	if len(ids) == 0 {
		return
	}
	var failed error
	err := b.await(ctx, 0, func(ctx context.Context) {
		pipe := b.client.Pipeline()
		for _, id := range ids {
			// None of verb, queue and id has a newline.
			pipe.Publish(ctx, b.channel(), verb+"\n"+queue+"\n"+id)
		}
		_, failed = pipe.Exec(ctx)
	})
	if err := errors.Join(err, failed); err != nil {
		b.log.Debug("a command was not published", "verb", verb, "queue", queue, "error", err)
	}
}

// Listen implements backend.Directory.
func (b *Backend) Listen(ctx context.Context, deliver func(backend.Command)) error {
	if err := b.begin(); err != nil {
		return b.fail("listen", "", err)
	}
	defer b.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.ctx, func() { cancel(backend.ErrClosed) })()

	pause, warned := 50*time.Millisecond, false
	for {
		err := b.listen(ctx, deliver, func() { pause = 50 * time.Millisecond })
		if ctx.Err() != nil {
			if b.closed.Load() {
				return b.fail("listen", "", backend.ErrClosed)
			}
			return ctx.Err()
		}
		if errors.Is(classify(err), backend.ErrDenied) && !warned {
			warned = true
			b.log.Warn("commands cannot be heard, so to cancel a running job takes until its lease is renewed", "channel", b.channel(), "error", err)
		}
		b.log.Debug("listening for commands was interrupted", "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// listen listens on one connection until it fails or ctx ends.
func (b *Backend) listen(ctx context.Context, deliver func(backend.Command), ok func()) error {
	track := b.hub.tracker()
	client := b.derive.client(2, track, hook{})
	defer func() { _ = client.Close() }()
	defer context.AfterFunc(ctx, track.cut)()
	sub := client.Subscribe(ctx, b.channel())
	defer func() { _ = sub.Close() }()
	idle := 0
	for {
		message, err := sub.ReceiveTimeout(ctx, 15*time.Second)
		if err != nil {
			if !isTimeout(err) || ctx.Err() != nil || idle > 0 {
				return err
			}
			// Nothing came: ask whether the connection still lives.
			idle++
			if err := sub.Ping(ctx); err != nil {
				return err
			}
			continue
		}
		idle = 0
		ok()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch m := message.(type) {
		case *goredis.Subscription:
			deliver(backend.Command{Verb: backend.CommandControl})
		case *goredis.Message:
			if parts := strings.SplitN(m.Payload, "\n", 3); len(parts) == 3 {
				deliver(backend.Command{Verb: parts[0], Queue: parts[1], ID: parts[2]})
			}
		}
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}
