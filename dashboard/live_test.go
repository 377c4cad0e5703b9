package dashboard_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
)

func TestAThousandStreamsDoNoHarm(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{MaxStreams: 200})
	s.fill()
	server := httptest.NewServer(http.StripPrefix("/jobs", s.board))
	defer server.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	client := server.Client()
	var opened, refused int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/jobs/live", nil)
			require.NoError(t, err)
			answer, err := client.Do(r)
			require.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			switch answer.StatusCode {
			case http.StatusOK:
				opened++ // and nothing of it is read
				t.Cleanup(func() { _ = answer.Body.Close() })
			case http.StatusServiceUnavailable:
				refused++
				require.Equal(t, "30", answer.Header.Get("Retry-After"))
				require.NoError(t, answer.Body.Close())
			}
		})
	}
	all.Wait()
	require.Equal(t, 200, opened)
	require.Equal(t, 800, refused)
	answer, err := client.Get(server.URL + "/jobs/queues")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode, "pages are served all the same")
	require.NoError(t, answer.Body.Close())
	hangUp()
	require.Eventually(t, func() bool {
		answer, err := client.Get(server.URL + "/jobs/live")
		require.NoError(t, err)
		defer func() { _ = answer.Body.Close() }()
		return answer.StatusCode == http.StatusOK
	}, 20*time.Second, 10*time.Millisecond, "those that hung up have made room")
	s.board.Close()
}

func TestAStreamTellsChangesAndSignsOfLifeAndEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "memory:", dashboard.Config{})
		s.fill()
		r, w := io.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			request := httptest.NewRequest(http.MethodGet, "/live", nil)
			request.RemoteAddr, request.Host = "127.0.0.1:40000", "localhost"
			s.board.ServeHTTP(&pipe{w, http.Header{}}, request)
			_ = w.Close()
		}()
		lines := make(chan string, 10_000)
		go func() {
			for scan := bufio.NewScanner(r); scan.Scan(); {
				if scan.Text() != "" {
					lines <- scan.Text()
				}
			}
			close(lines)
		}()
		next := func(want string) time.Duration {
			began := time.Now()
			for line := range lines {
				if line == want {
					return time.Since(began)
				}
			}
			t.Fatal("the stream has ended")
			return 0
		}
		require.Zero(t, next("retry: 3000"))
		next("event: beat")
		require.LessOrEqual(t, next("event: beat"), 2*time.Second)
		s.announce("draining")
		require.LessOrEqual(t, next("event: change"), 300*time.Millisecond, "a stop is seen as it happens")
		began := time.Now()
		<-ended
		require.InDelta(t, 5*time.Minute, time.Since(began), float64(5*time.Second), "then who listens has to come in again")
	})
}

// moody is a store with a fault.
type moody struct{ backend.Backend }

func (moody) Queues(context.Context) ([]backend.QueueInfo, error) { panic("a fault of the store") }

// explosive is a handler of logs with a fault.
type explosive struct{ slog.Handler }

func (explosive) Enabled(context.Context, slog.Level) bool { return true }

func (explosive) Handle(context.Context, slog.Record) error { panic("a fault of the log") }

func TestAFaultOfTheStoreOrTheLogEndsNoProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := newSite(t, "memory:", dashboard.Config{})
		memory.fill()
		s := onStore(t, moody{memory.store}, dashboard.Config{Logger: slog.New(explosive{})})
		require.Equal(t, http.StatusInternalServerError, s.get("queues").Code)
		require.Equal(t, http.StatusOK, s.get("live?worker=w-1").Code, "the page is live for its time")
	})
}

func TestAWorkerIsReadForOnePageHoweverOftenThatWasLoadedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := newSite(t, "memory:", dashboard.Config{})
		memory.fill()
		store := &counting{Backend: memory.store, calls: map[string]int{}}
		s := onStore(t, store, dashboard.Config{})
		open := func(span time.Duration) {
			ctx, leave := context.WithTimeout(t.Context(), span)
			defer leave()
			s.as(func(r *http.Request) { *r = *r.WithContext(ctx) }).get("live?worker=w-1")
		}
		for range 10 {
			open(130 * time.Millisecond)
			time.Sleep(20 * time.Millisecond)
		}
		store.taken()
		open(10 * time.Second)
		require.InDelta(t, 100, store.reads("Memo"), 20, "ten times a second")
	})
}

// pipe is an answer that is read while it is written.
type pipe struct {
	io.Writer
	header http.Header
}

func (p *pipe) Header() http.Header { return p.header }
func (p *pipe) WriteHeader(int)     {}
func (p *pipe) Flush()              {}

// deadlines is an answer that notes how long its reader and writer may take.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write time.Time
	err         error
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	if !at.IsZero() {
		d.read = at
	}
	return nil
}
func (d *deadlines) SetWriteDeadline(at time.Time) error { d.write = at; return nil }
func (d *deadlines) Write(data []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	return d.ResponseRecorder.Write(data)
}

func TestSlowClientsAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "memory:", dashboard.Config{})
		s.fill()
		ask := func(method, path string, err error) *deadlines {
			r := httptest.NewRequest(method, path, strings.NewReader("token=x"))
			r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost"
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := &deadlines{ResponseRecorder: httptest.NewRecorder(), err: err}
			s.board.ServeHTTP(w, r)
			return w
		}
		require.Equal(t, 10*time.Second, time.Until(ask(http.MethodPost, "/act", nil).read), "for a body")
		require.Equal(t, 30*time.Second, time.Until(ask(http.MethodGet, "/jobs", nil).write), "for a page")
		w := ask(http.MethodGet, "/live", errors.New("i/o timeout"))
		require.Equal(t, 10*time.Second, time.Until(w.write), "for what a stream tells; who takes nothing is hung up on")
	})
}
