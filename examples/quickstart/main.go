// Command quickstart computes the size and the SHA-256 of every regular file
// under a folder: one job per file, executed by a System, on a store in a file, in
// Redis, or in memory.
//
//	go run ./examples/quickstart -dir /usr/share
//	go run ./examples/quickstart -dir /usr/share -backend redis://localhost:6379 -json
//
//	go run ./examples/quickstart -ui localhost:8280    # and look at the jobs in a browser
//
// Symbolic links are not followed. A file that has vanished or cannot be read is
// a failed job; the others go on.
//
// # Stopping and starting again
//
// TERM and INT drain: files that are being read are finished, within -grace. A
// second signal interrupts them, a third gives them back at once. The exit code
// is 0 after a stop in good order, 1 if the program could not start, crashed or
// could not walk the folder, and 2 if a flag is wrong.
//
// The jobs outlive the program, but for those in memory: by default they are in a file
// in the folder that the user has for caches, and are not among the files that are
// read. A second start with the same folder
// finishes what was left, and repeats a file only if its first run was cut short, even
// by kill -9. Any number of processes may work on one folder; with Redis also on
// machines that see the same files at the same path. The one that ends last removes the jobs from the store,
// after which a further start begins anew.
//
// # With -json
//
// The last line on stdout is an object with
//
//	files, bytes, digest    what is known of the folder, from earlier starts too;
//	                        digest is the SHA-256 over the lines
//	                        "<sha256 in hex>  <path relative to the folder>\n",
//	                        sorted by path as bytes
//	found                   the files that the scan of the folder found; 0 until
//	                        that is over
//	completed, failed       the files that this process finished, well or not
//	handed_back, interrupted, abandoned, lost, unconfirmed
//	                        the other jobs that it took, as in caddis.Report
//	left                    the files that are still to be done; -1 if the store
//	                        did not say
//	elapsed_ms, state       of this process; the wait of -ui does not count
//	failures                the failed files, and the folders that could not be
//	                        read, each with path (what is not UTF-8 replaced),
//	                        path_hex and error
//
// # Journal
//
// With -journal FILE each run of a file's handler appends two lines, each by one
// write, so that several processes may share the file:
//
//	start <job id> <path in hex> <worker id> <attempt>
//	end   <job id> <path in hex> <worker id> <attempt> ok|failed|interrupted
//
// The fields are separated by one space. A start without an end was killed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/redis"  // the redis URLs
	_ "github.com/caddis-go/caddis/backend/sqlite" // the sqlite URLs
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	screen := newScreen(os.Stderr)
	slog.SetDefault(screen.logger())
	os.Exit(run(ctx, os.Args[1:], os.Stdout, screen))
}

// run is the program. The end of ctx is the request to stop.
func run(ctx context.Context, args []string, stdout io.Writer, screen *screen) (code int) {
	o, err := parse(args, screen)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if o.json {
		screen.hideProgress()
	}
	tell := func(s *summary) error { return s.writeTable(stdout) }
	if o.json {
		tell = func(s *summary) error { return s.writeJSON(stdout) }
	}
	if err := digestFolder(ctx, o, screen, tell); err != nil {
		fmt.Fprintln(screen, "quickstart:", err)
		return 1
	}
	return 0
}

type options struct {
	dir   string
	store backend.Backend
	// keeps is the folder of the store that is used if none is given.
	keeps       string
	concurrency int
	grace       time.Duration
	lease       time.Duration
	json        bool
	journal     string
	ui          string
}

// parse reads the flags, and says on stderr what is wrong with them.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.dir, "dir", ".", "the `folder` whose files are read")
	store := flags.String("backend", "", "the job store: sqlite:path, redis://host:port/db, rediss://…, redis+sentinel://…, redis+cluster://…, memory: (`URL`); a file in the folder for caches if left out")
	flags.IntVar(&o.concurrency, "concurrency", 16, "how many files are read at the same time")
	flags.DurationVar(&o.grace, "grace", actors.DefaultGrace, "how long a stop may take")
	flags.DurationVar(&o.lease, "lease", actors.DefaultLease, "after what time without a sign of life a job is given to another process")
	flags.BoolVar(&o.json, "json", false, "end with one JSON object on stdout instead of a table")
	flags.StringVar(&o.journal, "journal", "", "append a line per start and end of a job to this `file`")
	flags.StringVar(&o.ui, "ui", "", "show the jobs in a browser, at this `address`, such as localhost:8280, until a signal comes")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	err := func() (err error) {
		switch {
		case flags.NArg() > 0:
			return fmt.Errorf("%q is no flag; give the folder by -dir", flags.Arg(0))
		case o.concurrency < 1:
			return fmt.Errorf("-concurrency %d: give a number from 1", o.concurrency)
		case o.grace <= 0:
			return fmt.Errorf("-grace %v: give a positive duration such as 25s", o.grace)
		case backend.CheckLease(o.lease) != nil:
			return fmt.Errorf("-lease: %w", backend.CheckLease(o.lease))
		}
		if *store == "" {
			if o.keeps, err = keepingFolder(); err != nil {
				return err
			}
			*store = "sqlite:" + (&url.URL{Path: filepath.Join(o.keeps, "jobs.db")}).EscapedPath()
		}
		o.store, err = backend.Open(*store)
		return err
	}()
	if err != nil {
		fmt.Fprintln(stderr, "quickstart:", err)
		flags.Usage()
	}
	return o, err
}

// keepingFolder is where the jobs are kept if no store is given. It is made.
func keepingFolder() (string, error) {
	caches, err := os.UserCacheDir()
	if err != nil {
		caches = os.TempDir()
	}
	dir := filepath.Join(caches, "caddis-quickstart")
	if err = os.MkdirAll(dir, 0o700); err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("the folder for the jobs cannot be made; give a store by -backend: %w", err)
	}
	return dir, nil
}

// newSystem makes the System that runs the handlers.
func newSystem(o *options, c *crew, screen *screen) (*caddis.System, error) {
	return caddis.New(caddis.Config{
		Backend:     o.store,
		Registry:    c.registry(),
		Queues:      []string{c.queues.scan, c.queues.files, c.queues.results},
		Gates:       []actors.Gate{shelf(c.queues)},
		Concurrency: o.concurrency,
		Lease:       o.lease,
		Grace:       o.grace - reportTime(o.grace),
		Logger:      screen.logger(),
	})
}
