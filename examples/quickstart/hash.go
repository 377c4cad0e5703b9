package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
)

// buffers are used again: a fresh one per file would be most of the memory.
var buffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

var errNotRegular = errors.New("it is not a regular file any more")

// hashFile reads a file piece by piece, so that the end of ctx interrupts it, and
// calls read with the length of each piece.
func hashFile(ctx context.Context, path string, read func(n int)) (Sum, error) {
	// What has become a symbolic link or a pipe since the scan is not read; a
	// pipe would block even the opening.
	info, err := os.Lstat(path)
	if err != nil {
		return Sum{}, reason(err)
	}
	if !info.Mode().IsRegular() {
		return Sum{}, errNotRegular
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Sum{}, reason(err)
	}
	defer file.Close()

	buffer := buffers.Get().(*[256 << 10]byte)
	defer buffers.Put(buffer)
	hash, size := sha256.New(), int64(0)
	for {
		if ctx.Err() != nil {
			return Sum{}, context.Cause(ctx)
		}
		n, err := file.Read(buffer[:])
		hash.Write(buffer[:n])
		size += int64(n)
		read(n)
		if err == io.EOF {
			return Sum{Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
		}
		if err != nil {
			return Sum{}, reason(err)
		}
	}
}

// notEOF is nil for the error that means the end of a file.
func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
