package memory

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

func init() {
	backend.Register("memory", func(rawURL string) (backend.Backend, error) {
		config, err := parse(rawURL)
		if err != nil {
			return nil, err
		}
		return New(config)
	})
}

// parse reads memory:?max_jobs=N&max_bytes=N.
func parse(rawURL string) (Config, error) {
	var config Config
	reject := func(format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: %s; write memory: or memory:?max_jobs=100000&max_bytes=268435456",
			backend.ErrRejected, fmt.Sprintf(format, args...))
	}
	rest, query, _ := strings.Cut(strings.TrimPrefix(rawURL, "memory:"), "?")
	if rest != "" && rest != "//" {
		return reject("%q names a place, and memory has none", rawURL)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return reject("the parameters %q cannot be read: %v", query, err)
	}
	for name, value := range values {
		if name != "max_jobs" && name != "max_bytes" {
			return reject("there is no parameter %q, only max_jobs and max_bytes", name)
		}
		n, err := strconv.ParseInt(value[0], 10, strconv.IntSize)
		if err != nil || n < 0 || len(value) != 1 {
			return reject("%s=%s is not one whole number from 0 (no bound)", name, strings.Join(value, ","))
		}
		if name == "max_jobs" {
			config.MaxJobs = int(n)
		} else {
			config.MaxBytes = n
		}
	}
	return config, nil
}
