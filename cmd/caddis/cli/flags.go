package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
)

// stateNames are the states as they are written.
var stateNames = func() (names []string) {
	for _, s := range backend.States {
		names = append(names, string(s))
	}
	return names
}()

// stateList is a flag that names states.
type stateList []backend.State

func (l *stateList) Type() string { return "state" }

func (l *stateList) String() string {
	var names []string
	for _, s := range *l {
		names = append(names, string(s))
	}
	return strings.Join(names, ",")
}

func (l *stateList) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(stateNames, name) {
			return fmt.Errorf("there is no state %q; %s", name, instead(name, stateNames))
		}
		if s := backend.State(name); !slices.Contains(*l, s) {
			*l = append(*l, s)
		}
	}
	return nil
}

// stateFlag adds --state, for some of the states.
func stateFlag(c *cobra.Command, states *stateList, usage string, of []backend.State) {
	c.Flags().Var(states, "state", usage+": "+joinStates(of))
	list := stateList(of)
	complete(c, "state", strings.Split(list.String(), ",")...)
}

func joinStates(states []backend.State) string {
	list := stateList(states)
	return strings.ReplaceAll(list.String(), ",", ", ")
}

// queueList is a flag that names queues.
type queueList []string

func (l *queueList) Type() string   { return "queue" }
func (l *queueList) String() string { return strings.Join(*l, ",") }

func (l *queueList) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if err := backend.CheckQueue(name); err != nil {
			return err
		}
		if !slices.Contains(*l, name) {
			*l = append(*l, name)
		}
	}
	return nil
}

// queueName is a flag that names a queue.
type queueName string

func (q *queueName) Type() string   { return "queue" }
func (q *queueName) String() string { return string(*q) }

func (q *queueName) Set(name string) error {
	*q = queueName(name)
	return backend.CheckQueue(name)
}

// moment is a flag that tells an instant.
type moment struct{ time.Time }

func (m *moment) Type() string { return "time" }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

func (m *moment) Set(text string) (err error) {
	if m.Time, err = time.Parse(time.RFC3339, text); err != nil {
		return fmt.Errorf("it is no instant; give one such as %s", "2026-03-29T02:30:00+01:00")
	}
	return nil
}

// names makes the arguments of a command one or more names, which what names in an error.
func names(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return wrongUse("%s needs the %s", c.CommandPath(), what)
		}
		return nil
	}
}

// noArgs refuses arguments.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return wrongUse("%s takes no argument, and got %q", c.CommandPath(), args[0])
	}
	return nil
}
