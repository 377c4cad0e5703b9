//go:build unix

package process

import (
	"os"
	"syscall"
)

var (
	stopSignals           = []os.Signal{syscall.SIGTERM, os.Interrupt}
	quietSignal os.Signal = syscall.SIGTSTP
)
