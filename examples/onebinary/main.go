// Command onebinary is a shop of one machine: one program and one file, and nothing
// to install. A web server takes orders; a worker, in a second process, confirms them.
//
//	go run ./examples/onebinary web       # http://localhost:8080
//	go run ./examples/onebinary worker
//
// The server stores an order and enqueues the job that confirms it in one
// transaction: there is no order without its job, and no job without its order. The
// worker notes the confirmation and completes the job in one transaction too. Either
// process may be stopped or killed at any time, and started again.
//
// The file is shop.db in the working folder, or what -file says; -listen says where
// the server answers.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lmittmann/tint"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/jobs"
)

func main() {
	slog.SetDefault(slog.New(tint.NewTextHandler(os.Stderr, nil)))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		slog.Error("onebinary", "error", err)
		os.Exit(1)
	}
}

// run is the program. The end of ctx is the request to stop.
func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	if len(args) == 0 || args[0] != "web" && args[0] != "worker" {
		return errors.New("say what to be: onebinary web, or onebinary worker")
	}
	flags := flag.NewFlagSet("onebinary "+args[0], flag.ContinueOnError)
	file := flags.String("file", "shop.db", "the `file` of orders and jobs")
	listen := flags.String("listen", "localhost:8080", "where the server answers")
	switch err := flags.Parse(args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	db, err := openShop(ctx, *file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	store, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	s := &shop{db: db}
	if s.client, err = jobs.NewClient(store, jobs.ClientConfig{}); err != nil {
		return err
	}
	if args[0] == "web" {
		return s.serve(ctx, *listen, stdout)
	}
	return s.work(ctx, store, stdout)
}

// openShop opens the file, and makes the table of orders.
func openShop(ctx context.Context, file string) (*sql.DB, error) {
	// Transactions write, so they begin as ones that do; who finds the file locked
	// waits.
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+
		"?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS orders (
		id INTEGER PRIMARY KEY, customer TEXT NOT NULL CHECK (customer <> ''), confirmed_at TEXT)`)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// shop is what both processes have.
type shop struct {
	db     *sql.DB
	client *jobs.Client
}

// serve answers until ctx ends.
func (s *shop) serve(ctx context.Context, address string, stdout io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "the shop is open: http://%s\n", listener.Addr())
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return server.Shutdown(closing)
}

// work runs jobs until ctx ends or the process is told to stop.
func (s *shop) work(ctx context.Context, store *sqlite.Backend, stdout io.Writer) error {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, s.confirm)
	system, err := caddis.New(caddis.Config{Backend: store, Registry: registry, Concurrency: 4, Grace: 10 * time.Second})
	if err != nil {
		return err
	}
	report, err := system.Run(ctx)
	if report != nil {
		fmt.Fprintln(stdout, report)
	}
	return err
}
