package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// peer is a job system to measure.
type peer struct {
	name string
	// about are its settings, for the reader of the results.
	about string
	// open makes a store. It does not need a server if embedded is true.
	open     func(p place) (store, error)
	embedded bool
	// serial means that its worker needs a round trip for each job, so that on a
	// slow network it gets fewer jobs to run.
	serial bool
	// batches means that it stores many jobs in one call.
	batches bool
}

var peers = []*peer{caddisPeer, asynqPeer, limitPeer, memoryPeer, brpopPeer, asynqFastPeer, sqlitePeer, riverPeer}

func peerNames() []string {
	var names []string
	for _, p := range peers {
		names = append(names, p.name)
	}
	return slices.Clip(names)
}

// place is where a store is.
type place struct {
	addr string
	// concurrency is how many jobs or producers will use it at the same time.
	concurrency int
	// tally, if not nil, counts round trips.
	tally *tally
}

// client makes a client as a user would, with enough connections.
func (p place) client() *redis.Client {
	o := &redis.Options{Addr: p.addr, Protocol: 2, PoolSize: p.concurrency + 20}
	if p.tally != nil {
		o.Dialer = p.tally.dial
	}
	return redis.NewClient(o)
}

// handler is what a job does; n is the job's number.
type handler func(ctx context.Context, n int)

// store is a peer's job store, opened. Each job has a number, which comes back to
// the handler, and a payload of 100 bytes.
type store interface {
	enqueue(ctx context.Context, n int) error
	// enqueueAfter stores a job that is due after a delay; 0 is none.
	enqueueAfter(ctx context.Context, n int, delay time.Duration) error
	// enqueueMany stores the jobs from first on as quickly as the peer can in
	// one call, or one by one if it knows no such call.
	enqueueMany(ctx context.Context, first, count int) error
	// start starts a worker and returns when it takes jobs.
	start(ctx context.Context, c workerConfig) (worker, error)
	// left counts the jobs that are stored and not acknowledged.
	left(ctx context.Context) (int64, error)
	close() error
}

// errNoDelay is the answer of a store that cannot delay a job.
var errNoDelay = errors.New("this peer cannot delay a job")

type workerConfig struct {
	concurrency int
	// queues are those to take jobs from, in place of the default one.
	queues []string
	// lease, if not 0, replaces the default, where the peer lets one choose.
	lease  time.Duration
	handle handler
}

type worker interface {
	// stop returns when the worker has ended.
	stop(ctx context.Context) error
}

// payloadSize is that of every job.
const payloadSize = 100

const filler = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

// rawPayload is a payload for a peer that takes bytes: the number in decimal,
// then filler.
func rawPayload(n int) []byte {
	b := make([]byte, 0, payloadSize)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, filler[:payloadSize-len(b)]...)
}

// numberOf reads the number of a raw payload, without the cost of a codec.
func numberOf[T string | []byte](payload T) int {
	n := 0
	for i := 0; i < len(payload); i++ {
		if payload[i] < '0' || payload[i] > '9' {
			break
		}
		n = 10*n + int(payload[i]-'0')
	}
	return n
}

// batchSize is how many jobs go into one call where a peer takes many.
const batchSize = 1000

// fill stores jobs, quickly.
func fill(ctx context.Context, p *peer, s store, jobs int) error {
	if p.batches {
		for first := 0; first < jobs; first += batchSize {
			if err := s.enqueueMany(ctx, first, min(batchSize, jobs-first)); err != nil {
				return err
			}
		}
		return nil
	}
	return produce(ctx, s, 0, jobs, 16)
}

// produce stores jobs by single calls of several producers.
func produce(ctx context.Context, s store, first, jobs, producers int) error {
	errs := make(chan error, producers)
	for i := range producers {
		go func() {
			for n := first + i; n < first+jobs; n += producers {
				if err := s.enqueue(ctx, n); err != nil {
					errs <- fmt.Errorf("enqueue: %w", err)
					return
				}
			}
			errs <- nil
		}()
	}
	var failed error
	for range producers {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return failed
}
