package sqlite

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
)

func init() {
	backend.Register("sqlite", func(rawURL string) (backend.Backend, error) { return Open(rawURL) })
}

// Open makes a store in a file of its own, which is made if it is not there:
//
//	sqlite:jobs.db                  in the working folder
//	sqlite:/var/lib/app/jobs.db     anywhere
//	sqlite:                         in memory, for tests
//
// Parameters, after a question mark: relaxed (true) and busy_timeout, such as 2s; see
// Config. A file whose name has a question mark or a percent sign in it is written
// with %3F and %25. Open does no I/O; the file is opened by the first call.
func Open(rawURL string) (*Backend, error) {
	path, config, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	return newBackend(source{path: path}, config)
}

func parse(rawURL string) (path string, config Config, err error) {
	wrong := func(format string, args ...any) (string, Config, error) {
		return "", Config{}, reject(format+"; write sqlite:jobs.db or sqlite:/var/lib/app/jobs.db?relaxed=true", args...)
	}
	rest, ok := strings.CutPrefix(rawURL, "sqlite:")
	if !ok {
		return wrong("%q does not begin with sqlite:", rawURL)
	}
	rest, query, _ := strings.Cut(rest, "?")
	// sqlite:///var/lib/app/jobs.db means what sqlite:/var/lib/app/jobs.db does.
	if after, two := strings.CutPrefix(rest, "//"); two {
		if after != "" && after[0] != '/' {
			return wrong("%q names a host, and there is none", rawURL)
		}
		rest = after
	}
	if path, err = url.PathUnescape(rest); err != nil {
		return wrong("the path %q cannot be read: %v", rest, err)
	}
	if strings.ContainsRune(path, 0) {
		return wrong("the path %q has a NUL byte", path)
	}
	if path == ":memory:" {
		path = ""
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return wrong("the parameters %q cannot be read: %v", query, err)
	}
	for name, all := range values {
		value := strings.Join(all, ",")
		switch name {
		case "relaxed":
			if config.Relaxed, err = strconv.ParseBool(value); err != nil {
				return wrong("relaxed=%s is neither true nor false", value)
			}
		case "busy_timeout":
			if config.BusyTimeout, err = time.ParseDuration(value); err != nil || config.BusyTimeout <= 0 {
				return wrong("busy_timeout=%s is no positive time such as 2s", value)
			}
		default:
			return wrong("there is no parameter %q, only relaxed and busy_timeout", name)
		}
	}
	return path, config, nil
}
