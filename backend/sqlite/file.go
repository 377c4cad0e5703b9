package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	engine "modernc.org/sqlite"

	"github.com/caddis-go/caddis/backend"
)

// source is where the jobs are: in the database of an application, in a file, or,
// without either, in memory.
type source struct {
	db   *sql.DB
	path string
}

// file is an open database. The one connection is the writer's.
type file struct {
	// path is empty for a database in memory. Real is where it leads if all links are
	// followed: the files beside the database are beside that.
	path   string
	real   string
	driver driver.Driver
	config *Config
	// own is set if nobody but the store uses the database.
	own  bool
	pool *sql.DB
	conn *connection
	// opened is what the path led to.
	opened os.FileInfo
}

// open opens the database. It makes the file, if there is none.
func (s source) open(ctx context.Context, config *Config) (*file, error) {
	f := &file{config: config, own: s.db == nil, driver: &engine.Driver{}}
	var err error
	if f.own {
		if s.path != "" {
			if f.path, err = filepath.Abs(s.path); err != nil {
				return nil, err
			}
		}
	} else {
		f.driver = s.db.Driver()
		if f.path, err = mainFile(ctx, s.db); err != nil {
			return nil, err
		}
		if f.path == "" {
			return nil, fmt.Errorf("%w: the database is in memory, where only its own connections can reach it; give one in a file, or open sqlite: for a store in memory", backend.ErrRejected)
		}
	}
	f.pool = f.openPool()
	if err := f.connect(ctx); err != nil {
		f.close()
		return nil, err
	}
	if f.path != "" {
		if f.opened, err = os.Stat(f.path); err != nil {
			f.close()
			return nil, err
		}
		if f.real, err = filepath.EvalSymlinks(f.path); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// mainFile asks a database where it lies.
func mainFile(ctx context.Context, db *sql.DB) (string, error) {
	var number int
	var name string
	var path sql.NullString
	err := db.QueryRowContext(ctx, "PRAGMA database_list").Scan(&number, &name, &path)
	if err != nil {
		return "", fmt.Errorf("%w: the database does not answer as one of SQLite does: %w", backend.ErrRejected, err)
	}
	return path.String, nil
}

// connector opens connections by a driver, and sets them up.
type connector struct {
	driver  driver.Driver
	name    string
	pragmas []string
}

func (c connector) Driver() driver.Driver { return c.driver }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.name)
	if err != nil {
		return nil, err
	}
	for _, p := range c.pragmas {
		if err := pragma(ctx, conn, p); err != nil {
			return nil, errors.Join(fmt.Errorf("PRAGMA %s: %w", p, err), conn.Close())
		}
	}
	return conn, nil
}

func pragma(ctx context.Context, conn driver.Conn, text string) error {
	text = "PRAGMA " + text
	if x, ok := conn.(driver.ExecerContext); ok {
		_, err := x.ExecContext(ctx, text, nil)
		return err
	}
	return fmt.Errorf("%w: the driver %T is too old: its connections are no driver.ExecerContext", backend.ErrRejected, conn)
}

func (f *file) openPool(pragmas ...string) *sql.DB {
	name := ":memory:"
	if f.path != "" {
		path := filepath.ToSlash(f.path)
		if runtime.GOOS == "windows" {
			path = "/" + path
		}
		name = "file:" + (&url.URL{Path: path}).EscapedPath()
	}
	return sql.OpenDB(connector{f.driver, name, pragmas})
}

// connect makes the connection of the writer.
func (f *file) connect(ctx context.Context) error {
	inner, err := f.pool.Conn(ctx)
	if err != nil {
		return err
	}
	c := newConnection(inner)
	if err := f.prepare(c); err != nil {
		c.close()
		return err
	}
	f.conn = c
	return nil
}

// prepare sets up a connection of the writer.
func (f *file) prepare(c *connection) error {
	if f.path == "" {
		return nil
	}
	// The writer waits for the lock in its own way.
	pragmas := []string{"busy_timeout = 0", "temp_store = MEMORY", "cache_size = -32768", "journal_size_limit = 67108864", "wal_autocheckpoint = 0"}
	if f.config.Relaxed {
		pragmas = append(pragmas, "synchronous = NORMAL")
	} else {
		pragmas = append(pragmas, "synchronous = FULL")
	}
	if f.own {
		pragmas = append(pragmas, "auto_vacuum = INCREMENTAL", "journal_mode = WAL")
	}
	for _, p := range pragmas {
		err := patiently(f.config.BusyTimeout, nil, func() error { return c.pragma(p) })
		if err != nil {
			return fmt.Errorf("PRAGMA %s: %w", p, err)
		}
	}
	return nil
}

// readers opens a pool of connections that do not write.
func (f *file) readers() *sql.DB {
	pool := f.openPool(fmt.Sprintf("busy_timeout = %d", f.config.BusyTimeout.Milliseconds()), "query_only = 1")
	pool.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	pool.SetMaxIdleConns(2)
	return pool
}

// check says whether the path still leads to the file that was opened. What is
// written to a file without a name is lost with the last process that has it open.
func (f *file) check() error {
	if f.path == "" {
		return nil
	}
	now, err := os.Stat(f.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: the file %s was moved or deleted while it was open; put it back, or start this program anew", backend.ErrUnavailable, f.path)
	case err != nil:
		return err
	case !os.SameFile(f.opened, now):
		return fmt.Errorf("%w: the file %s was replaced by another one while it was open; start this program anew", backend.ErrUnavailable, f.path)
	}
	return nil
}

func (f *file) close() {
	if f.conn != nil {
		f.conn.close()
	}
	if f.pool != nil {
		_ = f.pool.Close()
	}
}

// watched is the file that changes with each commit.
func (f *file) watched() string {
	if wal := f.real + "-wal"; exists(wal) {
		return wal
	}
	return f.real
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
