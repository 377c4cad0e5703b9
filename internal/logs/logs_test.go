package logs_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/internal/logs"
)

// brittle is a handler that panics wherever it is told to.
type brittle struct {
	where   string
	handled *[]string
}

func (h brittle) at(place string) {
	if h.where == place {
		panic("boom")
	}
}

func (h brittle) Enabled(context.Context, slog.Level) bool { h.at("enabled"); return true }
func (h brittle) WithAttrs([]slog.Attr) slog.Handler       { h.at("attrs"); return h }
func (h brittle) WithGroup(string) slog.Handler            { h.at("group"); return h }
func (h brittle) Handle(_ context.Context, r slog.Record) error {
	h.at("handle")
	*h.handled = append(*h.handled, r.Message)
	return nil
}

func TestALoggerDropsWhatItsHandlerPanicsOnAndGoesOn(t *testing.T) {
	t.Parallel()
	for where, handled := range map[string][]string{
		"nowhere": {"plain", "with", "within"}, "attrs": {"plain", "with", "within"}, "group": {"plain", "with", "within"},
		"enabled": nil, "handle": nil,
	} {
		var got []string
		log := logs.Guard(slog.New(brittle{where, &got}))
		log.Info("plain")
		log.With("a", 1).Info("with")
		log.WithGroup("g").Info("within")
		require.Equal(t, handled, got, where)
	}
}
