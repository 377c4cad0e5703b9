package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// The exit codes, see the documentation of the package.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitSignal   = 128 // and the number of the signal
)

// usageError is one of how the command was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func wrongUse(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// interrupted is the cause with which a context ends that a signal ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return "interrupted" }

// silent is an error about which everything was said already.
type silent struct{ error }

// fail says what went wrong, if anything did, and answers the exit code.
func (t *tool) fail(command *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	var quiet silent
	if !errors.As(err, &quiet) {
		t.say("%s: %s", t.name, plainText(err))
	}
	code := exitCode(err)
	if code == exitUsage && command != nil {
		t.say("see %s --help", command.CommandPath())
	}
	return code
}

func exitCode(err error) int {
	var usage *usageError
	var stopped interrupted
	switch {
	case errors.As(err, &stopped):
		if number, ok := stopped.signal.(syscall.Signal); ok {
			return exitSignal + int(number)
		}
		return exitFailed
	case errors.As(err, &usage), errors.Is(err, jobs.ErrPayload), errors.Is(err, jobs.ErrUndeclared):
		return exitUsage
	case errors.Is(err, backend.ErrNotFound):
		return exitNotFound
	case errors.Is(err, context.Canceled):
		return exitFailed
	}
	return exitFailed
}

// plainText is the text of an error for people: without the names of packages.
func plainText(err error) string {
	text := err.Error()
	for _, prefix := range []string{"jobs: ", "backend: ", "caddis: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// say writes a line about what is done to the standard error.
func (t *tool) say(format string, args ...any) {
	fmt.Fprintln(t.stderr, clean(fmt.Sprintf(format, args...)))
}

// flagError makes an error of a flag say what would be right.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown):
		var names []string
		c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		name := unknown.GetSpecifiedName()
		hint := "see " + c.CommandPath() + " --help"
		if near := nearest(name, names); near != "" {
			hint = "did you mean --" + near + "?"
		}
		return wrongUse("there is no flag %s for %s; %s", dashed(name), c.CommandPath(), hint)
	case errors.As(err, &missing):
		return wrongUse("the flag %s needs a value", dashed(missing.GetSpecifiedName()))
	case errors.As(err, &invalid):
		flag := invalid.GetFlag()
		return wrongUse("--%s=%s: %s", flag.Name, invalid.GetValue(), reason(flag, invalid.Unwrap()))
	}
	return &usageError{err}
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// reason says what is wrong with the value of a flag.
func reason(flag *pflag.Flag, err error) string {
	switch flag.Value.Type() {
	case "duration":
		return "it is no duration; give one such as 90s, 5m or 2h30m"
	case "int", "int64":
		return "it is no whole number"
	case "bool":
		return "it is neither true nor false"
	}
	return strings.TrimPrefix(err.Error(), backend.ErrRejected.Error()+": ")
}
