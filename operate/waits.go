package operate

import (
	"fmt"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// WaitsFor says in words what a blocked job waits for.
func WaitsFor(key string) string {
	if kind, ok := jobs.KindOfBlockKey(key); ok {
		return fmt.Sprintf("a worker that knows the kind %s", kind)
	}
	if class, instance, ok := backend.PairOf(key); ok {
		if instance == "" {
			return "room in the limit " + class
		}
		return fmt.Sprintf("room in the limit %s for %s", class, instance)
	}
	return key
}
