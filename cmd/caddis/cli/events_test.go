package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// following is a call of events --follow.
type following struct {
	lines *bufio.Scanner
	stop  func() (code int)
}

func follow(t *testing.T, url string, args ...string) *following {
	f := &following{}
	program := newTool(jobs.NewRegistry())
	out, in := io.Pipe()
	program.stdout = in
	program.getenv = func(name string) string { return map[string]string{StoreVariable: url}[name] }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	code := make(chan int, 1)
	go func() {
		code <- program.run(ctx, append([]string{"events", "--follow"}, args...))
		_ = in.Close()
	}()
	f.lines = bufio.NewScanner(out)
	f.stop = func() int {
		cancel()
		_ = out.Close()
		return <-code
	}
	return f
}

// next is the next line.
func (f *following) next(t *testing.T) string {
	t.Helper()
	require.True(t, f.lines.Scan(), "no more lines")
	return steady(f.lines.Text())
}

func TestEventsAreFollowedAlsoInQueuesThatAppear(t *testing.T) {
	onStores(t, func(t *testing.T, url string) {
		fleet := newFleet(t, url)
		f := follow(t, url, "--limit", "2")
		require.Equal(t, "INSTANT  left-out  mail  7 events", f.next(t))
		require.Equal(t, "INSTANT  recovered  3 jobs, by w-1", f.next(t))
		fleet.record(backend.Event{Type: jobs.EventCompleted, At: time.Now(), Queue: "mail", ID: "a", Kind: "welcome", Attempt: 1, Took: 1500})
		require.Equal(t, "INSTANT  completed  mail  welcome  a  1  TIME", f.next(t))
		_, err := fleet.store.Enqueue(t.Context(), []backend.NewJob{{Job: backend.Job{ID: "b", Queue: "fresh", Kind: "welcome"}}})
		require.NoError(t, err)
		fleet.record(backend.Event{Type: jobs.EventRetried, At: time.Now(), Queue: "fresh", ID: "b", Error: "of others: \x1b[2J"})
		require.Equal(t, `INSTANT  retried  fresh  b  of others: \u001b[2J`, f.next(t))
		require.NotZero(t, f.stop(), "it was interrupted")
	})
}

func TestOfEventsThatWereForgottenBeforeTheyWereReadOneIsTold(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	fleet := newFleet(t, url)
	f := follow(t, url, "-o", "jsonl", "--limit", "1", "--queue", "mail", "--event", "left-out,died")
	require.Contains(t, f.next(t), `"type":"left-out"`)
	for i := range 4 {
		events := make([]backend.Event, backend.MaxRecordEvents)
		for j := range events {
			events[j] = backend.Event{Type: jobs.EventStarted, Queue: "mail", ID: fmt.Sprint(i, ".", j), At: time.Now()}
		}
		events[len(events)-1].Type = jobs.EventDied
		fleet.record(events...)
	}
	died, told := 0, false
	for last := false; !last; {
		line := f.next(t)
		last = strings.Contains(line, `"id":"3.999"`)
		if strings.Contains(line, `"died"`) {
			died++
		} else {
			told = true
		}
	}
	require.True(t, told || died == 4, "%d of 4 deaths, and no word", died)
	f.stop()
}
