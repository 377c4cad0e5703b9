//go:build unix

package caddis_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

const (
	pausedJobs  = 20
	pausedLease = 500 * time.Millisecond
)

// paused is a program whose jobs run until it is told to stop. It tells each run, and
// now and then that it is alive.
func paused() int {
	store, err := memory.New(memory.Config{})
	if err != nil {
		fmt.Println(err)
		return 3
	}
	registry := jobs.NewRegistry()
	gate := make(chan struct{})
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[task]) error {
		fmt.Println("run", job.ID)
		<-gate
		return nil
	})
	config := caddis.Config{
		Backend: store, Registry: registry, Logger: slog.New(slog.DiscardHandler), Lease: pausedLease,
		Concurrency: pausedJobs,
	}
	// Two workers, as each takes over what the other one does not renew.
	system, err := caddis.New(config)
	if err != nil {
		fmt.Println(err)
		return 3
	}
	other, err := caddis.New(config)
	if err != nil {
		fmt.Println(err)
		return 3
	}
	for range pausedJobs {
		_, _ = system.Client().Enqueue(context.Background(), task{})
	}
	var once sync.Once
	for _, s := range []*caddis.System{system, other} {
		s.Subscribe(func(c actors.StateChanged) {
			if c.To == actors.StateDraining {
				once.Do(func() { close(gate) })
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = other.Run(context.Background())
	}()
	go func() {
		for range time.Tick(pausedLease / 10) {
			fmt.Println("alive")
		}
	}()
	_, err = system.Run(context.Background())
	<-ended
	if info, err := store.Queue(context.Background(), jobs.DefaultQueue); err == nil {
		fmt.Println("completed", info.Completed, "crashed", info.Crashed)
	}
	if err != nil {
		return 1
	}
	return 0
}

// lesson: a laptop's lid, or a stopped container, must not run the jobs twice that
// never left the process.
func TestAProcessThatWasStoppedForLongerThanALeaseRunsNothingTwice(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "paused")
	runs := map[string]int{}
	alive := 0
	read := func(done func() bool) {
		for !done() {
			require.True(t, p.out.Scan(), "the program ended")
			switch word, id, _ := strings.Cut(p.out.Text(), " "); word {
			case "run":
				runs[id]++
			case "alive":
				alive++
			}
		}
	}
	read(func() bool { return len(runs) == pausedJobs })
	for range 3 {
		p.send(syscall.SIGSTOP)
		time.Sleep(2 * pausedLease) // is what is tested
		p.send(syscall.SIGCONT)
		alive = 0
		read(func() bool { return alive == 15 }) // long enough for a lease to be taken back
	}

	p.send(syscall.SIGTERM)

	rest, code := p.end()
	require.Contains(t, rest, fmt.Sprintf("completed %d crashed 0", pausedJobs))
	require.Zero(t, code)
	for id, n := range runs {
		require.Equal(t, 1, n, "runs of %s", id)
	}
	require.NotContains(t, strings.Join(rest, "\n"), "run ")
}
