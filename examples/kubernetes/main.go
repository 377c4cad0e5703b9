// Command kubernetes is a worker for Kubernetes. It takes jobs of the kind
// "fetch", each of which asks for a URL and leaves status and length as its
// result. manifest.yaml deploys it.
//
// It answers probes under /livez and /readyz. On TERM it takes no more jobs and
// finishes those that run, within Grace; readiness fails from then on, liveness
// does not, and both tell how much time is left. The settings come from the
// environment:
//
//	CADDIS_BACKEND            the job store; memory: if it is not set
//	CADDIS_LISTEN             where probes are answered; :8080 if it is not set
//	CADDIS_TERMINATION_GRACE  what the manifest leaves for the stop; the worker
//	                          warns at its start if that is less than Grace
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/lmittmann/tint"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/redis" // the redis URLs
	"github.com/caddis-go/caddis/jobs"
)

const (
	// Grace is how long a stop may take. The terminationGracePeriodSeconds of
	// the manifest have to be more than this and its preStop together.
	Grace = 40 * time.Second
	// Concurrency is the number of jobs that run at the same time.
	Concurrency = 20
)

func main() {
	slog.SetDefault(newLogger(os.Stderr))
	if err := run(context.Background(), os.Getenv, os.Stdout); err != nil {
		slog.Error("the worker ends", "error", err)
		os.Exit(1)
	}
}

// newLogger writes for people on a terminal, and for collectors of logs elsewhere.
func newLogger(file *os.File) *slog.Logger {
	if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return slog.New(tint.NewTextHandler(file, nil))
	}
	return slog.New(slog.NewJSONHandler(file, nil))
}

// Fetch is a job: a URL to ask for.
type Fetch struct {
	URL string `json:"url"`
}

// Kind makes Fetch the args of jobs.
func (Fetch) Kind() string { return "fetch" }

// Fetched is what a Fetch leaves.
type Fetched struct {
	Status int   `json:"status"`
	Bytes  int64 `json:"bytes"`
}

func fetch(ctx context.Context, job *jobs.Job[Fetch]) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, job.Args.URL, nil)
	if err != nil {
		return jobs.Discard(err) // no attempt will make it a URL
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	return job.SetResult(Fetched{Status: response.StatusCode, Bytes: n})
}

// run works until ctx ends or the process is told to stop.
func run(ctx context.Context, getenv func(string) string, stdout io.Writer) (err error) {
	store, err := backend.Open(cmp.Or(getenv("CADDIS_BACKEND"), "memory:"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	registry := jobs.NewRegistry()
	jobs.Handle(registry, fetch,
		jobs.Timeout(Grace/2), // shorter than the grace: each attempt can finish
		jobs.Retention(time.Hour))
	system, err := caddis.New(caddis.Config{
		Backend: store, Registry: registry, Concurrency: Concurrency, Grace: Grace,
	})
	if err != nil {
		return err
	}

	// The probes are answered from before the start until after the stop.
	listener, err := net.Listen("tcp", cmp.Or(getenv("CADDIS_LISTEN"), ":8080"))
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "probes on", listener.Addr())
	probes := &http.Server{Handler: system.Health(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- probes.Serve(listener) }()
	defer func() {
		err = errors.Join(err, probes.Close())
		if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
			err = errors.Join(err, failed)
		}
	}()

	report, err := system.Run(ctx)
	if report != nil {
		fmt.Fprintln(stdout, report)
	}
	return err
}
