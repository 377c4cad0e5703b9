package backend

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// An Opener makes a backend from a URL, which it parses itself: the URL of a
// cluster names several hosts and is none by RFC 3986. Its errors must not
// repeat the URL's password.
type Opener func(rawURL string) (Backend, error)

var (
	openersMu sync.RWMutex
	openers   = map[string]Opener{}
)

// Register makes a scheme known to [Open]. Backends call it when their package
// is imported; a scheme that is registered twice panics.
func Register(scheme string, open Opener) {
	openersMu.Lock()
	defer openersMu.Unlock()
	if _, taken := openers[scheme]; taken {
		panic("backend: scheme " + scheme + " is registered twice")
	}
	openers[scheme] = open
}

// Open chooses a backend by the scheme of a URL and opens it. The package of the
// backend must be imported, if only for its effect:
//
//	import _ "github.com/caddis-go/caddis/backend/redis"
//
// It knows, with these packages,
//
//	memory:                                    backend/memory
//	sqlite:/var/lib/app/jobs.db                backend/sqlite
//	redis://user:password@host:6379/0          backend/redis
//	rediss://…                                 the same over TLS
//	redis+sentinel://host:26379,host/master/0  found through Sentinel
//	redis+cluster://host:6379,host:6379        Redis Cluster
//
// Open checks the URL and does not connect; [Backend.Check] does.
func Open(rawURL string) (Backend, error) {
	scheme, _, ok := strings.Cut(rawURL, ":")
	if !ok {
		return nil, fmt.Errorf("backend: %q is no URL; give one such as memory: or redis://localhost:6379", rawURL)
	}
	openersMu.RLock()
	open, known := openers[scheme]
	schemes := slices.Sorted(maps.Keys(openers))
	openersMu.RUnlock()
	if !known {
		return nil, unknownScheme(scheme, schemes)
	}
	b, err := open(rawURL)
	if err != nil {
		return nil, fmt.Errorf("backend: the %s URL cannot be used: %w", scheme, err)
	}
	return b, nil
}

// Schemes are those that Open knows in this program.
func Schemes() []string {
	openersMu.RLock()
	defer openersMu.RUnlock()
	return slices.Sorted(maps.Keys(openers))
}

// packages says which package makes a scheme known.
var packages = map[string]string{
	"memory": "memory", "sqlite": "sqlite",
	"redis": "redis", "rediss": "redis", "redis+sentinel": "redis", "redis+cluster": "redis",
}

func unknownScheme(scheme string, known []string) error {
	if name, ours := packages[scheme]; ours {
		return fmt.Errorf("backend: the scheme %q is not known to this program; add import _ %q",
			scheme, "github.com/caddis-go/caddis/backend/"+name)
	}
	if len(known) == 0 {
		return fmt.Errorf("backend: no scheme is known to this program, so not %q either; import the package of a store, "+
			`such as _ "github.com/caddis-go/caddis/backend/redis"`, scheme)
	}
	return fmt.Errorf("backend: there is no backend for the scheme %q; known to this program are %s",
		scheme, strings.Join(known, ", "))
}
