package backend

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Figures count what happened to jobs, by the names of the events of package jobs, and
// how long they waited and ran.
type Figures struct {
	// Started counts the attempts that began, the others what became of attempts and
	// leases, once the store had confirmed it.
	Started    int64 `json:"started,omitempty"`
	Completed  int64 `json:"completed,omitempty"`
	Retried    int64 `json:"retried,omitempty"`
	Snoozed    int64 `json:"snoozed,omitempty"`
	Cancelled  int64 `json:"cancelled,omitempty"`
	Died       int64 `json:"died,omitempty"`
	HandedBack int64 `json:"handed_back,omitempty"`
	Parked     int64 `json:"parked,omitempty"`
	// Waiting has, for each job that began its first attempt, the time since it was due;
	// Running, for each attempt that ended, how long its handler ran.
	Waiting Histogram `json:"waiting,omitzero"`
	Running Histogram `json:"running,omitzero"`
}

// HistogramBuckets is how many buckets a histogram has.
const HistogramBuckets = 32

// BucketBound is the longest time that bucket i has: 100 µs in bucket 0, and twice as
// much in each that follows, up to 30 hours. The last bucket has all that is longer, and
// its bound is 0.
func BucketBound(i int) time.Duration {
	if i >= HistogramBuckets-1 {
		return 0
	}
	return bucketUnit << i
}

const bucketUnit = 100 * time.Microsecond

// Histogram counts times by their length.
type Histogram struct {
	// Micros is the sum of all times, each in whole microseconds.
	Micros int64 `json:"micros,omitempty"`
	// Buckets has how many times are in each bucket, see BucketBound. Those at the end
	// that are empty may be left out.
	Buckets []int64 `json:"buckets,omitempty"`
}

// IsZero reports whether there is nothing in it.
func (h Histogram) IsZero() bool { return h.Count() == 0 }

// Count is how many times there are.
func (h *Histogram) Count() (n int64) {
	for _, in := range h.Buckets {
		n += in
	}
	return n
}

// Observe adds a time; a negative one counts as none.
func (h *Histogram) Observe(d time.Duration) {
	d = max(0, d)
	i := 0
	if d > bucketUnit {
		i = min(bits.Len64(uint64((d-1)/bucketUnit)), HistogramBuckets-1)
	}
	h.reach(i + 1)
	h.Buckets[i]++
	h.Micros += d.Microseconds()
}

// reach makes room for n buckets.
func (h *Histogram) reach(n int) {
	for len(h.Buckets) < n {
		h.Buckets = append(h.Buckets, 0)
	}
}

// Add adds what another one has.
func (h *Histogram) Add(other *Histogram) {
	h.reach(len(other.Buckets))
	for i, n := range other.Buckets {
		h.Buckets[i] += n
	}
	h.Micros += other.Micros
}

// Mean is the average time; 0 of none.
func (h *Histogram) Mean() time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(h.Micros/n) * time.Microsecond
}

// Quantile is the time that a part q of all does not exceed, 0.95 for 95 %: as far as
// the buckets tell, between the bounds of one in proportion. The longest that it answers
// is the bound of the last bucket that has one, and 0 of no times.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := min(max(q, 0), 1) * float64(h.Count())
	below := float64(0)
	for i, n := range h.Buckets {
		if n == 0 {
			continue
		}
		if below += float64(n); below < rank {
			continue
		}
		var from time.Duration
		if i > 0 {
			from = BucketBound(i - 1)
		}
		if i >= HistogramBuckets-1 {
			return from
		}
		inside := 1 - (below-rank)/float64(n)
		return from + time.Duration(inside*float64(BucketBound(i)-from))
	}
	return 0
}

func (h *Histogram) check() error {
	if len(h.Buckets) > HistogramBuckets {
		return reject("a histogram of %d buckets, there are %d", len(h.Buckets), HistogramBuckets)
	}
	if h.Micros < 0 || slices.ContainsFunc(h.Buckets, func(n int64) bool { return n < 0 }) {
		return reject("a histogram with a negative number")
	}
	return nil
}

// Add adds what others have.
func (f *Figures) Add(other *Figures) {
	mine, theirs := f.counts(), other.counts()
	for i := range mine {
		*mine[i] += *theirs[i]
	}
	f.Waiting.Add(&other.Waiting)
	f.Running.Add(&other.Running)
}

// counts are the counts in the order of countNames.
func (f *Figures) counts() [8]*int64 {
	return [8]*int64{&f.Started, &f.Completed, &f.Retried, &f.Snoozed, &f.Cancelled, &f.Died, &f.HandedBack, &f.Parked}
}

// countNames are the letters under which Text writes the counts.
const countNames = "scrzxdhp"

func (f *Figures) check() error {
	for _, n := range f.counts() {
		if *n < 0 {
			return reject("a count of %d; it cannot be negative", *n)
		}
	}
	if err := f.Waiting.check(); err != nil {
		return err
	}
	return f.Running.check()
}

// Text writes figures as a store may keep them: names and numbers, such as
// "s=3 c=2 w7=3 ws=41000", those that are 0 left out, so that to add two texts is to add
// the numbers of each name.
func (f *Figures) Text() string {
	var text []byte
	add := func(name string, n int64) {
		if n != 0 {
			text = append(append(append(text, name...), '='), strconv.FormatInt(n, 10)...)
			text = append(text, ' ')
		}
	}
	for i, n := range f.counts() {
		add(countNames[i:i+1], *n)
	}
	for name, h := range f.histograms() {
		for i, n := range h.Buckets {
			add(name+strconv.Itoa(i), n)
		}
		add(name+"s", h.Micros)
	}
	return string(text[:max(0, len(text)-1)])
}

// histograms goes through the histograms and their names in Text.
func (f *Figures) histograms() func(yield func(string, *Histogram) bool) {
	return func(yield func(string, *Histogram) bool) {
		_ = yield("w", &f.Waiting) && yield("r", &f.Running)
	}
}

// ParseFigures undoes Text.
func ParseFigures(text string) (f Figures, err error) {
	for part := range strings.FieldsSeq(text) {
		name, number, _ := strings.Cut(part, "=")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || name == "" {
			return f, fmt.Errorf("the figures have %q, which is no name with a number", part)
		}
		if err := f.read(name, n); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *Figures) read(name string, n int64) error {
	if i := strings.Index(countNames, name); i >= 0 && len(name) == 1 {
		*f.counts()[i] = n
		return nil
	}
	for first, h := range f.histograms() {
		which, is := strings.CutPrefix(name, first)
		if which == "s" && is {
			h.Micros = n
			return nil
		}
		if i, err := strconv.Atoi(which); is && err == nil && i >= 0 && i < HistogramBuckets {
			h.reach(i + 1)
			h.Buckets[i] = n
			return nil
		}
	}
	return fmt.Errorf("the figures have %q, which is none that is known", name)
}

// FiguresQuery asks for figures over time.
type FiguresQuery struct {
	Queue string
	// Kind is that of the jobs; empty for those of all kinds together.
	Kind string
	// From and To are the first and the last instant, by the store's clock; the steps
	// that they fall into are answered as a whole. If To is zero it is the present, if
	// From is, it is the oldest that is kept.
	From, To time.Time
	// Step is how much time a point stands for: whole minutes below an hour, or whole
	// hours up to a day; 0 means a minute. Below an hour MinutesKept is kept, else
	// HoursKept.
	Step time.Duration
}

// Check says what is wrong with a query and sets its default step.
func (q *FiguresQuery) Check() error {
	if q.Step == 0 {
		q.Step = time.Minute
	}
	if err := CheckQueue(q.Queue); err != nil {
		return err
	}
	if q.Kind != "" && q.Kind != OtherKinds {
		if err := CheckKind(q.Kind); err != nil {
			return err
		}
	}
	switch {
	case q.Step < time.Minute, q.Step > 24*time.Hour, q.Step%q.base() != 0:
		return reject("a step of %v; give whole minutes below an hour, or whole hours up to a day", q.Step)
	case !expressible(q.From), !expressible(q.To):
		return reject("from %v to %v; the years go from 0 to 9999", q.From, q.To)
	case !q.From.IsZero() && !q.To.IsZero() && q.To.Before(q.From):
		return reject("from %v to %v; the end is before the beginning", q.From, q.To)
	}
	return nil
}

// base is the step in which the figures are kept.
func (q *FiguresQuery) base() time.Duration {
	if q.Step < time.Hour {
		return time.Minute
	}
	return time.Hour
}

// Series are figures over time.
type Series struct {
	Queue string `json:"queue"`
	Kind  string `json:"kind,omitempty"`
	// Step is how much time each point stands for. In JSON it is in nanoseconds.
	Step time.Duration `json:"step"`
	// Points follow each other without a gap, the oldest first. The last one may not be
	// over yet.
	Points []Point `json:"points"`
	// Kinds are those that the queue has figures of, in order.
	Kinds []string `json:"kinds"`
	// Now is the store's clock.
	Now time.Time `json:"now"`
}

// Point is one step of a Series.
type Point struct {
	// At is when it begins.
	At time.Time `json:"at"`
	Figures
}

// Total sums up all points.
func (s *Series) Total() (total Figures) {
	for i := range s.Points {
		total.Add(&s.Points[i].Figures)
	}
	return total
}

// NewSeries makes the series that answers a checked query, without figures yet; base is
// the step, a minute or an hour, of those that the store is to Add. It is for stores.
func NewSeries(q FiguresQuery, now time.Time) (s Series, base time.Duration) {
	now = now.UTC()
	base = q.base()
	kept := MinutesKept
	if base == time.Hour {
		kept = HoursKept
	}
	s = Series{Queue: q.Queue, Kind: q.Kind, Step: q.Step, Now: now, Kinds: []string{}, Points: []Point{}}
	from, to := now.Add(-kept).Truncate(base).Add(base), now
	if q.From.After(from) {
		from = q.From
	}
	if !q.To.IsZero() && q.To.Before(to) {
		to = q.To
	}
	for at := from.UTC().Truncate(q.Step); !at.After(to); at = at.Add(q.Step) {
		s.Points = append(s.Points, Point{At: at})
	}
	return s, base
}

// Add adds the figures of a minute or an hour that begins at an instant; what lies
// outside of the series is left out.
func (s *Series) Add(at time.Time, f *Figures) {
	if len(s.Points) == 0 {
		return
	}
	if d := at.Sub(s.Points[0].At); d >= 0 && d < time.Duration(len(s.Points))*s.Step {
		s.Points[d/s.Step].Figures.Add(f)
	}
}

// Span is the beginning of the first point and the end of the last; ok is false of no
// points.
func (s *Series) Span() (from, to time.Time, ok bool) {
	if len(s.Points) == 0 {
		return from, to, false
	}
	return s.Points[0].At, s.Points[len(s.Points)-1].At.Add(s.Step), true
}

// Keeps reports whether figures of a minute are still, or already, to be kept in steps
// of base, a minute or an hour, when the store's clock shows now. It is for stores.
func Keeps(base time.Duration, minute, now time.Time) bool {
	kept := MinutesKept
	if base == time.Hour {
		kept = HoursKept
	}
	oldest := now.Add(-kept).Truncate(base).Add(base)
	return !minute.Truncate(base).Before(oldest) && !minute.After(now.Add(time.Minute))
}
