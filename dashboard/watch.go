package dashboard

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

const (
	// fresh is how old a look may be that is shown.
	fresh = 250 * time.Millisecond
	// lookEvery is how often queues and workers are looked at while pages are live;
	// where a look takes long, lookShare times that.
	lookEvery = 250 * time.Millisecond
	lookShare = 20
	lookTime  = 5 * time.Second
	// beatEvery is how often a stream says that it lives.
	beatEvery = time.Second
	// attendEvery is how often the tree of a worker is read while pages are about it; of
	// one that has told its report, or cannot be read, doneEvery. maxAttended bounds the
	// workers that are attended to.
	attendEvery = 100 * time.Millisecond
	doneEvery   = time.Second
	maxAttended = 20
)

// watch looks at queues and workers, once for all pages, and tells the streams when
// something has changed. It looks by itself only as long as there are streams.
type watch struct {
	client *jobs.Client
	log    *slog.Logger
	max    int

	// looking is held by who looks.
	looking chan struct{}

	mu      sync.Mutex
	look    *operate.Look
	looked  time.Time
	streams map[*stream]struct{}
	running bool
	closed  chan struct{}
	// attended has the workers that pages are about; asked is when each was last asked to
	// tell its tree.
	attended map[string]*attention
	asked    map[string]time.Time
}

// attention is paid to a worker by a goroutine, for so many streams; when the last one leaves
// it ends, and whoever comes then begins another one.
type attention struct{ streams int }

// stream is a page that is live.
type stream struct {
	wake chan struct{}
	// about is the worker that it is about; empty if it is about none.
	about string
	// changed and beat are what it is to be told; guarded by the watch.
	changed, beat bool
}

func newWatch(client *jobs.Client, log *slog.Logger, streams int) *watch {
	return &watch{
		client: client, log: log, max: streams, looking: make(chan struct{}, 1),
		streams: map[*stream]struct{}{}, closed: make(chan struct{}),
		attended: map[string]*attention{}, asked: map[string]time.Time{},
	}
}

// glance is a look that is fresh enough to be shown. Who asks while another one looks waits
// for it.
func (w *watch) glance(ctx context.Context) (*operate.Look, error) {
	select {
	case w.looking <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-w.looking }()
	w.mu.Lock()
	look, looked := w.look, w.looked
	w.mu.Unlock()
	if look != nil && time.Since(looked) < fresh {
		return look, nil
	}
	look, err := operate.Glance(ctx, w.client)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.look, w.looked = look, time.Now()
	w.mu.Unlock()
	return look, nil
}

// renew forgets the look, as an act has changed what it shows.
func (w *watch) renew() {
	w.mu.Lock()
	w.look = nil
	w.mu.Unlock()
}

// enter adds a stream, about a worker if it has an id; nil if there are too many, or at the
// end.
func (w *watch) enter(about string) *stream {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
		return nil
	default:
	}
	if len(w.streams) >= w.max {
		return nil
	}
	s := &stream{wake: make(chan struct{}, 1)}
	w.streams[s] = struct{}{}
	if about != "" && (w.attended[about] != nil || len(w.attended) < maxAttended) {
		s.about = about
		a := w.attended[about]
		if a == nil {
			a = &attention{}
			w.attended[about] = a
			go w.attend(about, a)
		}
		a.streams++
	}
	if !w.running {
		w.running = true
		go w.run()
	}
	return s
}

func (w *watch) leave(s *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.streams, s)
	if s.about == "" {
		return
	}
	if a := w.attended[s.about]; a.streams == 1 {
		delete(w.attended, s.about)
	} else {
		a.streams--
	}
}

// take is what a stream is to be told.
func (w *watch) take(s *stream) (changed, beat bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed, beat = s.changed, s.beat
	s.changed, s.beat = false, false
	return changed, beat
}

// change tells all streams that something has changed.
func (w *watch) change() { w.tell(true, "") }

// tell tells streams of a change or that they live: those about a worker, or all.
func (w *watch) tell(changed bool, about string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.streams {
		if about != "" && s.about != about {
			continue
		}
		s.changed, s.beat = s.changed || changed, s.beat || !changed
		select {
		case s.wake <- struct{}{}:
		default: // it is awake
		}
	}
}

func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
	default:
		close(w.closed)
	}
}

// run looks until no stream is left.
func (w *watch) run() {
	seed := maphash.MakeSeed()
	var last uint64
	var beat time.Time
	failures := 0
	for {
		began := time.Now()
		now, err := w.fingerprint(seed)
		pause := max(lookEvery, lookShare*time.Since(began))
		switch {
		case err != nil:
			if failures++; failures == 1 {
				w.log.Warn("the dashboard cannot look at the store, and tries again", "error", err)
			}
			pause = min(max(pause, time.Second), 5*time.Second)
		case now != last || failures > 0:
			if last != 0 {
				w.change()
			}
			last, failures = now, 0
		}
		if time.Since(beat) >= beatEvery {
			beat = time.Now()
			w.tell(false, "")
		}
		select {
		case <-time.After(min(pause, beatEvery)):
		case <-w.closed:
			return
		}
		if w.idle() {
			return
		}
	}
}

// idle ends the looking if there is nobody to look for.
func (w *watch) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.streams) > 0 {
		return false
	}
	w.running = false
	return true
}

// fingerprint is another number when something has changed that pages show.
func (w *watch) fingerprint(seed maphash.Seed) (sum uint64, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &jobs.Panic{Value: value, Stack: debug.Stack()}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	look, err := w.glance(ctx)
	if err != nil {
		return 0, err
	}
	plain := operate.Look{Queues: look.Queues}
	for _, worker := range look.Workers {
		worker.SeenAt = time.Time{} // it changes with each sign of life
		plain.Workers = append(plain.Workers, worker)
	}
	data, err := json.Marshal(plain)
	return maphash.Bytes(seed, data), err
}
