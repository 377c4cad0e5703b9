package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// A Gate closes queues on one worker for as long as a check says so: because of
// maintenance, a full disk, load, a service that is away. The worker then takes no jobs
// from these queues; other workers do, and what it runs goes on.
//
// The check is made in the background, never on the way of a job. Until it has answered
// once the gate is closed. One that panics, or does not answer within TTL, closes it,
// is logged once until it answers again, and shows in Status.Gates and the Report.
type Gate struct {
	// Name is what the log and the status call it: unique, not empty.
	Name string
	// Check returns nil if the gate is open, and an error that says why it is closed. It
	// is called by one goroutine at a time. Its ctx ends after TTL, or with the worker.
	Check func(ctx context.Context) error
	// Queues are those that it closes: names or patterns, like Config.Queues; by default
	// all of the worker.
	Queues []string
	// Every is the time between two checks; 5 s by default, 10 ms at least.
	Every time.Duration
	// TTL is for how long an answer holds; three times Every by default, and not less
	// than Every. Where no other one has come by then the gate is closed.
	TTL time.Duration
}

// Defaults of a Gate.
const (
	DefaultGateEvery = 5 * time.Second
	minGateEvery     = 10 * time.Millisecond
)

// GateStatus says how a gate is.
type GateStatus struct {
	Name string `json:"name"`
	Open bool   `json:"open"`
	// Reason is why it is closed; empty if it is open.
	Reason string `json:"reason,omitempty"`
	// Since is when it was opened or closed.
	Since time.Time `json:"since"`
	// Queues are the worker's queues that it is about, as names and patterns.
	Queues []string `json:"queues"`
	// Faults counts the checks that panicked or did not answer in time.
	Faults int `json:"faults,omitempty"`
}

func (g Gate) fill() Gate {
	g.Every = cmp.Or(g.Every, DefaultGateEvery)
	g.TTL = cmp.Or(g.TTL, 3*g.Every)
	if len(g.Queues) == 0 {
		g.Queues = []string{"*"}
	}
	return g
}

// check says what is wrong with a gate of a worker of some queues.
func (g Gate) check(queues patterns) (wrong []error) {
	reject := func(format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("gate %q: "+format, append([]any{g.Name}, args...)...))
	}
	if g.Name == "" {
		reject("it has no name")
	}
	if g.Check == nil {
		reject("Check is missing")
	}
	if g.Every < minGateEvery {
		reject("Every is %v: give at least %v, or 0 for %v", g.Every, minGateEvery, DefaultGateEvery)
	}
	if g.TTL < g.Every {
		reject("TTL is %v: it cannot be less than Every, %v", g.TTL, g.Every)
	}
	if err := patterns(g.Queues).check(); err != nil {
		reject("Queues: %w", err)
	}
	for _, entry := range g.Queues {
		if backend.CheckQueue(entry) != nil { // a pattern
			continue
		}
		if _, taken := queues.rank(entry); !taken {
			reject("it closes %q, which is not among the worker's queues, %q", entry, []string(queues))
		}
	}
	return wrong
}

func checkGates(gates []Gate, queues patterns) error {
	var wrong []error
	names := map[string]bool{}
	for _, g := range gates {
		wrong = append(wrong, g.check(queues)...)
		if names[g.Name] {
			wrong = append(wrong, fmt.Errorf("gate %q is there twice", g.Name))
		}
		names[g.Name] = true
	}
	return errors.Join(wrong...)
}
