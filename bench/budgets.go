package main

import (
	"fmt"
	"text/tabwriter"
	"time"
)

// budget is one line of the table of budgets. It reads what was measured; ok is
// false if that was not.
type budget struct {
	what   string
	demand string
	judge  func(r *results) (v verdict, ok bool)
}

// verdict is how a budget was kept.
type verdict struct {
	measured string
	met      bool
	// asynq and limit say how the peers did, where they were measured.
	asynq, limit string
}

// budgets are what the project has set itself.
var budgets = []budget{
	{"drain, Redis, best concurrency", "≥ 15 × asynq", drainAgainst("asynq", 15)},
	{"drain, Redis, best concurrency", "≥ 40 % of the limit", drainAgainst("limit", 0.4)},
	{"sustained, 16 producers and worker", "≥ 5 × asynq", timesAsynq("sustained", sustainedCase(100), 5)},
	{"drain at 1 ms of delay, concurrency 100", "≥ 50 × asynq", timesAsynq("rtt", rttCase(time.Millisecond, 100), 50)},
	{"enqueue, 16 producers, single calls", "≥ 1.6 × asynq", timesAsynq("enqueue", manyProducersCase, 1.6)},
	{"enqueue, one producer, single calls", "≥ 1.1 × asynq", timesAsynq("enqueue", oneProducerCase, 1.1)},
	{"enqueue in batches of 1,000", "≥ 250,000 jobs/s", least("caddis", "enqueue", batchesCase, "rate", 250_000)},
	{"CPU of the worker per no-op job", "≤ 9 µs", most("footprint", workerCase(100), "worker CPU per job", 9)},
	{"pickup when idle, p50", "≤ 0.6 ms or BRPOP + 0.25 ms", nearBRPOP(0.6, 0.25)},
	{"pickup when idle, p99", "≤ 1.5 ms", most("pickup", concurrencyCase(100), "p99", 1.5)},
	{"lateness of delayed jobs, p99", "≤ 5 ms", most("delayed", concurrencyCase(100), "p99", 5)},
	{"Redis time per job's whole life", "≤ 10 µs", most("footprint", lifeCase(100), "Redis time per job", 10)},
	{"round trips per job under load", "≤ 0.2", most("footprint", lifeCase(100), "round trips per job", 0.2)},
	{"Redis memory per waiting job of 100 B", "≤ 250 B", most("footprint", waitingCase, "Redis memory per job", 250)},
	{"SQLite, drain, concurrency 200", "≥ 10 × River", timesRiver("drain, "+concurrencyCase(200), 10)},
	{"SQLite, drain, concurrency 200", "≥ 30,000 jobs/s", least("sqlite", "sqlite", "drain, "+concurrencyCase(200), "rate", 30_000)},
	{"SQLite, single enqueues, 16 producers", "≥ 10 × River", timesRiver(manyProducersCase, 10)},
	{"SQLite, single enqueues, 16 producers", "≥ 20,000 jobs/s", least("sqlite", "sqlite", manyProducersCase, "rate", 20_000)},
	{"SQLite, enqueue in batches of 1,000", "≥ 10 × River", timesRiver(batchesCase, 10)},
	{"SQLite, enqueue in batches of 1,000", "≥ 80,000 jobs/s", least("sqlite", "sqlite", batchesCase, "rate", 80_000)},
	{"SQLite, cost per job at 1 M waiting against 1 k", "≤ 1.2 ×", deepFileRatio},
	{"drain, memory backend, best concurrency", "≥ 150,000 jobs/s", least("memory", "drain", "", "rate", 150_000)},
	{"recovery after kill -9, default lease", "≤ 17 s", most("recover", recoverCase(50), "kill to the last", 17)},
	{"cost per job at 1 M waiting against 1 k", "≤ 1.1 ×", deep},
	{"10,000 idle executors, memory", "≤ 50 MB", most("idle", idleCase(10_000, 1), "memory of the process", 50)},
	{"10,000 idle executors, CPU", "≤ 1 ms/s", most("idle", idleCase(10_000, 1), "CPU", 1)},
	{"stop when idle", "≤ 50 ms", most("stop", stopIdleCase, "TERM to exit", 50)},
	{"stop when busy, after the longest job", "≤ 50 ms", most("stop", stopBusyCase(50), "end of the last job to exit", 50)},
	{"commands when idle, one queue", "≤ 1 /s", most("idle", idleCase(10, 1), "commands", 1)},
	{"commands when idle, 200 queues", "≤ 5 /s", most("idle", idleCase(10_000, 200), "commands", 5)},
}

// printBudgets prints those for which something was measured.
func (r *results) printBudgets() {
	var t *tabwriter.Writer
	met, judged := 0, 0
	for _, b := range budgets {
		v, ok := b.judge(r)
		if !ok {
			continue
		}
		if t == nil {
			r.printf("\nbudgets, by the medians:\n")
			t = tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(t, "what\tbudget\tcaddis\t\tasynq\tlimit")
		}
		judged++
		word := "NOT MET"
		if v.met {
			word = "met"
			met++
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", b.what, b.demand, v.measured, word, v.asynq, v.limit)
	}
	if t != nil {
		_ = t.Flush()
		r.printf("%d of %d are met\n", met, judged)
	}
}

// beside fills in how the peers did; an empty case stands for their best.
func (r *results) beside(v *verdict, workload, variant, metric, unit string) {
	if value, ok := r.median(workload, variant, metric, "asynq"); ok {
		v.asynq = short(value) + " " + unit
	}
	if value, ok := r.median(workload, variant, metric, "limit"); ok {
		v.limit = short(value) + " " + unit
	}
}

// against judges the ratio of Caddis to a peer.
func against(peer, workload, variant string, least float64) func(*results) (verdict, bool) {
	return func(r *results) (verdict, bool) {
		ours, ok := r.median(workload, variant, "rate", "caddis")
		theirs, other := r.median(workload, variant, "rate", peer)
		if !ok || !other {
			return verdict{}, false
		}
		ratio := ours / theirs
		v := verdict{met: ratio >= least, measured: fmt.Sprintf("%s jobs/s, %.1f ×", short(ours), ratio)}
		if least < 1 {
			v.measured = fmt.Sprintf("%s jobs/s, %.0f %%", short(ours), 100*ratio)
		}
		r.beside(&v, workload, variant, "rate", "jobs/s")
		return v, true
	}
}

// drainAgainst takes the best concurrency of each.
func drainAgainst(peer string, least float64) func(*results) (verdict, bool) {
	return against(peer, "drain", "", least)
}

func timesAsynq(workload, variant string, least float64) func(*results) (verdict, bool) {
	return against("asynq", workload, variant, least)
}

// least judges a value that is to be high.
func least(peer, workload, variant, metric string, bound float64) func(*results) (verdict, bool) {
	return func(r *results) (verdict, bool) {
		value, ok := r.median(workload, variant, metric, peer)
		v := verdict{met: value >= bound, measured: short(value) + " jobs/s"}
		r.beside(&v, workload, variant, metric, "jobs/s")
		return v, ok
	}
}

// most judges a value of Caddis that is to be low.
func most(workload, variant, metric string, bound float64) func(*results) (verdict, bool) {
	return func(r *results) (verdict, bool) {
		for _, g := range r.groups(workload) {
			if g.variant == variant && g.metric == metric && g.peer == "caddis" {
				v := verdict{met: g.median() <= bound, measured: short(g.median()) + " " + g.unit}
				r.beside(&v, workload, variant, metric, g.unit)
				return v, true
			}
		}
		return verdict{}, false
	}
}

// nearBRPOP judges how soon an idle worker picks up a job: by itself, or beside a
// worker that pops from a list and promises nothing.
func nearBRPOP(bound, beside float64) func(*results) (verdict, bool) {
	return func(r *results) (verdict, bool) {
		ours, ok := r.median("pickup", concurrencyCase(100), "p50", "caddis")
		v := verdict{met: ours <= bound, measured: short(ours) + " ms"}
		if theirs, also := r.median("pickup", concurrencyCase(100), "p50", "brpop"); also {
			v.met = v.met || ours <= theirs+beside
			v.measured += fmt.Sprintf(", BRPOP %s", short(theirs))
		}
		r.beside(&v, "pickup", concurrencyCase(100), "p50", "ms")
		return v, ok
	}
}

// deep compares the greatest depth with the least.
func deep(r *results) (verdict, bool) {
	ratio := func(peer string) (float64, bool) {
		few, ok := r.median("depth", depthCase(1000), "Redis time per job", peer)
		many, also := r.median("depth", depthCase(1_000_000), "Redis time per job", peer)
		return many / few, ok && also
	}
	ours, ok := ratio("caddis")
	v := verdict{met: ours <= 1.1, measured: fmt.Sprintf("%.2f ×", ours)}
	if limit, ok := ratio("limit"); ok {
		v.limit = fmt.Sprintf("%.2f ×", limit)
	}
	return v, ok
}
