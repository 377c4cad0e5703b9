package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// folder resolves the -dir flag and makes sure that it can be read.
func folder(dir string) (root string, err error) {
	if root, err = filepath.Abs(dir); err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return "", fmt.Errorf("the folder %q cannot be used: %w", dir, reason(err))
	}
	d, err := os.Open(root)
	if err == nil {
		_, err = d.Readdirnames(1)
		err = errors.Join(notEOF(err), d.Close())
	}
	if err != nil {
		return "", fmt.Errorf("the folder %q cannot be read: %w", dir, reason(err))
	}
	return root, nil
}

// walk calls visit for each regular file below root, and with an error for each
// folder that cannot be read. Paths are relative to root. An error of visit ends
// the walk.
func walk(ctx context.Context, root string, visit func(path string, err error) error) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if path == root {
			return err
		}
		if err == nil && !entry.Type().IsRegular() {
			return nil
		}
		relative, ignored := filepath.Rel(root, path)
		if ignored != nil {
			return ignored
		}
		return visit(filepath.ToSlash(relative), err)
	})
}

// reason takes the path out of an error, which is told beside it.
func reason(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return fmt.Errorf("%s: %w", failed.Op, failed.Err)
	}
	return err
}
