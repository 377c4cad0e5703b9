package jobs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddis-go/caddis/backend"
)

// Registry knows the kinds, their options and handlers, the codecs and the
// middleware. It is safe for concurrent use.
type Registry struct {
	codecs   map[string]Codec
	encoding Codec // of new jobs
	enqueue  []EnqueueMiddleware
	run      []RunMiddleware
	execute  RunFunc // the middleware around the handler of any kind

	mu     sync.Mutex                       // taken to change kinds
	kinds  atomic.Pointer[map[string]*kind] // never changed in place
	frozen atomic.Bool

	schedules []declaration
}

// kind is what a registry knows of one kind.
type kind struct {
	name    string
	options kindOptions
	// newArgs makes an empty value of the args.
	newArgs func() Args
	// begin makes an empty run; nil if there is no handler.
	begin func() *Run
	// handle calls the handler with the *Job[A] of a run.
	handle func(ctx context.Context, job any) error
}

func (k *kind) queue() string { return cmp.Or(k.options.job.Queue, DefaultQueue) }

// RegistryOption is for [NewRegistry].
type RegistryOption func(*Registry)

// WithCodec makes a codec known, and new jobs of this registry use it; if it is
// given several times, the last one. JSON is always known, and is what new jobs
// use otherwise. A codec of the same name replaces the one before.
func WithCodec(codec Codec) RegistryOption {
	return func(r *Registry) {
		if codec == nil || codec.Name() == "" || len(codec.Name()) > backend.MaxNameLength {
			panic(fmt.Sprintf("jobs: WithCodec needs a codec with a name of 1 to %d bytes", backend.MaxNameLength))
		}
		r.codecs[codec.Name()] = codec
		r.encoding = codec
	}
}

// WithEnqueueMiddleware adds middleware around each enqueue of the clients of
// this registry. The first one added is the outermost.
func WithEnqueueMiddleware(chain ...EnqueueMiddleware) RegistryOption {
	return func(r *Registry) {
		for _, m := range chain {
			if m == nil {
				panic("jobs: WithEnqueueMiddleware got a nil middleware")
			}
		}
		r.enqueue = append(r.enqueue, chain...)
	}
}

// WithRunMiddleware adds middleware around each run of a handler. The first one
// added is the outermost.
func WithRunMiddleware(chain ...RunMiddleware) RegistryOption {
	return func(r *Registry) {
		for _, m := range chain {
			if m == nil {
				panic("jobs: WithRunMiddleware got a nil middleware")
			}
		}
		r.run = append(r.run, chain...)
	}
}

// NewRegistry makes an empty registry. It panics on nil middleware and on a
// codec without a name.
func NewRegistry(options ...RegistryOption) *Registry {
	r := &Registry{codecs: map[string]Codec{jsonName: JSON}, encoding: JSON}
	r.kinds.Store(&map[string]*kind{})
	for _, o := range options {
		o(r)
	}
	r.execute = chainRun(r.run, func(ctx context.Context, job *Info) error {
		if job == nil || job.run == nil || job.run.kind == nil {
			return errForeignInfo
		}
		return job.run.handle(ctx)
	})
	return r
}

// Handle ties the kind of A to its handler. Like http.ServeMux it panics, with a
// message that says what would be right, on mistakes in the program: a kind that
// is registered twice or has no valid name, an impossible option, a nil handler,
// a registry that is in use by a started system.
//
// The handler is called concurrently. It ends the attempt by returning: nil
// completes the job, an error fails the attempt, and [Snooze], [Cancel],
// [Discard] and [RetryIn] say something else. It should return soon after its
// context ends, and should not start goroutines that outlive it.
func Handle[A Args](r *Registry, handler func(context.Context, *Job[A]) error, options ...KindOption) {
	name, element := kindOf[A]()
	if handler == nil {
		panic(fmt.Sprintf("jobs: Handle of kind %q: the handler is nil; use Declare for a kind that is only enqueued", name))
	}
	r.add("Handle", &kind{
		name:    name,
		newArgs: argsMaker[A](element),
		begin:   func() *Run { return newRun[A](element) },
		handle:  func(ctx context.Context, job any) error { return handler(ctx, job.(*Job[A])) },
	}, options)
}

// Declare makes the options of a kind known to a program that enqueues it and
// has no handler: its queue and priority. It panics like [Handle].
func Declare[A Args](r *Registry, options ...KindOption) {
	name, element := kindOf[A]()
	r.add("Declare", &kind{name: name, newArgs: argsMaker[A](element)}, options)
}

func (r *Registry) add(op string, k *kind, options []KindOption) {
	for i, o := range options {
		if o == nil {
			panic(fmt.Sprintf("jobs: %s of kind %q: option %d is nil", op, k.name, i+1))
		}
		if err := o.applyToKind(&k.options); err != nil {
			panic(fmt.Sprintf("jobs: %s of kind %q: %v", op, k.name, err))
		}
	}
	if err := taggingOf(reflect.TypeOf(k.newArgs())).err; err != nil {
		panic(fmt.Sprintf("jobs: %s of kind %q: %v", op, k.name, err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen.Load() {
		panic(fmt.Sprintf("jobs: %s of kind %q: the registry is in use by a started system; register all kinds before the start", op, k.name))
	}
	old := *r.kinds.Load()
	if _, taken := old[k.name]; taken {
		panic(fmt.Sprintf("jobs: %s of kind %q: the kind is registered already; each kind has one handler", op, k.name))
	}
	kinds := maps.Clone(old)
	kinds[k.name] = k
	r.kinds.Store(&kinds)
}

// Freeze ends the registration: Handle and Declare panic from now on. A system
// freezes its registry when it starts.
func (r *Registry) Freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen.Store(true)
}

// Kinds returns the kinds that have a handler, sorted.
func (r *Registry) Kinds() []string {
	var names []string
	for name, k := range *r.kinds.Load() {
		if k.begin != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Handles reports whether the kind has a handler.
func (r *Registry) Handles(kind string) bool {
	k := r.kind(kind)
	return k != nil && k.begin != nil
}

// Queues returns the queues that the jobs of the kinds with a handler go to unless
// they say otherwise, and for each queue the kinds, sorted.
func (r *Registry) Queues() map[string][]string {
	queues := map[string][]string{}
	for _, name := range r.Kinds() {
		q := r.kind(name).queue()
		queues[q] = append(queues[q], name)
	}
	return queues
}

// empty reports whether no kind is registered.
func (r *Registry) empty() bool { return len(*r.kinds.Load()) == 0 }

// kind returns nil for one that is not registered.
func (r *Registry) kind(name string) *kind { return (*r.kinds.Load())[name] }

// codec returns nil for one that is not known.
func (r *Registry) codec(name string) Codec {
	if name == "" {
		name = jsonName
	}
	return r.codecs[name]
}

// kindOf returns the kind of A and, if A is a pointer, what it points to.
func kindOf[A Args]() (name string, element reflect.Type) {
	t := reflect.TypeFor[A]()
	var args A
	switch t.Kind() {
	case reflect.Interface:
		panic(fmt.Sprintf("jobs: %v is an interface; give the concrete type of the args", t))
	case reflect.Pointer:
		element = t.Elem()
		args = reflect.New(element).Interface().(A)
	}
	name, err := callKind(args)
	if err != nil {
		panic(fmt.Sprintf("jobs: the Kind method of the zero %v: %v; it must be the same for all values of the type", t, err))
	}
	if err := backend.CheckKind(name); err != nil {
		panic(fmt.Sprintf("jobs: the Kind method of %v: %v", t, err))
	}
	return name, element
}

// callKind survives a Kind method that panics.
func callKind(args Args) (name string, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &Panic{Value: value}
		}
	}()
	return args.Kind(), nil
}
