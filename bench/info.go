package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// topLevel are the commands that clients send and that no script of a peer
// calls. INFO counts a command that a script calls like one that a client sent;
// the time of a script, on the other hand, has that of its commands in it.
var topLevel = []string{
	"evalsha", "eval", "script|load", "blpop", "brpop", "ping", "publish", "subscribe", "psubscribe", "hello", "client|setinfo",
}

// spent is what a server has done.
type spent struct {
	// commands and serverTime are of the commands that clients sent.
	commands   int64
	serverTime time.Duration
	// inside counts all commands, those within scripts too.
	inside int64
	// cpu is that of the server's process.
	cpu time.Duration
	// network is in bytes, both ways.
	network int64
	// memory is what the allocator has given out, in bytes.
	memory int64
}

// info asks the server what it has done since its start.
func (s *server) info(ctx context.Context) (spent, error) {
	var sum spent
	// One section at a time: older servers take no more.
	for _, section := range []string{"commandstats", "cpu", "stats", "memory"} {
		text, err := s.admin.Info(ctx, section).Result()
		if err != nil {
			return sum, err
		}
		for line := range strings.Lines(text) {
			name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
			if !ok {
				continue
			}
			if err := sum.read(name, value); err != nil {
				return sum, fmt.Errorf("INFO %s: %q: %w", section, line, err)
			}
		}
	}
	return sum, nil
}

func (s *spent) read(name, value string) error {
	if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
		var calls, usec int64
		if _, err := fmt.Sscanf(value, "calls=%d,usec=%d", &calls, &usec); err != nil {
			return err
		}
		s.inside += calls
		if slices.Contains(topLevel, command) {
			s.commands += calls
			s.serverTime += time.Duration(usec) * time.Microsecond
		}
		return nil
	}
	switch name {
	case "used_cpu_user", "used_cpu_sys":
		seconds, err := strconv.ParseFloat(value, 64)
		s.cpu += time.Duration(seconds * float64(time.Second))
		return err
	case "total_net_input_bytes", "total_net_output_bytes":
		n, err := strconv.ParseInt(value, 10, 64)
		s.network += n
		return err
	case "used_memory":
		n, err := strconv.ParseInt(value, 10, 64)
		s.memory = n
		return err
	}
	return nil
}

// since is what was done between two readings.
func (s spent) since(before spent) spent {
	return spent{
		commands: s.commands - before.commands, serverTime: s.serverTime - before.serverTime,
		inside: s.inside - before.inside, cpu: s.cpu - before.cpu,
		network: s.network - before.network, memory: s.memory - before.memory,
	}
}

// perJob divides by the number of jobs.
func perJob[T int64 | uint64 | int | time.Duration](n T, jobs int) float64 {
	return float64(n) / float64(jobs)
}

// microseconds of a duration, spread over jobs.
func microseconds(d time.Duration, jobs int) float64 {
	return perJob(d, jobs) / float64(time.Microsecond)
}
