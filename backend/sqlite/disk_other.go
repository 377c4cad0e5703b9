//go:build !linux

package sqlite

// networkFileSystem cannot tell here.
func networkFileSystem(string) string { return "" }
