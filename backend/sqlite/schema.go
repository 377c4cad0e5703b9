package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

//go:embed schema/*.sql
var schemas embed.FS

// steps returns the migrations; the first one leads to version 1.
func steps() []string {
	names, err := fs.Glob(schemas, "schema/*.sql")
	if err != nil {
		panic(err)
	}
	all := make([]string, len(names))
	for _, name := range names {
		number, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, "schema/"), ".sql"))
		if err != nil || number < 1 || number > len(all) {
			panic("sqlite: " + name + " is no migration")
		}
		text, err := schemas.ReadFile(name)
		if err != nil {
			panic(err)
		}
		all[number-1] = string(text)
	}
	return all
}

// migrate brings the tables up to date. Processes that start at once do it one after
// the other.
func migrate(ctx context.Context, f *file) error {
	steps := steps()
	if version, err := f.version(); err == nil && version == len(steps) {
		return nil
	}
	if err := begin(f, ctx.Done()); err != nil {
		return err
	}
	err := f.conn.plain(`CREATE TABLE IF NOT EXISTS caddis_schema (version INTEGER NOT NULL)`)
	version := 0
	if err == nil {
		version, err = f.version()
	}
	switch {
	case err != nil:
	case version > len(steps):
		err = fmt.Errorf("%w: the tables in the file are of version %d, and this program knows them up to %d; use a newer program, or another file",
			backend.ErrRejected, version, len(steps))
	default:
		for ; version < len(steps) && err == nil; version++ {
			if err = f.conn.plain(steps[version]); err == nil {
				err = f.setVersion(version + 1)
			}
		}
	}
	if err != nil {
		_ = f.conn.plain("ROLLBACK")
		return err
	}
	return f.conn.plain("COMMIT")
}

// version is that of the tables; 0 if there are none.
func (f *file) version() (version int, err error) {
	_, err = one(f.conn, `SELECT version FROM caddis_schema`, nil, &version)
	return version, err
}

func (f *file) setVersion(version int) error {
	if _, err := f.conn.exec(`DELETE FROM caddis_schema`); err != nil {
		return err
	}
	_, err := f.conn.exec(`INSERT INTO caddis_schema VALUES (?)`, version)
	return err
}
