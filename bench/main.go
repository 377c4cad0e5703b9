// Command bench measures Caddis beside its peers, on one machine and within one
// run, and checks that every job was executed exactly once.
//
//	go run . all
//	go run . drain pickup -peers caddis,asynq -concurrency 50 -repeat 5 -json out.jsonl
//
// It starts a redis-server of its own for each measurement. What is measured and
// how is told in docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(childMain(text))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are what the command line says.
type options struct {
	// peers are those to measure; empty means all that a workload knows.
	peers []string
	// jobs scales the workloads: a drain has this many, the others a part or a
	// multiple of it.
	jobs int
	// concurrency and rtt, if set, replace the cases of the workloads.
	concurrency int
	rtt         time.Duration
	rttSet      bool
	repeat      int
	// aof makes the servers write an append-only file, synced every second.
	aof bool
	// quick shortens what is a matter of time and not of jobs; for tests.
	quick bool
}

const defaultJobs = 50_000

func run(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	o, names, jsonFile, err := parse(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintln(errOut, "bench:", err)
		return 2
	}
	results := &results{out: out}
	if jsonFile != "" {
		file, err := os.Create(jsonFile)
		if err != nil {
			_, _ = fmt.Fprintln(errOut, "bench:", err)
			return 2
		}
		defer func() {
			if err := file.Close(); err != nil {
				_, _ = fmt.Fprintln(errOut, "bench:", err)
				code = 1
			}
		}()
		results.json = file
	}
	if err := measure(ctx, o, names, results); err != nil {
		_, _ = fmt.Fprintln(errOut, "bench:", err)
		return 1
	}
	return 0
}

// parse reads the command line; flags may stand before and after the workloads.
func parse(args []string, errOut io.Writer) (o options, names []string, jsonFile string, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(errOut)
	flags.Usage = func() { usage(flags) }
	peers := flags.String("peers", "", "peers to measure, separated by commas; all by default: "+strings.Join(peerNames(), ","))
	flags.IntVar(&o.jobs, "jobs", defaultJobs, "number of jobs of a drain; other workloads scale with it")
	flags.IntVar(&o.concurrency, "concurrency", 0, "number of jobs that run at the same time, in place of each workload's own")
	rtt := flags.Duration("rtt", -1, "network delay of the workload rtt, in place of 0, 1 ms and 5 ms")
	flags.IntVar(&o.repeat, "repeat", 3, "number of measurements of each peer; the peers take turns")
	flags.BoolVar(&o.aof, "aof", false, "let Redis write an append-only file, synced every second")
	flags.StringVar(&jsonFile, "json", "", "file for all measured values, one JSON object per line")
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return o, nil, "", err
		}
		args = flags.Args()
		if len(args) > 0 {
			names, args = append(names, args[0]), args[1:]
		}
	}
	if *peers != "" {
		o.peers = strings.Split(*peers, ",")
	}
	o.rtt, o.rttSet = *rtt, *rtt >= 0
	switch {
	case len(names) == 0:
		usage(flags)
		return o, nil, "", flag.ErrHelp
	case o.jobs < 1 || o.repeat < 1 || o.concurrency < 0:
		return o, nil, "", errors.New("-jobs and -repeat are at least 1, -concurrency is not negative")
	}
	for _, name := range o.peers {
		if !slices.Contains(peerNames(), name) {
			return o, nil, "", fmt.Errorf("there is no peer %q; there are %s", name, strings.Join(peerNames(), ", "))
		}
	}
	return o, names, jsonFile, nil
}

func usage(flags *flag.FlagSet) {
	w := flags.Output()
	_, _ = fmt.Fprintln(w, "usage: go run . WORKLOAD... [flags]\n\nworkloads:")
	for _, l := range workloads {
		_, _ = fmt.Fprintf(w, "  %-10s %s\n", l.name, l.about)
	}
	_, _ = fmt.Fprintf(w, "  %-10s %s\n\nflags:\n", "all", "all of them, and the table of the budgets")
	flags.PrintDefaults()
}

// measure runs the workloads and prints their tables; the budgets that could be
// measured come last. The error tells of runs that are void.
func measure(ctx context.Context, o options, names []string, results *results) error {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	version, err := redisVersion(ctx)
	if err != nil {
		return err
	}
	results.printf("Redis %s%s · %s %s/%s · %d cores · asynq %s · repeat %d\n", version, durability(o.aof),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), asynqVersion(), o.repeat)
	began := time.Now()
	var failures []error
	for _, l := range chosen {
		start := time.Now()
		results.printf("\n%s: %s\n", l.name, l.about)
		b := &bench{options: o, results: results, workload: l.name}
		if err := l.run(ctx, b); err != nil {
			failures = append(failures, fmt.Errorf("%s is void: %w", l.name, err))
			results.printf("VOID: %v\n", err)
		}
		results.printTable(l.name)
		results.printf("(%.0f s)\n", time.Since(start).Seconds())
		if ctx.Err() != nil {
			return errors.Join(append(failures, context.Cause(ctx))...)
		}
	}
	results.printBudgets()
	results.printf("\n%v in total\n", time.Since(began).Round(time.Second))
	return errors.Join(failures...)
}

func durability(aof bool) string {
	if aof {
		return " with an append-only file, synced every second"
	}
	return " in memory"
}
