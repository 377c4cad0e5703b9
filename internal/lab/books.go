//go:build unix

package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// Books are the books of a test: what was ordered by enqueues, and which faults
// there were. With the journal and what the store holds at the end they account
// for every job. They may be used concurrently.
type Books struct {
	mu     sync.Mutex
	orders map[string]*Order
	faults []Fault
}

// Order is what is known of the enqueue of one job.
type Order struct {
	// Tries counts the calls; First and Last are when those began.
	Tries       int
	First, Last time.Time
	// Accepted is when a receipt came. Without one the order is refused, or it
	// is not known what became of it.
	Accepted time.Time
	Refused  bool
}

// Fault is something that was done to a part of the system, and what it may have
// for consequences by the rules. Nothing else excuses them.
type Fault struct {
	// What names it.
	What string
	// From and To is when it can have had effect.
	From, To time.Time
	// PID is the worker that it concerns; 0 is all.
	PID int
	// Repeats is set if runs that overlap it may be repeated: those that the
	// store did not hear the end of.
	Repeats bool
	// Loses is set if jobs may be lost that were accepted while it had effect.
	Loses bool
}

// NewBooks opens books.
func NewBooks() *Books { return &Books{orders: map[string]*Order{}} }

// Blame notes a fault.
func (b *Books) Blame(f Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, f)
}

// Accepted counts the orders with a receipt.
func (b *Books) Accepted() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range b.orders {
		if !o.Accepted.IsZero() {
			n++
		}
	}
	return n
}

// OrderedAfter reports whether the first enqueue of a job began after an instant.
func (b *Books) OrderedAfter(job string, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.orders[job]
	return o != nil && o.First.After(at)
}

// try notes that an enqueue begins.
func (b *Books) try(ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		o := b.orders[id]
		if o == nil {
			o = &Order{First: time.Now()}
			b.orders[id] = o
		}
		o.Tries++
		o.Last = time.Now()
	}
}

func (b *Books) answer(id string, accepted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.orders[id]; accepted {
		o.Accepted = time.Now()
	} else {
		o.Refused = true
	}
}

// Kept is a job that the store still holds, and why, if it has ended there.
type Kept struct {
	State  backend.State
	Reason string
}

// EnqueuedAgain explains the second run of a job whose producer repeated an
// enqueue that had not been answered, when the job had run and was forgotten.
const EnqueuedAgain = "its enqueue was not answered and was repeated when the job had run and was forgotten"

// Verdict is the account of a test.
type Verdict struct {
	// Ordered = Accepted + Unknown + Refused.
	Ordered, Accepted, Unknown, Refused int
	// Executed counts the jobs that ran to an end; Twice those that did so more
	// than once. Lost counts the accepted ones that did not and are not stored.
	Executed, Twice, Lost int
	// Kept counts what the store holds, by state.
	Kept map[backend.State]int
	// Excuses counts, by fault, the repeated runs and lost jobs that it
	// explains; Notes has a line for each.
	Excuses map[string]int
	Notes   []string
	// Wrong has a line for each job whose fate the rules do not allow.
	Wrong []string
}

// Judge closes the books.
func (b *Books) Judge(ledger Ledger, kept map[string]Kept) Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := Verdict{Kept: map[backend.State]int{}, Excuses: map[string]int{}, Ordered: len(b.orders)}
	for _, k := range kept {
		v.Kept[k.State]++
	}
	for _, id := range slices.Sorted(maps.Keys(b.orders)) {
		v.fate(id, b.orders[id], ledger, kept, b.faults)
	}
	for _, id := range slices.Sorted(maps.Keys(ledger)) {
		if b.orders[id] == nil {
			v.wrong(id, ledger, "ran although nobody ordered it")
		}
	}
	return v
}

func (v *Verdict) wrong(id string, ledger Ledger, format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Sprintf("job %s %s; its journal: %v", id, fmt.Sprintf(format, args...), ledger[id]))
}

func (v *Verdict) excuse(id, what, format string, args ...any) {
	v.Excuses[what]++
	v.Notes = append(v.Notes, fmt.Sprintf("job %s %s: %s", id, fmt.Sprintf(format, args...), what))
}

func (v *Verdict) fate(id string, o *Order, ledger Ledger, kept map[string]Kept, faults []Fault) {
	runs, ends := ledger.Runs(id), ledger.Count(id, "end")
	switch {
	case !o.Accepted.IsZero():
		v.Accepted++
	case o.Refused:
		v.Refused++
		if len(runs) > 0 {
			v.wrong(id, ledger, "ran although its enqueue was refused")
		}
	default:
		v.Unknown++
	}
	if ends > 0 {
		v.Executed++
	}
	if ends > 1 {
		v.Twice++
	}
	k, stored := kept[id]
	switch {
	case stored && !k.State.Final():
		v.wrong(id, ledger, "is still %s", k.State)
	case stored && k.Reason == "" && k.State != backend.StateCompleted:
		v.wrong(id, ledger, "is %s without a reason", k.State)
	case ends == 0 && !stored && !o.Accepted.IsZero():
		v.lost(id, o, ledger, faults)
	}
	for i := 1; i < len(runs); i++ {
		v.again(id, o, i, runs[i-1], runs[i], ledger, faults)
	}
}

// lost finds the fault that excuses the loss of an accepted job.
func (v *Verdict) lost(id string, o *Order, ledger Ledger, faults []Fault) {
	v.Lost++
	for _, f := range faults {
		if f.Loses && o.Accepted.After(f.From) && o.Last.Before(f.To) {
			v.excuse(id, f.What, "was lost, accepted at %s", o.Accepted.Format("05.000"))
			return
		}
	}
	v.wrong(id, ledger, "was lost: accepted at %s", o.Accepted.Format("05.000"))
}

// again finds what excuses that a run was followed by another, the i-th.
func (v *Verdict) again(id string, o *Order, i int, run, next Run, ledger Ledger, faults []Fault) {
	end := run.Settled // what the store may not have heard of is not over
	if end.IsZero() {
		end = next.Start
	}
	switch {
	case run.Event == "cut":
		v.excuse(id, "handed back by a worker that stopped", "ran by %d and again by %d", run.PID, next.PID)
		return
	case i < o.Tries: // each enqueue that was sent may take effect, and late
		v.excuse(id, EnqueuedAgain, "ran by %d and again by %d", run.PID, next.PID)
		return
	}
	for _, f := range faults {
		overlaps := (f.PID == 0 || f.PID == run.PID) && run.Start.Before(f.To) && end.After(f.From)
		// A worker that was stopped in the act may begin what it was given
		// before, until it learns that the lease has gone. Another may run it
		// before that or after.
		late := func(run Run) bool {
			return f.PID == run.PID && run.Start.After(f.From) && run.Start.Before(f.To.Add(time.Second))
		}
		if f.Repeats && (overlaps || late(run) || late(next)) {
			v.excuse(id, f.What, "ran by %d and again by %d", run.PID, next.PID)
			return
		}
	}
	v.wrong(id, ledger, "ran by %d and again by %d at %s without a reason", run.PID, next.PID, next.Start.Format("05.000"))
}

func (v *Verdict) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d ordered: %d accepted, %d not known, %d refused; %d executed, %d of them more than once; %d lost; the store keeps %v",
		v.Ordered, v.Accepted, v.Unknown, v.Refused, v.Executed, v.Twice, v.Lost, v.Kept)
	for _, what := range slices.Sorted(maps.Keys(v.Excuses)) {
		fmt.Fprintf(&s, "\n\t%d explained by: %s", v.Excuses[what], what)
	}
	return s.String()
}

// shownNotes is how many single explanations a test prints.
const shownNotes = 10

// Require prints the verdict and fails the test if anything in it is wrong.
func (v *Verdict) Require(t testing.TB) {
	t.Helper()
	notes := ""
	if n := min(len(v.Notes), shownNotes); n > 0 {
		notes = "\n\tsuch as:\n\t\t" + strings.Join(v.Notes[:n], "\n\t\t")
	}
	t.Logf("%v%s", v, notes)
	require.Empty(t, v.Wrong[:min(len(v.Wrong), shownNotes)], "%d jobs fared as they must not", len(v.Wrong))
}
