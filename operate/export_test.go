package operate

import (
	"log/slog"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// NewHastyOperations is NewOperations with less patience.
func NewHastyOperations(client *jobs.Client, changed func()) *Operations {
	return newOperations(client, slog.New(slog.DiscardHandler), changed, timing{50 * time.Millisecond, time.Second, 0})
}
