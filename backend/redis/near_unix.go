//go:build unix

package redis

import "syscall"

// tryRead reads what is there. again is true if there was nothing yet.
var tryRead = func(fd uintptr, p []byte) (n int, again bool) {
	n, err := syscall.Read(int(fd), p)
	return n, err == syscall.EAGAIN || err == syscall.EINTR
}
