package main

import (
	"context"
	"fmt"
	"time"
)

// idle measures a worker process that has nothing to do. The peers are measured
// at the same time, each with a server of its own.
func idle(ctx context.Context, b *bench) error {
	many := 10_000
	if b.concurrency > 0 {
		many = b.concurrency
	}
	settle, window := 2*time.Second, 15*time.Second
	if b.quick {
		many, settle, window = 100, 100*time.Millisecond, 200*time.Millisecond
	}
	for _, c := range []struct{ executors, queues int }{{10, 1}, {many, 1}, {many, 200}} {
		for run := range b.repeat {
			peers := b.among(caddisPeer, asynqPeer, asynqFastPeer)
			ended := make(chan error, len(peers))
			for _, p := range peers {
				go func() { ended <- b.idleOnce(ctx, run, p, c.executors, c.queues, settle, window) }()
			}
			var failed error
			for range peers {
				if err := <-ended; err != nil {
					failed = err
				}
			}
			if failed != nil {
				return failed
			}
		}
	}
	return nil
}

func idleCase(executors, queues int) string {
	return fmt.Sprintf("%s executors, queues: %d", thousands(int64(executors)), queues)
}

func (b *bench) idleOnce(ctx context.Context, run int, p *peer, executors, queues int, settle, window time.Duration) error {
	s, err := startServer(ctx, b.aof)
	if err != nil {
		return err
	}
	defer s.stop()
	names := make([]string, queues)
	for i := range names {
		names[i] = fmt.Sprintf("queue%d", i)
	}
	w, err := startChild(childConfig{Peer: p.name, Addr: s.addr, Concurrency: executors, Queues: names})
	if err != nil {
		return err
	}
	defer w.kill()
	if _, err := w.next(ctx, "ready"); err != nil {
		return err
	}
	pause(settle)
	used, err := w.ask(ctx, askMemory)
	if err != nil {
		return err
	}
	m, err := startMonitor(s.addr)
	if err != nil {
		return err
	}
	before, err := w.ask(ctx, askCPU)
	if err != nil {
		return err
	}
	pause(window)
	commands := m.stop()
	after, err := w.ask(ctx, askCPU)
	if err != nil {
		return err
	}
	elapsed := after.At.Sub(before.At)
	variant := idleCase(executors, queues)
	set := settings{"executors": executors, "queues": queues, "window_s": window.Seconds()}
	b.note(p, run, variant, "commands", rate(int(commands), elapsed), "1/s", set)
	b.note(p, run, variant, "CPU", milliseconds(after.CPU-before.CPU)/elapsed.Seconds(), "ms/s", set)
	b.note(p, run, variant, "memory of the process", float64(used.Memory)/1e6, "MB", set)
	return nil
}
