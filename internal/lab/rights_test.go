//go:build unix

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/jobs"
)

// rightsOf reads what docs/redis.md gives to a role.
func rightsOf(t *testing.T, role string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/redis.md")
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^ACL SETUSER ` + role + ` ((?:.*\\\n)*.*)`).FindStringSubmatch(string(text))
	require.NotNil(t, line, "docs/redis.md has no ACL SETUSER %s", role)
	return strings.Fields(strings.ReplaceAll(line[1], "\\\n", " "))
}

// log is what a System says.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// privileged is a URL of a server for a user of its own with these rights.
func privileged(t *testing.T, server *redistest.Server, namespace string, rights []string) string {
	t.Helper()
	admin := server.Client()
	defer func() { require.NoError(t, admin.Close()) }()
	given := []string{"reset"}
	for _, right := range rights {
		given = append(given, strings.ReplaceAll(right, "caddis:", namespace+":"))
	}
	require.NoError(t, admin.ACLSetUser(t.Context(), namespace, given...).Err())
	return fmt.Sprintf("redis://%s:secret@%s?namespace=%s", namespace, server.Addr, namespace)
}

// errand fails the first time.
type errand struct {
	Again bool `json:"again"`
}

func (errand) Kind() string { return "errand" }

// work starts a worker and has it do all that a worker does. It returns the error of
// the start.
func work(t *testing.T, url, honest string, out *log) error {
	t.Helper()
	ctx := t.Context()
	store, err := backend.Open(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	registry := jobs.NewRegistry()
	done := make(chan string, 10)
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[errand]) error {
		if job.Args.Again && job.Attempt == 1 {
			return jobs.RetryIn(10*time.Millisecond, errors.New("not yet"))
		}
		done <- job.ID
		return nil
	})
	system, err := caddis.New(caddis.Config{
		Backend: store, Registry: registry, Lease: time.Second, Grace: 10 * time.Second,
		Logger: slog.New(slog.NewTextHandler(out, nil)),
	})
	require.NoError(t, err)
	if err := system.Start(ctx); err != nil {
		return err
	}
	full, err := backend.Open(honest)
	require.NoError(t, err)
	defer func() { require.NoError(t, full.Close()) }()
	producer, err := jobs.NewClient(full, jobs.ClientConfig{})
	require.NoError(t, err)
	for _, item := range []jobs.Item{
		jobs.New(errand{}), jobs.New(errand{Again: true}), jobs.New(errand{}, jobs.In(50*time.Millisecond)),
		jobs.New(errand{}, jobs.Retention(time.Minute)),
	} {
		_, err = producer.EnqueueMany(ctx, item)
		require.NoError(t, err)
		next(t, done)
	}
	report, err := system.Stop().Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, 4, report.Completed, "%v", report)
	require.Zero(t, report.Unconfirmed+report.Lost, "%v", report)
	return nil
}

func TestAWorkerWithExactlyTheDocumentedRightsWorksAndComplainsOfNone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	out := &log{}
	url := privileged(t, server, "exact", rightsOf(t, "worker"))
	require.NoError(t, work(t, url, "redis://"+server.Addr+"?namespace=exact", out))
	require.NotContains(t, out.String(), "level=WARN")
	require.NotContains(t, out.String(), "level=ERROR")
}

// As hosted Redis has it.
func TestAWorkerWithoutDangerousCommandsWorks(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	out := &log{}
	url := privileged(t, server, "hosted", []string{"on", ">secret", "~*", "&*", "+@all", "-@dangerous"})
	require.NoError(t, work(t, url, "redis://"+server.Addr+"?namespace=hosted", out))
	require.Contains(t, out.String(), "could not be checked")
}

func TestAWorkerWithoutOneOfItsRightsWorksOrSaysAtItsStartWhatIsMissing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	rights := rightsOf(t, "worker")
	var works, refuses []string
	for i, right := range rights {
		if strings.HasPrefix(right, "-") || right == "on" || right == ">secret" {
			continue
		}
		namespace := fmt.Sprint("without", i)
		rest := append(append([]string{}, rights[:i]...), rights[i+1:]...)
		url := privileged(t, server, namespace, rest)
		out := &log{}
		err := work(t, url, "redis://"+server.Addr+"?namespace="+namespace, out)
		if err == nil {
			works = append(works, right)
			continue
		}
		refuses = append(refuses, right)
		require.ErrorIs(t, err, backend.ErrDenied, right)
		if command, is := strings.CutPrefix(right, "+"); is {
			require.ErrorContains(t, err, command)
		} else {
			require.ErrorContains(t, err, "keys")
		}
	}
	t.Logf("a worker works without %v; without each of %v it says so and does not start", works, refuses)
}

func TestProducersAndOperatorsWorkWithExactlyTheDocumentedRights(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := redistest.Start(t, redistest.Options{})
	for _, role := range []string{"producer", "operator"} {
		store, err := backend.Open(privileged(t, server, role, rightsOf(t, role)))
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		client, err := jobs.NewClient(store, jobs.ClientConfig{})
		require.NoError(t, err)
		if role == "producer" {
			for range 2 {
				_, err = client.EnqueueMany(ctx, jobs.New(errand{}, jobs.ID("a")), jobs.New(errand{}, jobs.In(time.Hour)))
				require.NoError(t, err)
			}
			continue
		}
		full, err := backend.Open("redis://" + server.Addr + "?namespace=" + role)
		require.NoError(t, err)
		defer func() { require.NoError(t, full.Close()) }()
		var ids []backend.NewJob
		for _, id := range []string{"running", "waiting", "scheduled", "dead", "deleted"} {
			ids = append(ids, backend.NewJob{Job: backend.Job{ID: id, Queue: "default", Kind: "errand"}})
		}
		ids[2].Delay = time.Hour
		_, err = full.Enqueue(ctx, ids)
		require.NoError(t, err)
		reply, err := full.Lease(ctx, backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"default"}, Max: 1, Duration: time.Minute})
		require.NoError(t, err)
		require.Len(t, reply.Leases, 1)
		q := jobs.DefaultQueue
		for what, call := range map[string]func() error{
			"queues":             func() error { _, err := store.Queues(ctx); return err },
			"queue":              func() error { _, err := store.Queue(ctx, q); return err },
			"workers":            func() error { _, err := store.Workers(ctx); return err },
			"job":                func() error { _, err := store.Job(ctx, q, "waiting"); return err },
			"cancel":             func() error { _, err := store.Cancel(ctx, q, []string{"running", "dead"}); return err },
			"run now":            func() error { _, err := store.RunNow(ctx, q, []string{"scheduled"}); return err },
			"delete":             func() error { _, err := store.Delete(ctx, q, []string{"deleted"}); return err },
			"retry":              func() error { _, err := store.Retry(ctx, q, []string{"dead"}); return err },
			"pause":              func() error { return store.Pause(ctx, q, 0) },
			"resume":             func() error { return store.Resume(ctx, q) },
			"pause of a new one": func() error { return store.Pause(ctx, "new", 0) },
		} {
			require.NoError(t, call(), what)
		}
		for _, state := range backend.States {
			_, err := store.Jobs(ctx, backend.JobsQuery{Queue: q, State: state})
			require.NoError(t, err, state)
		}
	}
}
