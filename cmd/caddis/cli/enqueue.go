package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// request is what the command enqueue is asked for. What is left zero is not said.
type request struct {
	queue       queueName
	id          string
	in          time.Duration
	at          moment
	priority    int
	maxAttempts int
	timeout     time.Duration
	deadline    moment
	retention   time.Duration
	expireAfter time.Duration
	tags        []string
	headers     []string
	replace     bool
}

func (t *tool) enqueueCommand() *cobra.Command {
	var r request
	c := &cobra.Command{
		Use:   "enqueue KIND [JSON]",
		Short: "Enqueue a job",
		Long: `Enqueue a job. JSON are its args, {} by default; - reads them from the standard input.

A program that knows the kind checks the args against their type and takes queue and
priority from its registry; any other has to be told them, and takes the queue "default".`,
		Example: strings.ReplaceAll(`  {} enqueue welcome '{"user_id": 42}' --queue mail --in 3m
  {} enqueue report - < report.json`, "{}", t.name),
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return wrongUse("%s needs a kind, and then at most one JSON value in quotes; it got %d arguments", c.CommandPath(), len(args))
			}
			return nil
		},
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		options, err := r.options(c)
		if err != nil {
			return err
		}
		data, err := t.readArgs(args[1:])
		if err != nil {
			return err
		}
		job, err := t.args(args[0], data, r.queue != "")
		if err != nil {
			return err
		}
		return t.withStore(true, func(ctx context.Context, s *session, _ []string) error {
			return t.enqueue(ctx, s, job, options)
		})(c, args)
	}
	f := c.Flags()
	f.Var(&r.queue, "queue", `the queue; by default that of the kind, or "default"`)
	f.StringVar(&r.id, "id", "", "the `id`, by which the enqueue can be repeated; by default a new one")
	f.DurationVar(&r.in, "in", 0, "delay it by this time")
	f.Var(&r.at, "at", "make it due at this instant, such as 2026-03-29T02:30:00+01:00")
	f.IntVar(&r.priority, "priority", 0, fmt.Sprintf("from %d to %d", backend.PriorityLowest, backend.PriorityHighest))
	f.IntVar(&r.maxAttempts, "max-attempts", 0, "how often it may fail before it is dead; by default what its kind says")
	f.DurationVar(&r.timeout, "timeout", 0, "how long one attempt may take; by default what its kind says")
	f.Var(&r.deadline, "deadline", "the instant after which it must not run any more")
	f.DurationVar(&r.retention, "retention", 0, "how long it is kept once completed")
	f.DurationVar(&r.expireAfter, "expire-after", 0, "how long it may wait for its first attempt")
	f.StringArrayVar(&r.tags, "tag", nil, "a `tag`, by which it is found; several may be given")
	f.StringArrayVar(&r.headers, "header", nil, "a header for its handler, `key=value`; several may be given")
	f.BoolVar(&r.replace, "replace-finished", false, "take the place of a finished job that holds the id")
	return c
}

// options are those that were given.
func (r *request) options(c *cobra.Command) ([]jobs.EnqueueOption, error) {
	var options []jobs.EnqueueOption
	for _, o := range []struct {
		flag   string
		option func() jobs.EnqueueOption
	}{
		{"queue", func() jobs.EnqueueOption { return jobs.Queue(string(r.queue)) }},
		{"id", func() jobs.EnqueueOption { return jobs.ID(r.id) }},
		{"in", func() jobs.EnqueueOption { return jobs.In(r.in) }},
		{"at", func() jobs.EnqueueOption { return jobs.At(r.at.Time) }},
		{"priority", func() jobs.EnqueueOption { return jobs.Priority(r.priority) }},
		{"max-attempts", func() jobs.EnqueueOption { return jobs.MaxAttempts(r.maxAttempts) }},
		{"timeout", func() jobs.EnqueueOption { return jobs.Timeout(r.timeout) }},
		{"deadline", func() jobs.EnqueueOption { return jobs.Deadline(r.deadline.Time) }},
		{"retention", func() jobs.EnqueueOption { return jobs.Retention(r.retention) }},
		{"expire-after", func() jobs.EnqueueOption { return jobs.ExpireAfter(r.expireAfter) }},
		{"tag", func() jobs.EnqueueOption { return jobs.Tags(r.tags...) }},
		{"replace-finished", func() jobs.EnqueueOption { return jobs.ReplaceFinished() }},
	} {
		if c.Flags().Changed(o.flag) && !(o.flag == "replace-finished" && !r.replace) {
			options = append(options, o.option())
		}
	}
	for _, header := range r.headers {
		key, value, ok := strings.Cut(header, "=")
		if !ok {
			return nil, wrongUse("--header=%s: write it as key=value", header)
		}
		options = append(options, jobs.Header(key, value))
	}
	return options, nil
}

// readArgs reads the JSON of args.
func (t *tool) readArgs(args []string) (json.RawMessage, error) {
	data := []byte("{}")
	if len(args) > 0 {
		data = []byte(args[0])
	}
	if string(data) == "-" {
		var err error
		if data, err = io.ReadAll(io.LimitReader(t.stdin, backend.MaxPayload+1)); err != nil {
			return nil, fmt.Errorf("the args cannot be read from the standard input: %w", err)
		}
	}
	if len(data) > backend.MaxPayload {
		return nil, wrongUse("the args have more than %d bytes; store large data elsewhere and enqueue where it is", backend.MaxPayload)
	}
	var value json.RawMessage
	err := json.Unmarshal(data, &value)
	var compact bytes.Buffer
	if err == nil {
		err = json.Compact(&compact, value)
	}
	if err != nil {
		return nil, wrongUse("the args are no JSON%s: %w; write them like '{\"user_id\": 42}'", place(err), err)
	}
	return compact.Bytes(), nil
}

// place says where JSON ends to be some.
func place(err error) string {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return ""
	}
	return fmt.Sprintf(", at byte %d", syntax.Offset)
}

// args makes the args of a kind, of their type if the registry knows it. anywhere says
// that a queue is named, so that kinds may be enqueued which it does not know.
func (t *tool) args(kind string, data json.RawMessage, anywhere bool) (jobs.Args, error) {
	if err := asUsage(backend.CheckKind(kind)); err != nil {
		return nil, err
	}
	args, known := t.registry.NewArgs(kind)
	kinds := t.registry.Kinds()
	switch {
	case !known && len(kinds) > 0 && !anywhere:
		return nil, wrongUse("this program does not know the kind %q; %s; with --queue it is enqueued all the same", kind, instead(kind, kinds))
	case !known:
		return raw{kind, data}, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(args); err != nil {
		return nil, wrongUse("the args do not fit the kind %q: %s", kind, strings.TrimPrefix(err.Error(), "json: "))
	}
	return args, nil
}

// raw is the args of a kind whose type is not known here.
type raw struct {
	kind string
	data json.RawMessage
}

func (r raw) Kind() string                 { return r.kind }
func (r raw) MarshalJSON() ([]byte, error) { return r.data, nil }

// enqueue stores a job and tells where it is.
func (t *tool) enqueue(ctx context.Context, s *session, job jobs.Args, options []jobs.EnqueueOption) error {
	receipt, err := s.client.Enqueue(ctx, job, options...)
	if err != nil {
		return rejectedUse(err)
	}
	switch {
	case receipt.Existing:
		t.say("nothing was stored: the queue holds a job of this id already")
	default:
		t.noteUnserved(ctx, s, receipt.Queue, job.Kind())
	}
	return t.printReceipt(receipt)
}

// rejectedUse makes wrong use of an error that says what was wrong with a job.
func rejectedUse(err error) error {
	if errors.Is(err, backend.ErrRejected) {
		return &usageError{err}
	}
	return err
}

// noteUnserved says so if no worker would run a job at the moment.
func (t *tool) noteUnserved(ctx context.Context, s *session, queue, kind string) {
	workers, err := s.client.Workers(ctx)
	if err != nil {
		return // it is only a note
	}
	var kinds []string
	taken := false
	for _, w := range workers {
		if slices.Contains(w.Queues, queue) {
			taken = true
			kinds = append(kinds, w.Kinds...)
		}
	}
	switch {
	case !taken:
		t.say("note: no worker takes from the queue %q at the moment", queue)
	case !slices.Contains(kinds, kind):
		slices.Sort(kinds)
		t.say("note: no worker of the queue %q knows the kind %q at the moment; %s", queue, kind, instead(kind, slices.Compact(kinds)))
	}
}
