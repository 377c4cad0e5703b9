package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/sqlite"
)

var (
	sqlitePeer = &peer{
		name: "sqlite", about: "caddis on its SQLite backend, each commit on disk, JSON payloads", batches: true, embedded: true,
		open: func(place) (store, error) {
			folder, err := os.MkdirTemp("", "caddis-bench-")
			if err != nil {
				return nil, err
			}
			b, err := backend.Open("sqlite:" + filepath.Join(folder, "jobs.db"))
			if err != nil {
				return nil, err
			}
			s, err := openCaddis(b, nil)
			return inFolder{s, folder}, err
		},
	}
	riverPeer = &peer{
		name: "river", about: "River on SQLite as its driver advises (one connection, WAL), each commit on disk, fetches after 1 ms", batches: true, embedded: true,
		open: openRiver,
	}
)

// inFolder removes the folder of a store with it.
type inFolder struct {
	store
	folder string
}

func (s inFolder) close() error { return errors.Join(s.store.close(), os.RemoveAll(s.folder)) }

// unwrap is the store itself.
func (s inFolder) unwrap() store { return s.store }

// riverStore uses River's public API only.
type riverStore struct {
	db     *sql.DB
	client *river.Client[*sql.Tx]
}

type riverArgs struct{ task }

func openRiver(place) (store, error) {
	folder, err := os.MkdirTemp("", "caddis-bench-")
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "river.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	driver := riversqlite.New(db)
	migrator, err := rivermigrate.New(driver, nil)
	if err == nil {
		_, err = migrator.Migrate(context.Background(), rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	client, err := river.NewClient(driver, &river.Config{Logger: quietLogger})
	return inFolder{&riverStore{db, client}, folder}, err
}

func (s *riverStore) enqueue(ctx context.Context, n int) error { return s.enqueueAfter(ctx, n, 0) }

func (s *riverStore) enqueueAfter(ctx context.Context, n int, delay time.Duration) error {
	var options *river.InsertOpts
	if delay > 0 {
		options = &river.InsertOpts{ScheduledAt: time.Now().Add(delay)}
	}
	_, err := s.client.Insert(ctx, riverArgs{newTask(n)}, options)
	return err
}

func (s *riverStore) enqueueMany(ctx context.Context, first, count int) error {
	all := make([]river.InsertManyParams, count)
	for i := range all {
		all[i].Args = riverArgs{newTask(first + i)}
	}
	_, err := s.client.InsertMany(ctx, all)
	return err
}

func (s *riverStore) left(ctx context.Context) (n int64, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT count(*) FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled')`).Scan(&n)
	return n, err
}

func (s *riverStore) close() error { return s.db.Close() }

type riverHandler struct {
	river.WorkerDefaults[riverArgs]
	handle handler
}

func (h *riverHandler) Work(ctx context.Context, job *river.Job[riverArgs]) error {
	h.handle(ctx, job.Args.N)
	return nil
}

type riverWorker struct{ client *river.Client[*sql.Tx] }

func (w riverWorker) stop(ctx context.Context) error { return w.client.Stop(ctx) }

func (s *riverStore) start(ctx context.Context, c workerConfig) (worker, error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverHandler{handle: c.handle})
	client, err := river.NewClient(riversqlite.New(s.db), &river.Config{
		Logger: quietLogger, Workers: workers,
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: c.concurrency}},
		FetchCooldown: time.Millisecond, FetchPollInterval: 10 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	return riverWorker{client}, client.Start(ctx)
}

// shareOfRiver is how many of the jobs River gets: it is slow, and its rate does not
// depend on their number.
const shareOfRiver = 10

func (b *bench) jobsFor(p *peer, jobs int) int {
	if p == riverPeer {
		return max(1, jobs/shareOfRiver)
	}
	return jobs
}

// inOneFile measures the stores that keep their jobs in one file, on disk.
func inOneFile(ctx context.Context, b *bench) error {
	for _, c := range []struct {
		variant          string
		producers, batch int
	}{
		{oneProducerCase, 1, 1}, {manyProducersCase, producers, 1}, {batchesCase, 1, batchSize},
	} {
		err := b.turns(ctx, b.among(sqlitePeer, riverPeer), func(run int, p *peer) error {
			jobs := b.jobsFor(p, b.jobs)
			if c.producers == 1 && c.batch == 1 {
				jobs = max(1, jobs/5)
			}
			took, err := b.enqueueOnce(ctx, p, c.producers, jobs, c.batch)
			if err == nil {
				b.note(p, run, c.variant, "rate", rate(jobs, took), "jobs/s", settings{"jobs": jobs, "producers": c.producers, "batch": c.batch})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, concurrency := range b.concurrencies(50, 200) {
		err := b.turns(ctx, b.among(sqlitePeer, riverPeer), func(run int, p *peer) error {
			jobs := b.jobsFor(p, b.jobs)
			took, err := b.drainOnce(ctx, p, concurrency, jobs)
			if err == nil {
				b.note(p, run, "drain, "+concurrencyCase(concurrency), "rate", rate(jobs, took), "jobs/s", settings{"jobs": jobs, "concurrency": concurrency})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return b.turns(ctx, b.among(sqlitePeer), func(run int, p *peer) error { return b.deepFile(ctx, run, p) })
}

// deepFile compares what a job costs while few and while many others wait, in short
// rounds that take turns.
func (b *bench) deepFile(ctx context.Context, run int, p *peer) error {
	cases := []int{b.part(1, 50), b.part(20, 1)}
	wells := make([]*fileWell, len(cases))
	for i, deep := range cases {
		r, err := b.rig(ctx, p, place{concurrency: 4})
		if err != nil {
			return err
		}
		defer r.close()
		if err := fill(ctx, p, r.store, deep); err != nil {
			return err
		}
		wells[i] = &fileWell{cycle: caddisCycle{store: r.store.(inFolder).unwrap().(*caddisStore)}, next: deep}
	}
	took := make([]time.Duration, len(wells))
	const rounds = 20
	for range rounds {
		for i, w := range wells {
			began := time.Now()
			for range depthRound / depthBatch {
				if err := w.cycle.step(ctx, w.next, depthBatch, func(int) {}); err != nil {
					return err
				}
				w.next += depthBatch
			}
			took[i] += time.Since(began)
		}
	}
	for i, deep := range cases {
		b.note(p, run, depthCase(deep), "time per job", microseconds(took[i], rounds*depthRound), "µs", settings{"waiting": deep, "batch": depthBatch})
	}
	return nil
}

type fileWell struct {
	cycle caddisCycle
	next  int
}

// timesRiver judges the ratio of Caddis to River.
func timesRiver(variant string, least float64) func(*results) (verdict, bool) {
	return func(r *results) (verdict, bool) {
		ours, ok := r.median("sqlite", variant, "rate", "sqlite")
		theirs, other := r.median("sqlite", variant, "rate", "river")
		if !ok || !other {
			return verdict{}, false
		}
		ratio := ours / theirs
		return verdict{met: ratio >= least, measured: fmt.Sprintf("%s jobs/s, %.1f × River's %s", short(ours), ratio, short(theirs))}, true
	}
}

func deepFileRatio(r *results) (verdict, bool) {
	few, ok := r.median("sqlite", depthCase(1000), "time per job", "sqlite")
	many, also := r.median("sqlite", depthCase(1_000_000), "time per job", "sqlite")
	return verdict{met: many/few <= 1.2, measured: fmt.Sprintf("%.2f ×", many/few)}, ok && also
}
