package actors

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestACallThatIsNotMadeAgainDoesNotCountAsFailingForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		log := slog.New(slog.NewTextHandler(&said, nil))
		var o outage
		o.note(log, "tell stacks", errors.New("slow once"))
		o.note(log, "lease", errors.New("slow too"))
		o.over(log, "lease")
		require.NotEmpty(t, o.text(), "what failed just now may be repeated in a moment")

		time.Sleep(stale / 2)
		o.note(log, "announce", errors.New("away"))
		time.Sleep(stale/2 + time.Second)
		o.over(log, "lease")
		require.NotEmpty(t, o.text(), "another call fails still")
		o.over(log, "announce")
		require.Empty(t, o.text())
		require.Contains(t, said.String(), "answers again")

		o.note(log, "lease", errors.New("away once more"))
		require.Equal(t, 2, strings.Count(said.String(), "level=WARN"))
	})
}
