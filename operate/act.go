package operate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Act is something that is done to jobs.
type Act string

const (
	// ActCancel ends jobs; one that runs is told to end, wherever it runs.
	ActCancel Act = "cancel"
	// ActRetry lets dead or cancelled jobs wait again, with all attempts back.
	ActRetry Act = "retry"
	// ActRun lets scheduled or blocked jobs wait for a worker at once.
	ActRun Act = "run"
	// ActDelete removes jobs that do not run, with their history.
	ActDelete Act = "delete"
)

// Acts lists all acts.
var Acts = []Act{ActCancel, ActRetry, ActRun, ActDelete}

// Do is how an act is done to jobs of one queue, such as [jobs.Client.Retry].
type Do = func(ctx context.Context, queue string, ids ...string) ([]backend.ActResult, error)

// ParseAct reads the name of an act.
func ParseAct(name string) (Act, error) {
	if a := Act(name); slices.Contains(Acts, a) {
		return a, nil
	}
	return "", fmt.Errorf("%w: there is no act %q; there are cancel, retry, run and delete", backend.ErrRejected, name)
}

// States are those of jobs that the act can be done to.
func (a Act) States() []backend.State {
	switch a {
	case ActCancel:
		return []backend.State{backend.StateScheduled, backend.StateWaiting, backend.StateBlocked, backend.StateRunning}
	case ActRetry:
		return []backend.State{backend.StateDead, backend.StateCancelled}
	case ActRun:
		return []backend.State{backend.StateScheduled, backend.StateBlocked}
	case ActDelete:
		return []backend.State{
			backend.StateScheduled, backend.StateWaiting, backend.StateBlocked,
			backend.StateCompleted, backend.StateCancelled, backend.StateDead,
		}
	}
	return nil
}

// Allows reports whether the act can be done to jobs in a state.
func (a Act) Allows(state backend.State) bool { return slices.Contains(a.States(), state) }

// Done says it of jobs to which it was done.
func (a Act) Done() string {
	switch a {
	case ActCancel:
		return "cancelled"
	case ActRetry:
		return "retried"
	case ActRun:
		return "made to run now"
	}
	return "deleted"
}

// With is how a client does the act.
func (a Act) With(client *jobs.Client) Do {
	switch a {
	case ActCancel:
		return client.Cancel
	case ActRetry:
		return client.Retry
	case ActRun:
		return client.RunNow
	}
	return client.Delete
}

// check says why the act cannot be done to jobs in a state.
func (a Act) check(state backend.State) error {
	if a.Allows(state) {
		return nil
	}
	var states []string
	for _, s := range a.States() {
		states = append(states, string(s))
	}
	return fmt.Errorf("%w: %s is not for %s jobs, but for those that are %s", backend.ErrRejected, a, state, strings.Join(states, ", "))
}
