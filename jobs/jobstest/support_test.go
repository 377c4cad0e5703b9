package jobstest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

type Welcome struct {
	User string    `json:"user"`
	Tags []string  `json:"tags"`
	At   time.Time `json:"at,omitzero"`
}

func (Welcome) Kind() string { return "welcome" }

type Reminder struct {
	User string `json:"user"`
}

func (Reminder) Kind() string { return "reminder" }

var errMailer = errors.New("the mailer is down")

// steady waits a minute before each retry.
var steady = jobs.Exponential{Initial: time.Minute, Factor: 1, Jitter: -1}

// handle makes a registry with one handler of Welcome, which may enqueue Reminders.
func handle(handler func(context.Context, *jobs.Job[Welcome]) error, options ...jobs.KindOption) *jobs.Registry {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, handler, options...)
	jobs.Declare[Reminder](registry)
	return registry
}

func fine(context.Context, *jobs.Job[Welcome]) error { return nil }

// failing is a test that is to fail.
type failing struct{ message string }

func (*failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns the message with which a test fails.
func failure(t *testing.T, test func(t jobstest.TB)) string {
	t.Helper()
	f := new(failing)
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	if f.message == "" {
		t.Fatal("the test was to fail, and passed")
	}
	return f.message
}
