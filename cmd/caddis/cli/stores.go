package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// checkStore says why a store that could be opened is not the one that is meant. create
// says that a file which is not there is to be made.
func checkStore(storeURL string, create bool) error {
	scheme, rest, _ := strings.Cut(storeURL, ":")
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
