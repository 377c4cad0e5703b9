package actors_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func TestPanicsAndDeathsAreInTheLogWithWhatItTakesToFindThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log journal
		r := newStore(t)
		_, err := r.store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{
			ID: "poison", Queue: jobs.DefaultQueue, Kind: "task", Payload: []byte("{secret"),
		}}})
		require.NoError(t, err)
		_, err = r.client.Enqueue(t.Context(), task{N: 1, Padding: "secret"}, jobs.ID("panics"))
		require.NoError(t, err)
		r.start(func(_ context.Context, job *jobs.Job[task]) error { panic(job.Args) }, log.config)
		pause(500 * time.Millisecond)

		line := strings.Join(log.about("a job panicked"), "")
		for _, part := range []string{"level=ERROR", "kind=task", "id=panics", "queue=default", "attempt=1", "outcome=retry", "news_test.go:"} {
			require.Contains(t, line, part)
		}
		line = strings.Join(log.about("a job is dead"), "")
		for _, part := range []string{"level=WARN", "kind=task", "id=poison", "queue=default", "attempt=1", "outcome=dead", "cannot decode"} {
			require.Contains(t, line, part)
		}
		require.Empty(t, log.about("secret"))
	})
}

func TestAThousandDeathsAreFewLines(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var log journal
		r := newStore(t)
		r.enqueue(1500)
		r.start(func(context.Context, *jobs.Job[task]) error {
			<-time.After(10 * time.Millisecond)
			return jobs.Discard(nil)
		}, log.config)
		pause(2 * time.Second)
		require.EqualValues(t, 1500, r.counts()[backend.StateDead])
		require.Len(t, log.about("a job is dead"), 2)
		require.Contains(t, log.about("a job is dead")[1], "left_out=")
	})
}
