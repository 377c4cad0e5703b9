package dashboard_test

import (
	"bytes"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/memory"
	_ "github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	_ "github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

type Welcome struct {
	UserID int64  `json:"user_id"`
	Secret string `json:"secret,omitempty"`
}

func (Welcome) Kind() string { return "welcome" }

type Report struct {
	Of string `json:"of"`
}

func (Report) Kind() string { return "report" }

// logged keeps what was logged, by whatever goroutine.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// site is a dashboard on a store, and who looks at it.
type site struct {
	t      testing.TB
	store  backend.Backend
	client *jobs.Client
	board  *dashboard.Dashboard
	log    *logged
	calls  uint64
	// change makes requests different.
	change func(*http.Request)
}

func newSite(t testing.TB, url string, config dashboard.Config) *site {
	store, err := backend.Open(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return onStore(t, store, config)
}

func onStore(t testing.TB, store backend.Backend, config dashboard.Config) *site {
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	return onClient(t, store, client, config)
}

func onClient(t testing.TB, store backend.Backend, client *jobs.Client, config dashboard.Config) *site {
	s := &site{t: t, store: store, client: client, log: &logged{}}
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	}
	var err error
	s.board, err = dashboard.New(client, config)
	require.NoError(t, err)
	t.Cleanup(s.board.Close)
	return s
}

// onStores runs a test on each store.
func onStores(t *testing.T, config dashboard.Config, test func(t *testing.T, s *site)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) { t.Parallel(); test(t, newSite(t, "memory:", config)) })
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, newSite(t, "sqlite:"+filepath.Join(t.TempDir(), "jobs.db"), config))
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, newSite(t, "redis://"+redistest.Start(t, redistest.Options{}).Addr, config))
	})
}

// as is the same site for other requests.
func (s *site) as(change func(*http.Request)) *site {
	other := *s
	other.change = change
	return &other
}

// do asks for something, as somebody on the same machine does.
func (s *site) do(r *http.Request) *httptest.ResponseRecorder {
	s.t.Helper()
	r.RemoteAddr, r.Host = "127.0.0.1:40000", "localhost:8280"
	if s.change != nil {
		s.change(r)
	}
	w := httptest.NewRecorder()
	s.board.ServeHTTP(w, r)
	return w
}

func (s *site) get(path string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do(httptest.NewRequest(http.MethodGet, "/"+path, nil))
}

// page is the text of a page, which has to be there.
func (s *site) page(path string) string {
	s.t.Helper()
	w := s.get(path)
	require.Equal(s.t, http.StatusOK, w.Code, "%s: %s", path, w.Body)
	return w.Body.String()
}

// text is what is read on a page.
func (s *site) text(path string) string {
	s.t.Helper()
	return textOf(s.page(path))
}

func textOf(page string) string {
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")
	return strings.Join(strings.Fields(html.UnescapeString(text)), " ")
}

var tokenField = regexp.MustCompile(`name="token" value="([^"]+)"`)

// token is that of the pages.
func (s *site) token() string {
	s.t.Helper()
	for _, path := range []string{"jobs?state=waiting", "jobs?state=dead", "queue?name=mail"} {
		if found := tokenField.FindStringSubmatch(s.get(path).Body.String()); found != nil {
			return found[1]
		}
	}
	s.t.Fatal("no page has a token")
	return ""
}

// post sends a form, given as names and values.
func (s *site) post(path string, pairs ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.send(path, append(pairs, "token", s.token())...)
}

// send is post without a token.
func (s *site) send(path string, pairs ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return s.do(r)
}

// act sends a form, follows to the next page, and answers what that says was done.
func (s *site) act(path string, pairs ...string) string {
	s.t.Helper()
	w := s.post(path, pairs...)
	require.Equal(s.t, http.StatusSeeOther, w.Code, w.Body)
	to := w.Header().Get("Location")
	require.NotContains(s.t, to, "://")
	found := regexp.MustCompile(`(?s)<p class="notice[^"]*" role="status">(.*?)</p>`).FindStringSubmatch(s.page(strings.TrimPrefix(to, ".")))
	if found == nil {
		return ""
	}
	return html.UnescapeString(found[1])
}

// fill puts a job of each state, a worker and a schedule into the store.
func (s *site) fill() {
	s.t.Helper()
	s.enqueue(Welcome{UserID: 1}, jobs.ID("completed-1"))
	s.settle(s.lease(), backend.Settlement{Outcome: backend.OutcomeCompleted, Keep: time.Hour, History: &backend.History{
		Attempts: 1, Worker: "w-1", StartedAt: time.Now(), FinishedAt: time.Now(), Result: []byte(`{"mail":7}`),
	}})
	s.enqueue(Welcome{UserID: 2, Secret: "hunter2"}, jobs.ID("dead-1"), jobs.MaxAttempts(2), jobs.Tags("vip", "eu"), jobs.Header("trace", "abc"))
	s.die("no such user", "main.crash(0x1)\n\tmain.go:7")
	s.enqueue(Report{Of: "stock"}, jobs.ID("blocked-1"))
	s.settle(s.lease(), backend.Settlement{Outcome: backend.OutcomeBlocked, Key: jobs.BlockKey("report")})
	s.enqueue(Welcome{UserID: 3}, jobs.ID("running-1"))
	s.lease()
	s.enqueue(Welcome{UserID: 4}, jobs.ID("cancelled-1"))
	_, err := s.client.Cancel(s.t.Context(), "mail", "cancelled-1")
	require.NoError(s.t, err)
	s.enqueue(Welcome{UserID: 5}, jobs.ID("waiting-1"), jobs.Tags("vip"))
	s.enqueue(Report{Of: "orders"}, jobs.ID("scheduled-1"), jobs.In(3*time.Hour))
	s.announce("running")
	_, err = s.client.PutSchedule(s.t.Context(), "nightly", jobs.Cron("30 2 * * *", "Europe/Berlin"), Report{Of: "nights"}, jobs.Queue("mail"))
	require.NoError(s.t, err)
}

func (s *site) announce(state string) {
	s.t.Helper()
	_, err := s.store.Announce(s.t.Context(), backend.WorkerInfo{
		ID: "w-1", Host: "host-a", PID: 77, Queues: []string{"mail"}, Kinds: []string{"welcome"},
		Concurrency: 10, Running: 1, State: state, StartedAt: time.Now(),
	}, time.Hour)
	require.NoError(s.t, err)
}

func (s *site) enqueue(args jobs.Args, options ...jobs.EnqueueOption) {
	s.t.Helper()
	_, err := s.client.Enqueue(s.t.Context(), args, append([]jobs.EnqueueOption{jobs.Queue("mail")}, options...)...)
	require.NoError(s.t, err)
}

// lease takes the one job that waits in the queue mail.
func (s *site) lease() *backend.Lease {
	s.t.Helper()
	s.calls++
	reply, err := s.store.Lease(s.t.Context(), backend.LeaseRequest{
		Worker: "w-1", Token: fmt.Sprintf("w-1.%d", s.calls), Queues: []string{"mail"}, Max: 1, Duration: time.Hour,
	})
	require.NoError(s.t, err)
	require.Len(s.t, reply.Leases, 1)
	return &reply.Leases[0]
}

func (s *site) settle(lease *backend.Lease, settlement backend.Settlement) {
	s.t.Helper()
	settlement.Queue, settlement.ID, settlement.Token = lease.Job.Queue, lease.Job.ID, lease.Token
	results, err := s.store.Settle(s.t.Context(), backend.SettleRequest{Worker: "w-1", Call: s.calls, Settlements: []backend.Settlement{settlement}})
	require.NoError(s.t, err)
	require.NoError(s.t, results[0].Err)
}

// die makes the one job that waits dead.
func (s *site) die(text, stack string) {
	s.t.Helper()
	s.settle(s.lease(), backend.Settlement{Outcome: backend.OutcomeDead, History: &backend.History{
		Attempts: 2, AttemptLimit: 2, Worker: "w-1", StartedAt: time.Now(), FinishedAt: time.Now(),
		Failures: []backend.Failure{{Attempt: 1, At: time.Now(), Worker: "w-1", Error: "the server is busy"}, {Attempt: 2, At: time.Now(), Worker: "w-1", Error: text, Stack: stack}},
	}})
}

func (s *site) state(id string) backend.State {
	s.t.Helper()
	job, err := s.client.Job(s.t.Context(), "mail", id)
	require.NoError(s.t, err)
	return job.State
}

// summedUp is a page of errors on which all jobs were looked at.
func (s *site) summedUp(path string) (page string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		page = s.page(path)
		return strings.Contains(page, `data-every="5"`)
	}, 20*time.Second, 10*time.Millisecond)
	return page
}
