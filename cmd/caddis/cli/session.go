package cli

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// session is an open store.
type session struct {
	// url is the store's, as it may be shown.
	url    string
	store  backend.Backend
	client *jobs.Client
	// command and args are what it was opened for.
	command *cobra.Command
	args    []string
	// did is what the audit log says of an act that was done; empty for just that.
	did string
}

// open opens the store that the flags, the environment or the config name. create
// says that a file which is not there is to be made.
func (t *tool) open(create bool) (*session, error) {
	url := cmp.Or(t.storeURL, t.getenv(StoreVariable), t.config.Store)
	if url == "" {
		return nil, wrongUse("no store is named; give --store URL or set %s, for example to redis://localhost:6379 or sqlite:jobs.db", StoreVariable)
	}
	if err := checkStore(url, create); err != nil {
		return nil, err
	}
	store, err := backend.Open(url)
	if err != nil {
		return nil, &usageError{err}
	}
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: t.registry})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &session{url: shown(url), store: store, client: client}, nil
}

// with makes a command of what is done with an open store. The first INT, TERM or HUP ends the
// context, with an interrupted as its cause; a second one ends the process.
func (t *tool) with(do func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return t.withStore(false, do)
}

// withStore is with; create says that a file which is not there is to be made.
func (t *tool) withStore(create bool, do func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, err := t.open(create)
		if err != nil {
			return err
		}
		s.command, s.args = c, args
		ctx, stop := untilSignal(c.Context())
		defer stop()
		done := make(chan error, 1)
		go func() {
			err := do(ctx, s, args)
			t.note(ctx, s, c, args, err)
			done <- errors.Join(err, s.store.Close())
		}()
		select {
		case err = <-done:
		case <-ctx.Done():
			// It says how far it came, unless its store does not let go.
			select {
			case err = <-done:
			case <-time.After(patienceWith(c)):
				err = context.Cause(ctx)
			}
		}
		var cause interrupted
		if err != nil && errors.As(context.Cause(ctx), &cause) {
			return cause // the store's error is only that it was called off
		}
		return err
	}
}

// patience is how long a command that was called off is waited for.
const patience = 500 * time.Millisecond

// patienceWith is patience, and for one that acts the time that its note may take.
func patienceWith(c *cobra.Command) time.Duration {
	if _, acts := noted[commandName(c)]; acts {
		return patience + noteTime
	}
	return patience
}

// untilSignal is a context that ends when INT or TERM comes, or HUP as the terminal is closed,
// unless the process was started to ignore that, as by nohup.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		select {
		case sig := <-signals:
			signal.Stop(signals)
			cancel(interrupted{sig})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
