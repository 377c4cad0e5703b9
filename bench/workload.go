package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// workload is one thing to measure.
type workload struct {
	name  string
	about string
	run   func(ctx context.Context, b *bench) error
}

// workloads are listed, and run by "all", in this order: short ones first.
var workloads = []workload{
	{"enqueue", "jobs/s stored: one producer, 16 producers, batches of 1,000", enqueue},
	{"drain", "jobs/s of a worker on a full queue of no-op jobs of 100 B", drain},
	{"sqlite", "jobs/s stored and drained in one file on disk, and cost per job with few and many waiting", inOneFile},
	{"sustained", "jobs/s of 16 producers and the worker together", sustained},
	{"rtt", "drain with network delay between worker and Redis", drainFar},
	{"pickup", "from just before the enqueue until the handler runs, worker idle", pickup},
	{"delayed", "lateness of jobs that were delayed by 300 ms", delayed},
	{"depth", "cost per job with few and with many jobs waiting", depth},
	{"parked", "cost per plain job beside others that are delayed, or parked by a limit", parked},
	{"operate", "pages of the dashboard in a full store, and a worker beside a retry of all dead jobs", operating},
	{"footprint", "what a job costs: memory, Redis time, round trips, CPU, allocations", footprint},
	{"idle", "what a worker costs that has nothing to do", idle},
	{"stop", "from TERM until the process has ended", stopping},
	{"recover", "from kill -9 of a worker until its jobs run elsewhere", recovery},
}

func choose(names []string) ([]workload, error) {
	if slices.Contains(names, "all") {
		return workloads, nil
	}
	var chosen []workload
	for _, name := range names {
		at := slices.IndexFunc(workloads, func(l workload) bool { return l.name == name })
		if at < 0 {
			var known []string
			for _, l := range workloads {
				known = append(known, l.name)
			}
			return nil, fmt.Errorf("there is no workload %q; there are %s and all", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, workloads[at])
	}
	return chosen, nil
}

// bench is one workload in progress.
type bench struct {
	options
	results  *results
	workload string
}

// among returns the peers that were asked for, of those that the workload knows.
func (b *bench) among(known ...*peer) []*peer {
	if len(b.peers) == 0 {
		return known
	}
	return slices.DeleteFunc(known, func(p *peer) bool { return !slices.Contains(b.peers, p.name) })
}

// concurrencies are the cases of a workload, unless the user named one.
func (b *bench) concurrencies(usual ...int) []int {
	if b.concurrency > 0 {
		return []int{b.concurrency}
	}
	return usual
}

// turns measures the peers one after the other, and again, so that what changes
// on the machine meanwhile meets all of them.
func (b *bench) turns(ctx context.Context, peers []*peer, f func(run int, p *peer) error) error {
	for run := range b.repeat {
		for _, p := range peers {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if err := f(run, p); err != nil {
				return fmt.Errorf("%s, run %d: %w", p.name, run+1, err)
			}
		}
	}
	return nil
}

// note records a measured value. The case says which variant of the workload
// it belongs to.
func (b *bench) note(p *peer, run int, variant, metric string, value float64, unit string, s settings) {
	all := settings{"case": variant, "run": run + 1, "aof": b.aof, "peer": p.about}
	for key, v := range s {
		all[key] = v
	}
	b.results.add(record{Peer: p.name, Workload: b.workload, Metric: metric, Value: value, Unit: unit, Settings: all})
}

// part is a share of the jobs, at least one.
func (b *bench) part(numerator, denominator int) int {
	return max(1, b.jobs*numerator/denominator)
}
