// Package examples_test compiles the Go code of the README and of the docs.
package examples_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	_ "github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/encrypt"
	"github.com/caddis-go/caddis/jobs/jobstest"
	"github.com/caddis-go/caddis/operate"

	goredis "github.com/redis/go-redis/v9"
)

type Welcome struct {
	UserID int64 `json:"user_id"`
}

func (Welcome) Kind() string { return "welcome" }

type welcomer struct{ welcomed chan int64 }

func (m *welcomer) Welcome(_ context.Context, user int64) error {
	m.welcomed <- user
	return nil
}

type Report struct {
	Of string `json:"of"`
}

func (Report) Kind() string { return "report" }

func schedule(registry *jobs.Registry) {
	jobs.Schedule(registry, "nightly", jobs.Cron("30 2 * * *", "Europe/Berlin"), Report{Of: "orders"})
	jobs.Schedule(registry, "refresh", jobs.Every(5*time.Minute), Report{Of: "stock"},
		jobs.Overlap(backend.OverlapSkip), jobs.CatchUpLast(), jobs.Jitter(30*time.Second))
}

func autoscaled(mux *http.ServeMux, client *jobs.Client) {
	mux.Handle("GET /demand", operate.DemandHandler(client, operate.Need{
		DrainWithin: 30 * time.Second, PerWorker: 20, Max: 50,
	}))
}

func newRegistry(mailer *welcomer) *jobs.Registry {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		return mailer.Welcome(ctx, job.Args.UserID)
	}, jobs.MaxAttempts(10), jobs.Timeout(30*time.Second))
	jobs.Handle(registry, func(context.Context, *jobs.Job[Report]) error { return nil })
	return registry
}

func begin(ctx context.Context, registry *jobs.Registry) error {
	system, err := caddis.New(caddis.Config{Registry: registry})
	if err != nil {
		return err
	}
	receipt, err := system.Client().Enqueue(ctx, Welcome{UserID: 42}, jobs.In(3*time.Minute))
	if err != nil {
		return err
	}
	log.Print("enqueued as ", receipt.ID)
	report, err := system.Run(ctx) // until TERM or INT comes, or ctx ends
	_ = report
	return err
}

func lookAfter(ctx context.Context, client *jobs.Client) error {
	for job, err := range client.AllJobs(ctx, backend.JobsQuery{Queue: "mail", State: backend.StateDead}) {
		if err != nil {
			return err
		}
		fmt.Println(job.ID, job.Attempts, job.MaxAttempts, job.Failures)
	}
	retried, err := client.ForAll(ctx, "mail", backend.StateDead, client.Retry)
	fmt.Println(retried, "retried")
	return err
}

func findWrong(ctx context.Context, client *jobs.Client) error {
	look, err := operate.Glance(ctx, client)
	if err != nil {
		return err
	}
	findings, err := operate.Work(ctx, client, look)
	for _, f := range findings {
		fmt.Println(f.Level, f.About, f.Text, f.Remedy)
	}
	return err
}

func mountDashboard(mux *http.ServeMux, server *http.Server, client *jobs.Client) error {
	board, err := dashboard.New(client, dashboard.Config{Authorize: whoAsks})
	if err != nil {
		return err
	}
	mux.Handle("/jobs/", http.StripPrefix("/jobs", board))
	server.RegisterOnShutdown(board.Close) // live pages would keep it waiting
	return nil
}

// appUser is what the session of an application knows.
type appUser struct {
	Email  string
	OnCall bool
}

func userOf(r *http.Request) (appUser, bool) {
	email := r.Header.Get("Test-User")
	return appUser{email, email == "ann@example.com"}, email != ""
}

func whoAsks(r *http.Request) (dashboard.Visitor, error) {
	user, ok := userOf(r)
	switch {
	case !ok:
		return dashboard.Visitor{}, dashboard.ErrUnknownVisitor
	case user.OnCall:
		return dashboard.Visitor{Name: user.Email, Role: dashboard.RoleOperate}, nil
	}
	return dashboard.Visitor{Name: user.Email, Role: dashboard.RoleView}, nil
}

func TestTheCodeOfTheDashboardWorks(t *testing.T) {
	store, err := backend.Open("memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	require.NoError(t, findWrong(t.Context(), client))
	mux, server := http.NewServeMux(), &http.Server{}
	require.NoError(t, mountDashboard(mux, server, client))
	autoscaled(mux, client)
	for user, code := range map[string]int{"": 401, "vic@example.com": 200, "ann@example.com": 200} {
		r, w := httptest.NewRequest(http.MethodGet, "/jobs/queues", nil), httptest.NewRecorder()
		r.Header.Set("Test-User", user)
		mux.ServeHTTP(w, r)
		require.Equal(t, code, w.Code, user)
	}
	require.NoError(t, server.Close())
}

func stop(ctx context.Context, system *caddis.System) error {
	future := system.Stop()
	report, err := future.Wait(ctx)
	fmt.Println(report.Completed, report.HandedBack, report.AbandonedJobs)
	return err
}

func embed(actorSystem *actor.ActorSystem, config caddis.Config) error {
	pid, err := caddis.Spawn(actorSystem, config)
	if err != nil {
		return err
	}
	future := actorSystem.Root.RequestFuture(pid, &actors.Stop{Grace: 25 * time.Second}, 40*time.Second)
	answer, err := future.Result()
	if err != nil {
		return err
	}
	report := answer.(*actors.Stopped)
	fmt.Println(report.State)
	return nil
}

func supervise(config *caddis.Config, isCorrupt func(*actors.JobPanic) bool) {
	config.Strategy = actors.
		OnPanic(isCorrupt, actors.Always(actor.EscalateDirective)).
		Otherwise(actors.Intensity(20, time.Minute, &actors.Backoff{}))
}

func openRedis() (*redis.Backend, error) {
	client := goredis.NewClient(&goredis.Options{Addr: "localhost:6379"})
	store, err := redis.New(client, redis.Config{
		Namespace: "shop",
		Shards:    map[string]int{"thumbnails": 8},
		Retention: backend.RetentionPolicy{
			Completed: backend.Retention{Count: 100_000, Age: time.Hour, Bytes: 256 << 20},
		},
	})
	return store, err
}

type libraryLog struct{}

func (libraryLog) Printf(ctx context.Context, format string, args ...any) {
	slog.InfoContext(ctx, fmt.Sprintf(format, args...), "source", "go-redis")
}

func init() {
	goredis.SetLogger(libraryLog{})
}

func encrypted(secret []byte) error {
	key, err := encrypt.NewKey("2026-03", secret) // 32 random bytes
	if err != nil {
		return err
	}
	codec, err := encrypt.New(jobs.JSON, key) // after a change: encrypt.New(jobs.JSON, next, key)
	registry := jobs.NewRegistry(jobs.WithCodec(codec))
	_ = registry
	return err
}

type Reindex struct {
	Document string `json:"document" caddis:"unique"`
	Version  int    `json:"version"`
}

func (Reindex) Kind() string { return "reindex" }

func haveOnce(ctx context.Context, registry *jobs.Registry, client *jobs.Client,
	welcome func(context.Context, *jobs.Job[Welcome]) error, reindex func(context.Context, *jobs.Job[Reindex]) error,
) (jobs.Receipt, error) {
	jobs.Handle(registry, welcome, jobs.Unique())
	jobs.Handle(registry, reindex, jobs.Unique(jobs.UntilStarted(), jobs.Replace(),
		jobs.By(func(r Reindex) any { return r.Document })))
	receipt, err := client.Enqueue(ctx, Reindex{Document: "report"}, jobs.In(10*time.Second))
	return receipt, err
}

func TestTheCodeOfUniqueJobsWorks(t *testing.T) {
	var receipts []jobs.Receipt
	store, err := backend.Open("memory:")
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	for range 2 { // two programs
		registry := jobs.NewRegistry()
		client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
		require.NoError(t, err)
		receipt, err := haveOnce(t.Context(), registry, client,
			func(context.Context, *jobs.Job[Welcome]) error { return nil },
			func(context.Context, *jobs.Job[Reindex]) error { return nil })
		require.NoError(t, err)
		receipts = append(receipts, receipt)
	}
	require.False(t, receipts[0].Duplicate())
	require.True(t, receipts[1].Duplicate())
	require.Equal(t, receipts[0].ID, receipts[1].Holder)
}

type Export struct {
	Tenant string `json:"tenant"`
}

func (Export) Kind() string { return "export" }

type Call struct{}

func (Call) Kind() string { return "call" }

type Booking struct {
	Account string `json:"account"`
}

func (Booking) Kind() string { return "booking" }

func limit(registry *jobs.Registry, export func(context.Context, *jobs.Job[Export]) error,
	call func(context.Context, *jobs.Job[Call]) error, book func(context.Context, *jobs.Job[Booking]) error,
) {
	jobs.Handle(registry, export, jobs.Limit("tenant", jobs.Slots(3), jobs.LimitBy(func(e Export) string { return e.Tenant })))
	jobs.Handle(registry, call, jobs.Limit("api", jobs.Rate(100, time.Second)))
	jobs.Handle(registry, book, jobs.InOrder(func(b Booking) string { return b.Account }))
}

func fair(registry *jobs.Registry, export func(context.Context, *jobs.Job[Export]) error) {
	jobs.Handle(registry, export, jobs.FairBy(func(e Export) string { return e.Tenant }))
}

func TestTheCodeOfFairJobsWorks(t *testing.T) {
	registry := jobs.NewRegistry()
	var done []string
	fair(registry, func(_ context.Context, job *jobs.Job[Export]) error {
		done = append(done, job.Args.Tenant)
		return nil
	})
	shareOut(registry, func(context.Context, *jobs.Job[SharedExport]) error { return nil })
	store := jobstest.New(t, registry)
	for _, tenant := range []string{"busy", "busy", "busy", "small"} {
		_, err := store.Client().Enqueue(t.Context(), Export{tenant})
		require.NoError(t, err)
	}
	store.Drain(t.Context())
	require.Contains(t, done[:2], "small")
	require.Len(t, done, 4)
}

func TestTheCodeOfLimitedJobsWorks(t *testing.T) {
	registry := jobs.NewRegistry()
	var booked []string
	limit(registry,
		func(context.Context, *jobs.Job[Export]) error { return nil },
		func(context.Context, *jobs.Job[Call]) error { return nil },
		func(_ context.Context, job *jobs.Job[Booking]) error {
			booked = append(booked, fmt.Sprint(job.Args.Account, job.Attempt))
			if job.Attempt == 1 && len(booked) == 1 {
				return errors.New("not yet")
			}
			return nil
		})
	store := jobstest.New(t, registry)
	for _, args := range []jobs.Args{Booking{"a"}, Booking{"a"}, Booking{"b"}, Export{"acme"}, Call{}} {
		_, err := store.Client().Enqueue(t.Context(), args)
		require.NoError(t, err)
	}
	store.Drain(t.Context()).RequireCompleted(t)
	require.Equal(t, []string{"a1", "b1", "a2", "a1"}, booked)
	for _, name := range []string{"tenant", "order"} {
		info, err := store.Client().Limit(t.Context(), jobs.DefaultQueue, name, "a")
		require.NoError(t, err)
		require.Zero(t, info.Held)
	}
}

func signUp(ctx context.Context, client *jobs.Client) error {
	_, err := client.Enqueue(ctx, Welcome{UserID: 42}, jobs.In(3*time.Minute))
	return err
}

func TestWelcome(t *testing.T) {
	ctx, registry := t.Context(), newRegistry(&welcomer{welcomed: make(chan int64, 1)})
	store := jobstest.New(t, registry)
	require.NoError(t, signUp(ctx, store.Client())) // enqueues
	store.RequireEnqueued(t, Welcome{UserID: 42}, jobs.In(3*time.Minute))
	report := store.Drain(ctx) // three minutes later, at once; retries and follow-ups too
	report.RequireCompleted(t)
}

// openShop is the beginning of an application that keeps its jobs in its database.
func openShop(use func(db *sql.DB, store *sqlite.Backend) error) error {
	db, err := sql.Open("sqlite", "file:shop.db?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return err
	}
	store, err := sqlite.New(db, sqlite.Config{})
	if err != nil {
		return err
	}
	defer db.Close()
	defer store.Close()
	return use(db, store)
}

func signUpTx(ctx context.Context, db *sql.DB, client *jobs.Client) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `INSERT INTO users (id) VALUES (42)`); err != nil {
		return err
	}
	if _, err := client.EnqueueTx(ctx, tx, Welcome{UserID: 42}); err != nil {
		return err
	}
	return tx.Commit()
}

func welcomeTx(registry *jobs.Registry, db *sql.DB) {
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Welcome]) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, `UPDATE users SET welcomed = 1 WHERE id = ?`, job.Args.UserID); err != nil {
			return err
		}
		if err := job.CompleteTx(ctx, tx); err != nil {
			return err // the lease was lost, or the store is away: nothing is done
		}
		return tx.Commit()
	})
}

func TestTheCodeOfTheApplicationsDatabaseWorks(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, openShop(func(db *sql.DB, store *sqlite.Backend) error {
		_, err := db.ExecContext(t.Context(), `CREATE TABLE users (id INTEGER PRIMARY KEY, welcomed INTEGER)`)
		require.NoError(t, err)
		registry := jobs.NewRegistry()
		welcomeTx(registry, db)
		system, err := caddis.New(caddis.Config{Backend: store, Registry: registry})
		require.NoError(t, err)
		require.NoError(t, system.Start(t.Context()))
		require.NoError(t, signUpTx(t.Context(), db, system.Client()))
		require.Error(t, signUpTx(t.Context(), db, system.Client()), "the user is there already, and no second job")
		require.Eventually(t, func() bool {
			q, err := system.Client().Queue(t.Context(), jobs.DefaultQueue)
			require.NoError(t, err)
			return q.Completed == 1
		}, 20*time.Second, 10*time.Millisecond)
		var welcomed int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT welcomed FROM users WHERE id = 42`).Scan(&welcomed))
		require.Equal(t, 1, welcomed)
		return stop(t.Context(), system)
	}))
}

// What the documents show works, and is not only compiled, on each store that needs
// no server.
func TestTheCodeOfTheReadmeWorks(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"memory": "memory:", "sqlite": "sqlite:" + filepath.Join(t.TempDir(), "jobs.db"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := backend.Open(url)
			require.NoError(t, err)
			defer func() { require.NoError(t, store.Close()) }()
			useReadme(t, store)
		})
	}
}

func useReadme(t *testing.T, store backend.Backend) {
	t.Helper()
	mailer := &welcomer{welcomed: make(chan int64, 1)}
	registry := newRegistry(mailer)
	schedule(registry)
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	require.NoError(t, err)
	_, err = client.Enqueue(t.Context(), Welcome{UserID: 42})
	require.NoError(t, err)
	require.ErrorIs(t, lookAfter(t.Context(), client), backend.ErrNotFound, "there is no such queue")
	require.NoError(t, client.PauseQueue(t.Context(), "mail"))
	require.NoError(t, lookAfter(t.Context(), client))

	config := caddis.Config{Backend: store, Registry: registry}
	supervise(&config, func(*actors.JobPanic) bool { return true })
	system, err := caddis.New(config)
	require.NoError(t, err)
	require.NoError(t, system.Start(t.Context()))
	require.EqualValues(t, 42, <-mailer.welcomed)
	require.NoError(t, stop(t.Context(), system))

	actorSystem := actor.NewActorSystem()
	defer actorSystem.Shutdown()
	require.NoError(t, embed(actorSystem, config))
	require.Error(t, begin(t.Context(), jobs.NewRegistry()), "a registry without handlers is refused")
	ctx, end := context.WithCancel(t.Context())
	once := jobs.NewRegistry(jobs.WithEnqueueMiddleware(func(next jobs.EnqueueFunc) jobs.EnqueueFunc {
		return func(ctx context.Context, batch []backend.NewJob) ([]jobs.Receipt, error) {
			defer end() // and so the run of the system
			return next(ctx, batch)
		}
	}))
	jobs.Handle(once, func(context.Context, *jobs.Job[Welcome]) error { return nil })
	require.NoError(t, begin(ctx, once))
	require.NoError(t, encrypted([]byte("32 bytes that are not random, no")))
	shop, err := openRedis()
	require.NoError(t, err)
	require.NoError(t, shop.Close())
}

// All Go code of the documents is in a test of this folder, in the shop or in the
// example of the command line, but for its indentation.
func TestTheDocumentsShowCodeThatCompiles(t *testing.T) {
	t.Parallel()
	sources, err := filepath.Glob("shop/*/*.go")
	require.NoError(t, err)
	tests, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	var compiled string
	for _, name := range slices.Concat(sources, tests, []string{"../cmd/caddis/cli/example_test.go"}) {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		compiled += flat(string(source))
	}
	documents, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	blocks := 0
	for _, name := range append(documents, "../README.md") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, part := range strings.Split(string(text), "```go\n")[1:] {
			block, _, closed := strings.Cut(part, "```")
			require.True(t, closed, name)
			require.True(t, strings.Contains(compiled, flat(block)), "%s has code that is compiled nowhere:\n%s", name, block)
			blocks++
		}
	}
	require.GreaterOrEqual(t, blocks, 7)
}

// flat takes the indentation off every line.
func flat(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}
