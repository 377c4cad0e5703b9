package cli

import (
	"runtime"
	"runtime/debug"
)

const (
	modulePath  = "github.com/caddis-go/caddis"
	unversioned = "(devel)"
)

// version tells the version of the program, of Caddis in it, and of Go.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unversioned
	}
	return describe(info)
}

func describe(info *debug.BuildInfo) string {
	program := info.Main.Version
	if program == "" {
		program = unversioned
	}
	caddis := unversioned
	for _, module := range info.Deps {
		if module.Path == modulePath && module.Replace == nil {
			caddis = module.Version
		}
	}
	return program + ", with Caddis " + caddis + " and " + runtime.Version()
}
