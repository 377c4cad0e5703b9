package actors_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
)

func open(context.Context) error { return nil }

// flag is a gate that a test opens and closes.
type flag struct {
	mu  sync.Mutex
	err error
}

func (f *flag) check(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *flag) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func gate(g actors.Gate) func(*actors.Config) {
	return func(c *actors.Config) { c.Gates = append(c.Gates, g) }
}

func TestAClosedGateKeepsItsQueuesFromThisWorkerOnly(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var b begun
		var log journal
		f := &flag{err: errors.New("the disk is full")}
		r := newStore(t)
		r.fill(3, "a", "b")
		r.start(b.handle, queues("a", "b"), log.config,
			gate(actors.Gate{Name: "disk", Check: f.check, Every: time.Second, Queues: []string{"a"}}))
		pause(500 * time.Millisecond)
		require.Equal(t, []string{"b", "b", "b"}, b.all())
		gates := r.worker.Status().Gates
		require.Len(t, gates, 1)
		require.Equal(t, "disk", gates[0].Name)
		require.False(t, gates[0].Open)
		require.Equal(t, "the disk is full", gates[0].Reason)
		pause(5 * time.Second) // until the next record
		workers, err := r.client.Workers(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, workers[0].Closed)
		require.Equal(t, []string{"a", "b"}, workers[0].Queues)

		f.set(nil)
		pause(1100 * time.Millisecond)
		require.Len(t, b.all(), 6, "within Every of the opening")
		require.True(t, r.worker.Status().Gates[0].Open)

		f.set(errors.New("full again"))
		pause(1100 * time.Millisecond)
		r.fill(1, "a", "b")
		pause(10 * time.Second)
		require.Len(t, b.all(), 7)
		require.Len(t, log.about("a gate is closed"), 1)
		require.Len(t, log.about("a gate has opened"), 1)
		require.Len(t, log.about("a gate has closed"), 1)
		report := r.stop(actors.Stop{})
		require.Equal(t, "full again", report.Gates[0].Reason)
	})
}

func TestAWorkerWhoseQueuesAreAllClosedAsksTheStoreForNoJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &flag{err: errors.New("maintenance")}
		r := newStore(t)
		r.enqueue(3)
		r.start(noop, gate(actors.Gate{Name: "flag", Check: f.check, Every: time.Second}))
		pause(20 * time.Second)
		require.Zero(t, r.faulty.count("lease")+r.faulty.count("wait"))
		f.set(nil)
		pause(1100 * time.Millisecond)
		require.EqualValues(t, 3, r.counts()[backend.StateCompleted])
		f.set(errors.New("maintenance"))
		pause(10 * time.Second)
		r.stop(actors.Stop{})
	})
}

func TestAGateThatPanicsOrHangsIsClosedAndReportedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		check func(block chan struct{}) func(context.Context) error
		why   string
	}{
		"panics": {func(chan struct{}) func(context.Context) error {
			return func(context.Context) error { panic("no such disk") }
		}, "no such disk"},
		"hangs": {func(block chan struct{}) func(context.Context) error {
			return func(context.Context) error { <-block; return nil }
		}, "has not answered for 3s"},
		"ends with its ctx": {func(chan struct{}) func(context.Context) error {
			return func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		}, "has not answered"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var log journal
				block := make(chan struct{})
				r := newStore(t)
				r.enqueue(1)
				r.start(noop, log.config, gate(actors.Gate{Name: "disk", Check: c.check(block), Every: time.Second}))
				pause(time.Minute)
				require.EqualValues(t, 1, r.counts()[backend.StateWaiting])
				status := r.worker.Status().Gates[0]
				require.False(t, status.Open)
				require.Contains(t, status.Reason, c.why)
				require.NotZero(t, status.Faults)
				require.Len(t, log.about("the check of a gate has a fault"), 1)

				answer := httptest.NewRecorder()
				actors.Health(r.worker.Status, time.Second).ServeHTTP(answer, httptest.NewRequest("GET", "/readyz", strings.NewReader("")))
				var body actors.Status
				require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &body))
				require.Equal(t, "disk", body.Gates[0].Name)
				require.False(t, body.Gates[0].Open)
				require.Empty(t, body.Gates[0].Reason, "is not for strangers")

				began := time.Now()
				report := r.stop(actors.Stop{})
				require.Less(t, time.Since(began), 3*time.Second, "the stop does not wait for a check")
				require.False(t, report.Gates[0].Open)
				close(block)
				synctest.Wait()
			})
		})
	}
}

func TestWhatWasLeasedOfAQueueThatIsClosedMeanwhileGoesBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := &flag{}
		r := newStore(t)
		release := make(chan struct{})
		r.faulty.on(held(release), "lease")
		r.enqueue(1)
		r.start(noop, gate(actors.Gate{Name: "flag", Check: f.check, Every: 100 * time.Millisecond}))
		pause(time.Second)
		f.set(errors.New("closed"))
		pause(time.Second)
		close(release) // the lease that was on its way brings the job now
		pause(time.Second)
		require.EqualValues(t, 1, r.counts()[backend.StateWaiting])
		require.Equal(t, 1, r.worker.Status().Counts.HandedBack)
		f.set(nil)
		pause(time.Second)
		require.EqualValues(t, 1, r.counts()[backend.StateCompleted])
	})
}
