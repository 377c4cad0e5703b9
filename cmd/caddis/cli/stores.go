package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// checkStore says why a store that could be opened is not the one that is meant. create
// says that a file which is not there is to be made.
func checkStore(storeURL string, create bool) error {
	scheme, rest, found := strings.Cut(storeURL, ":")
	if err := meant(storeURL, scheme, found); err != nil {
		return err
	}
	switch scheme {
	case "memory":
		return wrongUse("the store memory: lives in the one process that made it, where no other can reach it; give the URL of one in a file (sqlite:) or of Redis (redis:)")
	case "sqlite":
		path, err := filePath(rest)
		if err != nil {
			return nil // the store says it better
		}
		if path == "" || path == ":memory:" {
			return wrongUse("the store sqlite: without a file lives in the one process that made it; give a file, such as sqlite:jobs.db")
		}
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !create:
			return fmt.Errorf("there is no file %s: %w; the first worker or enqueue makes it", path, backend.ErrNotFound)
		case err == nil && info.IsDir():
			return wrongUse("%s is a folder; give a file in it", path)
		}
	}
	return nil
}

// address is the host and port of a server without a scheme, file what a path ends with, be
// it one of Windows.
var (
	address = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}(/[0-9]*)?$`)
	file    = regexp.MustCompile(`^([A-Za-z]:)?[^:@?]*([/\\][^:@?]*|\.(db|sqlite3?))$`)
)

// meant says of what is no URL of a store, or of a scheme that nobody knows, which may be meant.
func meant(storeURL, scheme string, found bool) error {
	var known []string
	for _, name := range backend.Schemes() {
		if name != "memory" {
			known = append(known, name)
		}
	}
	switch {
	case scheme == "memory", slices.Contains(known, scheme):
	case address.MatchString(storeURL):
		return wrongUse("%q is no URL; did you mean redis://%s?", storeURL, storeURL)
	case file.MatchString(storeURL) && (!found || len(scheme) == 1):
		return wrongUse("%q is no URL; did you mean sqlite:%s?", storeURL, storeURL)
	case !found:
		return wrongUse("%q is no URL; give one such as sqlite:jobs.db or redis://localhost:6379", storeURL)
	case !slices.Contains([]string{"sqlite", "redis", "rediss", "redis+sentinel", "redis+cluster"}, scheme):
		return wrongUse("there is no store of the scheme %q; %s", scheme, instead(scheme, known))
	}
	return nil
}

// filePath is the file that a sqlite: URL names.
func filePath(rest string) (string, error) {
	rest, _, _ = strings.Cut(rest, "?")
	return url.PathUnescape(strings.TrimPrefix(rest, "//"))
}

// shown is a store's URL without what is secret in it: the user, the password and the
// parameters.
func shown(storeURL string) string {
	scheme, rest, slashes := strings.Cut(storeURL, "://")
	at, query := strings.LastIndexByte(rest, '@'), strings.IndexByte(rest, '?')
	switch {
	case !slashes:
		storeURL, _, _ = strings.Cut(storeURL, "?")
		return storeURL
	case at > query && query >= 0:
		return scheme + "://…" // what of it is the password is not known
	case query >= 0:
		rest = rest[:query]
	}
	return scheme + "://" + rest[at+1:]
}
