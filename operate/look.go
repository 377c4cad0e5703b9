package operate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Look is the state of all queues and workers at one time.
type Look struct {
	// At is when, by the store's clock.
	At      time.Time            `json:"at"`
	Queues  []backend.QueueInfo  `json:"queues"`
	Workers []backend.WorkerInfo `json:"workers"`
}

// Glance reads all queues and workers: three calls of the store, whatever it holds.
func Glance(ctx context.Context, client *jobs.Client) (*Look, error) {
	var l Look
	var err error
	if l.Workers, err = client.Workers(ctx); err != nil {
		return nil, err
	}
	if l.Queues, err = client.Queues(ctx); err != nil {
		return nil, err
	}
	if l.At, err = client.StoreTime(ctx); err != nil {
		return nil, err
	}
	return &l, nil
}

// Takers are the workers that take from a queue.
func (l *Look) Takers(queue string) (found []backend.WorkerInfo) {
	for _, w := range l.Workers {
		if slices.Contains(w.Queues, queue) {
			found = append(found, w)
		}
	}
	return found
}

// Queue is one of the queues; nil if it is not there.
func (l *Look) Queue(name string) *backend.QueueInfo {
	if i := slices.IndexFunc(l.Queues, func(q backend.QueueInfo) bool { return q.Name == name }); i >= 0 {
		return &l.Queues[i]
	}
	return nil
}

// Count sums up the jobs of all queues in a state.
func (l *Look) Count(state backend.State) (n int64) {
	for i := range l.Queues {
		n += l.Queues[i].Counts[state]
	}
	return n
}

// probes is how often the store is asked to see how quick it answers; slow is what is told.
const (
	probes = 11
	slow   = 20 * time.Millisecond
)

// Store finds out whether the store can be used, which of its settings can lose jobs, and
// how quick it answers. name is what it is called in the findings. It changes nothing, and
// usable is false if there is no point in looking further.
func Store(ctx context.Context, client *jobs.Client, name string) (found []Finding, usable bool) {
	var f findings
	warnings, err := client.CheckStore(ctx)
	if errors.Is(err, backend.ErrDenied) {
		// The check is that of a worker; an operator has not all of its rights.
		if _, reading := client.Workers(ctx); reading == nil {
			f.add(Finding{Level: LevelNote, About: "rights", Remedy: "look at it as the workers' user too"},
				"this user may not do what a worker does: %v", err)
			err = nil
		}
	}
	if err != nil {
		remedy := "see whether it runs, and whether the URL is right"
		if errors.Is(err, backend.ErrDenied) {
			remedy = "look at the password, and at the rights that docs/redis.md lists"
		}
		f.add(Finding{Level: LevelError, Problem: ProblemStore, About: "store", Remedy: remedy}, "%s cannot be used: %v", name, err)
		return f, false
	}
	if version, err := client.StoreVersion(ctx); err == nil && version != "" {
		name += ", " + version
	}
	f.add(Finding{Level: LevelOK, About: "store"}, "%s can be used", name)
	for _, w := range warnings {
		f.add(Finding{Level: LevelWarning, Problem: ProblemSetting, About: w.Setting, Remedy: w.Remedy}, "%s", w.Problem)
	}
	f.latency(ctx, client)
	return f, true
}

// latency measures a small read.
func (f *findings) latency(ctx context.Context, client *jobs.Client) {
	var took []time.Duration
	for range probes {
		began := time.Now()
		if _, err := client.Job(ctx, jobs.DefaultQueue, "doctor"); err != nil && !errors.Is(err, backend.ErrNotFound) {
			f.add(Finding{Level: LevelError, Problem: ProblemStore, About: "latency"}, "a read failed: %v", err)
			return
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	median, worst := max(time.Microsecond, took[len(took)/2].Round(time.Microsecond)), took[len(took)-1].Round(time.Microsecond)
	finding := Finding{Level: LevelOK, About: "latency"}
	if median > slow {
		finding.Level, finding.Remedy = LevelNote, "run producers and workers near the store"
	}
	f.add(finding, "a read takes %v, the longest %v", median, worst)
}
