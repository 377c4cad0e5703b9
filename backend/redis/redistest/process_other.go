//go:build !linux

package redistest

import "syscall"

// dieWithParent does nothing: only Linux can.
func dieWithParent() *syscall.SysProcAttr { return nil }
