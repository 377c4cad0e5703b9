//go:build unix && !linux

package lab

import "os/exec"

func endWithParent(*exec.Cmd) {}
