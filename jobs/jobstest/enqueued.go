package jobstest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Record is one enqueue that was stored.
type Record[A jobs.Args] struct {
	// Args came through the codec.
	Args A
	// NewJob has queue, id, delay and all else that was said of the job.
	backend.NewJob
}

// Enqueued returns what was enqueued of the kind of A so far, in order, whatever has
// become of it since. An enqueue whose id the queue held already stored nothing, and is
// not among them.
func Enqueued[A jobs.Args](s *Store) []Record[A] {
	s.t.Helper()
	var zero A
	if t := reflect.TypeFor[A](); t.Kind() == reflect.Pointer {
		zero = reflect.New(t.Elem()).Interface().(A)
	}
	var records []Record[A]
	for _, job := range s.kind(zero.Kind()) {
		args, err := jobs.ArgsOf[A](s.stored(job))
		if err != nil {
			s.t.Fatalf("jobstest: Enqueued: %v", err)
			return nil
		}
		records = append(records, Record[A]{Args: args, NewJob: job})
	}
	return records
}

// RequireEnqueued fails the test unless a job was enqueued, since the store was made,
// as client.Enqueue(ctx, args, options...) would have: with these args, in the queue
// and with the priority of their kind unless options say otherwise, and with all else
// that the options say; what they do not say may be as it likes. Tags and headers may
// be more than those given. It returns the first such job.
func (s *Store) RequireEnqueued(t TB, args jobs.Args, options ...jobs.EnqueueOption) backend.NewJob {
	t.Helper()
	found, want, faults := s.find(t, args, options)
	if len(found) > 0 {
		return found[0]
	}
	if want.Kind == "" {
		return backend.NewJob{}
	}
	text := fmt.Sprintf("jobstest: no job was enqueued as\n    %s", s.describe(want, said(want)))
	if len(faults) == 0 {
		text += fmt.Sprintf("\nNone of kind %q was enqueued, ", want.Kind) + s.others()
	} else {
		text += fmt.Sprintf("\nOf kind %q there were:\n    %s", want.Kind, strings.Join(faults, "\n    "))
	}
	t.Fatalf("%s", text)
	return backend.NewJob{}
}

// RequireNotEnqueued is the opposite of [Store.RequireEnqueued].
func (s *Store) RequireNotEnqueued(t TB, args jobs.Args, options ...jobs.EnqueueOption) {
	t.Helper()
	found, _, _ := s.find(t, args, options)
	if len(found) > 0 {
		t.Fatalf("jobstest: %d of these were enqueued, and none should have been:\n    %s", len(found), s.describe(found[0], said(found[0])))
	}
}

// find returns the jobs that are as they should be and, of the others of this kind,
// what is wrong with them.
func (s *Store) find(t TB, args jobs.Args, options []jobs.EnqueueOption) (found []backend.NewJob, want backend.NewJob, faults []string) {
	t.Helper()
	want, err := s.client.Build(args, options...)
	if err != nil {
		t.Fatalf("jobstest: what is expected cannot be enqueued: %v", err)
		return nil, backend.NewJob{}, nil
	}
	// An id that nobody said is another one each time.
	if again, err := s.client.Build(args, options...); err == nil {
		want.Fresh = again.ID != want.ID
	}
	wantArgs, err := decode(s.stored(want), args)
	if err != nil {
		t.Fatalf("jobstest: what is expected does not come through its codec: %v", err)
		return nil, backend.NewJob{}, nil
	}
	for i, job := range s.kind(want.Kind) {
		var wrong []string
		got, err := decode(s.stored(job), args)
		switch {
		case err != nil:
			wrong = append(wrong, err.Error())
		case !reflect.DeepEqual(got, wantArgs):
			wrong = append(wrong, "other args")
		}
		wrong = append(wrong, differences(&job, &want)...)
		if len(wrong) == 0 {
			found = append(found, job)
			continue
		}
		faults = append(faults, fmt.Sprintf("%d. %s\n       %s", i+1, s.describe(job, said(job)), strings.Join(wrong, "; ")))
	}
	return found, want, faults
}

// kind returns what was enqueued of a kind.
func (s *Store) kind(name string) []backend.NewJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.enqueued), func(job backend.NewJob) bool { return job.Kind != name })
}

// others tells what was enqueued instead.
func (s *Store) others() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for _, job := range s.enqueued {
		counts[job.Kind]++
	}
	if len(counts) == 0 {
		return "nor of any other."
	}
	return fmt.Sprintf("but of others: %v.", counts)
}

func (s *Store) stored(job backend.NewJob) jobs.JobInfo {
	return s.info(backend.JobInfo{Job: job.Job, State: backend.StateWaiting})
}

// decode makes a value of the type of like.
func decode(job jobs.JobInfo, like jobs.Args) (any, error) {
	v := reflect.New(reflect.TypeOf(like))
	err := job.DecodeArgs(v.Interface())
	return v.Elem().Interface(), err
}

// describe shows a job with what was said of it.
func (s *Store) describe(job backend.NewJob, said []string) string {
	return strings.Join(append([]string{job.Kind + " " + argsText(s.stored(job)), fmt.Sprintf("Queue(%q)", job.Queue)}, said...), ", ")
}

// argsText shows args as JSON, whatever their codec.
func argsText(job jobs.JobInfo) string {
	var v any
	if err := job.DecodeArgs(&v); err != nil {
		return fmt.Sprintf("of %d bytes", len(job.Payload))
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%v", v)
	}
	return string(text)
}

// options are the fields of a job that options set, and do not say when they are zero.
// Queue and priority are not among them: every job has them.
var options = func() (names []string) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[backend.NewJob]()) {
		switch field.Name {
		case "Job", "Queue", "Priority", "Kind", "Payload", "Codec", "Fresh", "EnqueuedAt", "DueAt":
		default:
			names = append(names, field.Name)
		}
	}
	return names
}()

// optionNames are the options whose name is not that of the field.
var optionNames = map[string]string{"Delay": "In", "Headers": "Header"}

func optionName(field string) string {
	if name, ok := optionNames[field]; ok {
		return name
	}
	return field
}

// said lists the options of a job.
func said(job backend.NewJob) (texts []string) {
	if job.Priority != 0 {
		texts = append(texts, fmt.Sprintf("Priority(%d)", job.Priority))
	}
	v := reflect.ValueOf(job)
	for _, name := range options {
		if f := v.FieldByName(name); !f.IsZero() && !(name == "ID" && job.Fresh) {
			texts = append(texts, fmt.Sprintf("%s(%v)", optionName(name), f))
		}
	}
	return texts
}

// differences tells what of a job is not as it should be.
func differences(job, want *backend.NewJob) (wrong []string) {
	fault := func(name string, got, want any) {
		wrong = append(wrong, fmt.Sprintf("%s is %v and not %v", name, got, want))
	}
	if job.Queue != want.Queue {
		fault("Queue", job.Queue, want.Queue)
	}
	if job.Priority != want.Priority {
		fault("Priority", job.Priority, want.Priority)
	}
	got, expected := reflect.ValueOf(*job), reflect.ValueOf(*want)
	for _, name := range options {
		g, w := got.FieldByName(name), expected.FieldByName(name)
		if w.IsZero() || name == "ID" && want.Fresh || holds(g.Interface(), w.Interface()) {
			continue
		}
		fault(optionName(name), g, w)
	}
	return wrong
}

// holds reports whether got is what is wanted, or has it among others.
func holds(got, want any) bool {
	switch want := want.(type) {
	case time.Time:
		return want.Equal(got.(time.Time))
	case []string:
		for _, tag := range want {
			if !slices.Contains(got.([]string), tag) {
				return false
			}
		}
		return true
	case map[string]string:
		for key, value := range want {
			if has, ok := got.(map[string]string)[key]; !ok || has != value {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(got, want)
}
