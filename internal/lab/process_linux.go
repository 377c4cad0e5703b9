package lab

import (
	"os/exec"
	"syscall"
)

// endWithParent makes a process end with the one that started it.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
