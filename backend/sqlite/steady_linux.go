package sqlite

import (
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

var bootID = sync.OnceValue(func() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
})

// steadyClock reads the machine's clock that is never set and goes on while the
// machine sleeps, in milliseconds, and what tells the machine's starts apart. That is
// empty where there is no such clock.
func steadyClock() (boot string, at int64) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return "", 0
	}
	return bootID(), t.Nano() / 1e6
}
