//go:build !linux

package sqlite

// steadyClock has no clock to read here that is one for all processes.
func steadyClock() (boot string, at int64) { return "", 0 }
