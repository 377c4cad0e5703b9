package sqlite

import (
	"context"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// Check implements backend.Backend.
func (b *Backend) Check(ctx context.Context) ([]backend.Warning, error) {
	var warnings []backend.Warning
	warn := func(setting, problem, remedy string) {
		warnings = append(warnings, backend.Warning{Setting: setting, Problem: problem, Remedy: remedy})
	}
	// To take the lock of the writer shows that the file can be written.
	err := b.write(ctx, "check", "", 1, func(t *txn) error {
		warnings = nil
		if b.file.path == "" {
			return nil
		}
		var mode string
		if _, err := one(t, `PRAGMA journal_mode`, nil, &mode); err != nil {
			return err
		}
		if !strings.EqualFold(mode, "wal") {
			warn("journal_mode", "it is "+mode+": readers and the writer wait for each other, and each transaction takes longer", "set it to WAL, once: PRAGMA journal_mode = WAL")
		}
		return nil
	})
	if err != nil || b.file.path == "" {
		return nil, err
	}
	if b.config.Relaxed {
		warn("relaxed", "a crash of the machine loses what was accepted shortly before", "leave it out if no accepted job may be lost")
	}
	if name := networkFileSystem(b.file.path); name != "" {
		warn("file system", "the file is on "+name+", where the locks of several machines cannot be trusted and changes are not noticed at once", "keep it on a disk of this machine; for several machines take Redis")
	}
	return warnings, nil
}

// Version implements backend.Versioned.
func (b *Backend) Version(ctx context.Context) (string, error) {
	var version string
	err := b.read(ctx, "version", "", func(x executor) error {
		_, err := one(x, `SELECT sqlite_version()`, nil, &version)
		return err
	})
	return "SQLite " + version, err
}
