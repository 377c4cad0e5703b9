//go:build !unix

package redis

// tryRead is not to be had here.
var tryRead func(fd uintptr, p []byte) (n int, again bool)
