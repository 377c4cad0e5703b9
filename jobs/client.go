package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Receipt says what an enqueue did with one job.
type Receipt = backend.Receipt

// Client enqueues jobs, reads them and acts on them. It holds nothing that would
// have to be closed, and is safe for concurrent use.
type Client struct {
	backend  backend.Backend
	registry *Registry
	enqueue  EnqueueFunc
	events   *Events // nil without a hook
	// plain is set if no middleware could enqueue a job twice, or change its id.
	plain bool
}

// ClientConfig configures a [Client].
type ClientConfig struct {
	// Registry tells queue and priority of each kind, the codec of new jobs and
	// the middleware around enqueues. Of a registry that knows any kinds, all that
	// are enqueued have to be known, by [Handle] or [Declare], unless the job says its
	// [Queue]. nil is an empty one: jobs go to [DefaultQueue] unless they say
	// otherwise, encoded as JSON.
	Registry *Registry
	// OnEvent is told of each job that this client enqueues: EventEnqueued and
	// EventScheduled; nil by default. It is called by one goroutine at a time, in order,
	// and no enqueue waits for it: what it is too slow for is dropped, beyond
	// [MaxEvents]. A panic is logged. Of enqueues in a transaction, which may be rolled
	// back, it is not told. The client of a caddis.System takes the hook of its Config.
	OnEvent func(Event)
	// Events, if it is not nil, is told in place of OnEvent.
	Events *Events
}

// NewClient makes a client of a backend. It does no I/O.
func NewClient(b backend.Backend, config ClientConfig) (*Client, error) {
	if b == nil {
		return nil, errors.New("jobs: NewClient: the backend is nil; open one, such as memory.New or redis.New")
	}
	r := config.Registry
	if r == nil {
		r = NewRegistry()
	}
	events := config.Events
	if events == nil {
		events = NewEvents(config.OnEvent)
	}
	return &Client{
		events:  events,
		backend: b, registry: r, plain: len(r.enqueue) == 0, enqueue: chainEnqueue(r.enqueue, b.Enqueue),
	}, nil
}

// Item is one job for [Client.EnqueueMany].
type Item struct {
	args    Args
	options []EnqueueOption
}

// New makes an item of [Client.EnqueueMany]; it is checked there.
func New(args Args, options ...EnqueueOption) Item { return Item{args: args, options: options} }

// String shows none of the job's data.
func (i Item) String() string { return fmt.Sprintf("job with args of type %T", i.args) }

// Enqueue stores one job. The error of wrong input wraps
// [backend.ErrRejected] or [ErrPayload]: nothing was stored. After an
// [backend.ErrUnavailable] the job may or may not have been stored; to enqueue
// it again with the receipt's id, by the option [ID], tells, and stores it once
// as long as the store remembers it: see [Retention]. An error that wraps
// [ErrFinished] says that the job's id is held by one that is dead or cancelled.
func (c *Client) Enqueue(ctx context.Context, args Args, options ...EnqueueOption) (Receipt, error) {
	batch := make([]backend.NewJob, 1)
	job := &batch[0]
	if err := c.build(job, args, options, time.Now()); err != nil {
		err = &Error{Op: "enqueue", Kind: job.Kind, Err: err}
		return Receipt{Queue: job.Queue, ID: job.ID, Err: err}, err
	}
	receipts, err := c.store(ctx, batch)
	if err != nil {
		err = &Error{Op: "enqueue", Kind: job.Kind, Err: err}
		receipt := Receipt{Queue: job.Queue, ID: job.ID}
		if len(receipts) == 1 {
			receipt = receipts[0]
		}
		receipt.Err = err
		return receipt, err
	}
	return receipts[0], nil
}

// EnqueueMany stores up to [backend.MaxBatch] jobs in one call and returns one
// receipt per item, in order. If any item is wrong, nothing is stored and there
// are no receipts. The jobs of one queue are stored together or not at all, but for
// those whose ids are held; if some queues took theirs and others did not, or an id is
// held by a job that is dead or cancelled ([ErrFinished]), the receipts of those that
// are not stored have Err set, and there is an error as well.
func (c *Client) EnqueueMany(ctx context.Context, items ...Item) ([]Receipt, error) {
	if len(items) == 0 {
		return nil, nil
	}
	if len(items) > backend.MaxBatch {
		return nil, &Error{Op: "enqueue", Err: reject("%d jobs in one call, %d are allowed; split them, for example by slices.Chunk", len(items), backend.MaxBatch)}
	}
	batch := make([]backend.NewJob, len(items))
	now, size := time.Now(), 0
	for i, item := range items {
		if err := c.build(&batch[i], item.args, item.options, now); err != nil {
			return nil, &Error{Op: "enqueue", Kind: batch[i].Kind, Err: fmt.Errorf("item %d of %d: %w", i+1, len(items), err)}
		}
		size += len(batch[i].Payload)
	}
	if size > backend.MaxBatchBytes {
		return nil, &Error{Op: "enqueue", Err: reject("payloads of %d bytes in one call, %d are allowed; split them", size, backend.MaxBatchBytes)}
	}
	receipts, err := c.store(ctx, batch)
	if err != nil {
		err = &Error{Op: "enqueue", Err: err}
	}
	return receipts, err
}

// Build makes the job that [Client.Enqueue] would hand to the middleware, and stores
// nothing. The errors are those of Enqueue.
func (c *Client) Build(args Args, options ...EnqueueOption) (backend.NewJob, error) {
	var job backend.NewJob
	if err := c.build(&job, args, options, time.Now()); err != nil {
		return job, &Error{Op: "build", Kind: job.Kind, Err: err}
	}
	return job, nil
}

// build fills a job from its args and options. Of a job that is refused it
// leaves what is known.
func (c *Client) build(job *backend.NewJob, args Args, options []EnqueueOption, now time.Time) error {
	if args == nil {
		return reject("the args are nil; give a value of a type with a Kind method")
	}
	if v := reflect.ValueOf(args); v.Kind() == reflect.Pointer && v.IsNil() {
		return reject("the args are a nil %T; give a value", args)
	}
	name, err := callKind(args)
	if err != nil {
		return reject("the Kind method of %T: %w", args, err)
	}
	k := c.registry.kind(name)
	if k != nil { // its name was checked when it was declared
		job.Queue, job.Priority = k.queue(), k.options.job.Priority
	} else if err := backend.CheckKind(name); err != nil {
		return fmt.Errorf("the Kind method of %T: %w", args, err)
	}
	job.Kind = name
	for i, o := range options {
		if o == nil {
			return reject("option %d is nil", i+1)
		}
		if err := o.applyToJob(job); err != nil {
			return err
		}
	}
	if job.Queue == "" {
		if !c.registry.empty() {
			return reject("%w %q, so that it is not known which queue its worker takes from; declare it by jobs.Declare, or name the queue by jobs.Queue", ErrUndeclared, name)
		}
		job.Queue = DefaultQueue
	}
	unique := k.uniqueness(options)
	if unique != nil {
		digest, err := unique.digest(&job.Job, args)
		if err != nil {
			return err
		}
		job.Unique = unique.Unique
		job.Unique.Key = keyAt(digest, unique.period, now)
	}
	if job.Limits, err = c.limits(k, options, args); err != nil {
		return err
	}
	if job.Lane, err = laneOf(k, options, args); err != nil {
		return err
	}
	if job.ID == "" {
		job.ID = newID(now)
		job.Fresh = c.plain
		switch {
		case unique != nil:
			job.ID = backend.KeyedID(job.ID, job.Unique.Key)
		case len(job.Limits) > 0 && job.Limits[0].Key != "":
			job.ID = backend.KeyedID(job.ID, backend.LimitKey(job.Limits[0].Key))
		}
	}
	codec := c.registry.encoding
	if job.Payload, err = encode(codec, "payload", name, args); err != nil {
		return err
	}
	if codec.Name() != jsonName {
		job.Codec = codec.Name()
	}
	return checkWhole(job, now)
}

// store answers one receipt per job whenever it answers any, and an error if a
// job was not stored.
func (c *Client) store(ctx context.Context, batch []backend.NewJob) ([]Receipt, error) {
	want := len(batch)
	receipts, err := c.enqueue(ctx, batch)
	if len(receipts) == want {
		c.tell(batch, receipts)
		if err != nil {
			return receipts, err
		}
		var failures []error
		for i := range receipts {
			refuseFinished(&receipts[i])
			if receipts[i].Err != nil {
				failures = append(failures, receipts[i].Err)
			}
		}
		return receipts, joinFailures(failures, want)
	}
	if err == nil {
		return nil, fmt.Errorf("%d receipts came back for %d jobs; middleware must hand on all jobs or return an error", len(receipts), want)
	}
	receipts = make([]Receipt, len(batch))
	for i := range batch {
		receipts[i] = Receipt{Queue: batch[i].Queue, ID: batch[i].ID, Err: err}
	}
	return receipts, err
}

// tell tells of the jobs that are stored now.
func (c *Client) tell(batch []backend.NewJob, receipts []Receipt) {
	if c.events == nil {
		return
	}
	if told := c.events.stored.Load(); told != nil {
		(*told)(batch, receipts)
	}
	if !c.events.Hooked() {
		return
	}
	events, now := make([]Event, 0, len(batch)), time.Now()
	for i := range receipts {
		if job, stored := Stored(&batch[i], &receipts[i]); stored {
			events = append(events, Enqueued(&job, receipts[i].State, now))
		}
	}
	c.events.Tell(events...)
}

// Stored is the job that an enqueue has stored, as its receipt tells; false if it has
// stored none.
func Stored(job *backend.NewJob, r *Receipt) (backend.Job, bool) {
	if r.Err != nil || r.Existing || r.State == "" || r.Duplicate() && !r.Replaced {
		return backend.Job{}, false
	}
	stored := job.Job
	stored.ID, stored.Queue = cmp.Or(r.Holder, r.ID), r.Queue
	return stored, true
}

// refuseFinished makes an error of a receipt for a job that will never run.
func refuseFinished(r *Receipt) {
	if r.Existing && r.Err == nil && (r.State == backend.StateDead || r.State == backend.StateCancelled) {
		r.Err = &backend.Error{Op: "enqueue", Queue: r.Queue, ID: r.ID, Err: fmt.Errorf(
			"%w: it is %s; give jobs.ReplaceFinished to have the new one take its place, or retry that one", ErrFinished, r.State)}
	}
}

// partialError stands for the failures of a part of a batch. Its text stays
// short however many there are.
type partialError struct {
	failures []error
	total    int
}

func (e *partialError) Error() string {
	if e.total == 1 {
		return e.failures[0].Error()
	}
	return fmt.Sprintf("%d of %d jobs failed, the first with: %v", len(e.failures), e.total, e.failures[0])
}

func (e *partialError) Unwrap() []error { return e.failures }

func joinFailures(failures []error, total int) error {
	if len(failures) == 0 {
		return nil
	}
	return &partialError{failures: failures, total: total}
}
