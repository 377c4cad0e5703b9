package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// consumption is what this process has used so far.
type consumption struct {
	cpu time.Duration
	// allocations are pieces of memory, allocated is their size in bytes.
	allocations, allocated uint64
}

func consumed() (consumption, error) {
	cpu, err := cpuTime()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return consumption{cpu: cpu, allocations: m.Mallocs, allocated: m.TotalAlloc}, err
}

// cpuTime is what this process has used so far, by the kernel's account.
func cpuTime() (time.Duration, error) {
	var r syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), err
}

// resident is the memory of this process in bytes: what it has of real memory
// where the system tells, and what Go has taken otherwise.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
		if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			return pages * int64(os.Getpagesize())
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}
