package main

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/sqlite"
	"github.com/caddis-go/caddis/jobs"
)

// argsEnv makes the test binary the program, with these arguments.
const argsEnv = "CADDIS_ONEBINARY_ARGS"

func TestMain(m *testing.M) {
	if text := os.Getenv(argsEnv); text != "" {
		os.Args = append(os.Args[:1], strings.Split(text, "\n")...)
		main()
		os.Exit(0)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

func startWorker(t *testing.T, file string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	worker := exec.Command(binary)
	worker.Env = append(os.Environ(), argsEnv+"="+strings.Join([]string{"worker", "-file", file}, "\n"))
	worker.Stderr = t.Output()
	require.NoError(t, worker.Start())
	t.Cleanup(func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	})
	return worker
}

// open opens the shop as the web server does.
func open(t *testing.T, file string) (*shop, *httptest.Server) {
	t.Helper()
	db, err := openShop(t.Context(), file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	store, err := sqlite.New(db, sqlite.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	s := &shop{db: db, client: client}
	web := httptest.NewServer(s.routes())
	t.Cleanup(web.Close)
	return s, web
}

func count(t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(context.Background(), query).Scan(&n))
	return n
}

func TestOrdersAreConfirmedByAnotherProcessThatIsKilledNowAndThen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "shop of ü.db")
	s, web := open(t, file)
	worker := startWorker(t, file)
	const orders = 60
	for i := range orders {
		answer, err := http.PostForm(web.URL, url.Values{"customer": {"Jane <b>"}})
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusOK, answer.StatusCode)
		require.Contains(t, string(text), "Jane &lt;b&gt;")

		answer, err = http.PostForm(web.URL, url.Values{"customer": {""}})
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusInternalServerError, answer.StatusCode, "an order without a customer is not taken")
		if i%20 == 10 {
			require.NoError(t, worker.Process.Kill())
			_ = worker.Wait()
			worker = startWorker(t, file)
		}
	}
	require.Eventually(t, func() bool {
		return count(t, s.db, `SELECT count(*) FROM orders WHERE confirmed_at IS NULL`) == 0
	}, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, orders, count(t, s.db, `SELECT count(*) FROM orders`))
	require.Eventually(t, func() bool {
		q, err := s.client.Queue(context.Background(), jobs.DefaultQueue)
		return err == nil && q.Completed == orders
	}, 30*time.Second, 10*time.Millisecond, "each job was completed once")
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.ErrorContains(t, run(t.Context(), nil, &out), "say what to be")
	require.ErrorContains(t, run(t.Context(), []string{"web", "-file", filepath.Join(t.TempDir(), "nowhere", "shop.db")}, &out), "unable to open")
}

func TestWhoAsksForHelpGetsNoError(t *testing.T) {
	t.Parallel()
	require.NoError(t, run(t.Context(), []string{"web", "-h"}, io.Discard))
}
