// Command dashboard is a web application whose jobs are looked after in a browser: the
// dashboard is mounted beside its own pages. A worker runs in the same process, and jobs
// come all the time, some of which fail.
//
//	go run ./examples/dashboard       # http://localhost:8080/jobs/
//
// TERM or INT ends it: first the worker, whose stop can be watched on its page, then the
// server. A second one ends the process at once. The jobs are in memory; -store names
// another store, by its URL.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lmittmann/tint"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/memory"
	_ "github.com/caddis-go/caddis/backend/redis"
	_ "github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

func main() {
	slog.SetDefault(slog.New(tint.NewTextHandler(os.Stderr, nil)))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does what it does without us
	if err := run(ctx, os.Args[1:]); err != nil {
		slog.Error("dashboard", "error", err)
		os.Exit(1)
	}
}

// run is the program. The end of ctx is the request to stop.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("dashboard", flag.ContinueOnError)
	listen := flags.String("listen", "localhost:8080", "where the server answers")
	url := flags.String("store", "memory:", "the `URL` of the store")
	grace := flags.Duration("grace", 20*time.Second, "how long a stop may take")
	linger := flags.Duration("linger", 2*time.Second, "for how long pages are served after the worker's end, so that who watches its stop sees the report")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	store, err := backend.Open(*url)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	return serve(ctx, store, listener, *grace, *linger)
}

// serve runs worker, producer and server until ctx ends.
func serve(ctx context.Context, store backend.Backend, listener net.Listener, grace, linger time.Duration) error {
	registry := jobs.NewRegistry()
	handle(registry)
	system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, Concurrency: 8, Grace: grace, Choice: actors.RoundRobin()})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	board, err := mount(mux, system.Client())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	server.RegisterOnShutdown(board.Close) // live pages would keep it waiting
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	slog.Info("the dashboard is at http://" + listener.Addr().String() + "/jobs/")
	if err := system.Start(ctx); err != nil {
		return err
	}
	if err := prepare(ctx, system.Client()); err != nil {
		return err
	}
	go produce(ctx, system.Client())
	go func() {
		if report, err := system.Stopped().Wait(ctx); err == nil && ctx.Err() == nil {
			slog.Warn("the worker was told to end; jobs wait for another one, or until this program is started again", "report", report.String())
		}
	}()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	slog.Info("the worker stops; jobs that run have time to end", "grace", grace)
	report, stopErr := system.Stop().Wait(context.WithoutCancel(ctx))
	slog.Info(report.String())
	_ = rest(context.WithoutCancel(ctx), linger)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, stopErr, server.Shutdown(ending))
}

// mount puts the dashboard beside the pages of the application. With Config.Authorize the
// application says who may do what; without, only those on the same machine are answered.
func mount(mux *http.ServeMux, client *jobs.Client) (*dashboard.Dashboard, error) {
	board, err := dashboard.New(client, dashboard.Config{Title: "shop", Payloads: dashboard.RoleAdmin})
	if err != nil {
		return nil, err
	}
	mux.Handle("/jobs/", http.StripPrefix("/jobs", board))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "This is the shop. Its jobs are at /jobs/")
	})
	return board, nil
}
