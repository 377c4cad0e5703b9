package main

import (
	"syscall"
	"time"
)

// pause sleeps by the kernel's own timer. That of the Go runtime is a
// millisecond coarse when the process is idle, which is as much as the delays
// that it is needed for.
func pause(d time.Duration) {
	for d > 0 {
		span := syscall.NsecToTimespec(int64(d))
		var left syscall.Timespec
		if err := syscall.Nanosleep(&span, &left); err != syscall.EINTR {
			return
		}
		d = time.Duration(left.Nano())
	}
}
