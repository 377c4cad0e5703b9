package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddis-go/caddis/actors"
)

// childEnv makes this program a worker process. It holds a childConfig.
const childEnv = "CADDIS_BENCH_CHILD"

// childConfig is what a worker process is told.
type childConfig struct {
	Peer        string
	Addr        string
	Concurrency int
	Queues      []string
	Lease       time.Duration
	// Hold is how long a job takes; a negative one never ends.
	Hold time.Duration
}

// event is what a worker process writes to its output, one per line.
type event struct {
	// What is ready, started, ended, memory or cpu.
	What string `json:"what"`
	// Job is the number of the job that started or ended.
	Job int       `json:"job"`
	At  time.Time `json:"at"`
	// CPU and Memory (in bytes) are what the process has used.
	CPU    time.Duration `json:"cpu,omitempty"`
	Memory int64         `json:"memory,omitempty"`
}

// What a worker process can be asked for, by a line on its input. Before it tells
// its memory it collects its garbage.
const (
	askMemory = "memory"
	askCPU    = "cpu"
)

func childMain(text string) int {
	if err := childRun(text); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench worker:", err)
		return 1
	}
	return 0
}

// childRun is a worker that runs until TERM.
func childRun(text string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	at := slices.IndexFunc(peers, func(p *peer) bool { return p.name == c.Peer })
	if at < 0 {
		return fmt.Errorf("there is no peer %q", c.Peer)
	}
	s, err := peers[at].open(place{addr: c.Addr, concurrency: c.Concurrency})
	if err != nil {
		return err
	}
	runner, ok := s.(interface {
		run(c workerConfig, ready func()) error
	})
	if !ok {
		return fmt.Errorf("%s is no process", c.Peer)
	}

	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tell := func(e event) {
		e.At = time.Now()
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(e) // the parent is gone, and so are we soon
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			switch lines.Text() {
			case askMemory:
				debug.FreeOSMemory()
				tell(event{What: askMemory, Memory: resident()})
			case askCPU:
				used, _ := cpuTime()
				tell(event{What: askCPU, CPU: used})
			}
		}
	}()
	err = runner.run(workerConfig{
		concurrency: c.Concurrency, queues: c.Queues, lease: c.Lease,
		handle: func(_ context.Context, n int) {
			tell(event{What: "started", Job: n})
			if c.Hold < 0 {
				select {}
			}
			time.Sleep(c.Hold)
			tell(event{What: "ended", Job: n})
		},
	}, func() { tell(event{What: "ready"}) })
	return errors.Join(err, s.close())
}

// run serves until TERM or INT and says when it is ready.
func (s *caddisStore) run(c workerConfig, ready func()) error {
	system, err := s.system(c)
	if err != nil {
		return err
	}
	system.Subscribe(func(change actors.StateChanged) {
		if change.To == actors.StateRunning {
			ready()
		}
	})
	_, err = system.Run(context.Background())
	return err
}
