package cli

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/dashboard"
)

// startUI begins to serve the dashboard and answers its address.
func startUI(t *testing.T, p *process) string {
	t.Helper()
	r, w := io.Pipe()
	p.Stdout = w
	require.NoError(t, p.Start())
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil { // what it said is written to until it has ended
		_ = r.Close()
		_ = p.Wait()
		require.NoError(t, err, p.err.String())
	}
	return strings.TrimSpace(line)
}

func get(t *testing.T, address, user, password string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, answer.Body.Close()) }()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

func TestTheDashboardIsServedUntilASignalComes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals")
	}
	onStores(t, func(t *testing.T, url string) {
		newFleet(t, url)
		for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			p := newProcess(t, "plain", url, "ui", "--listen", "127.0.0.1:0", "--title", "tests")
			address := startUI(t, p)
			status, body := get(t, address+"jobs?state=dead", "", "")
			require.Equal(t, http.StatusOK, status)
			require.Contains(t, body, "no such user")
			require.Contains(t, body, "tests")
			live, err := http.Get(address + "live")
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, live.StatusCode)
			require.NoError(t, p.Process.Signal(signal))
			require.Zero(t, p.code(t), p.err.String())
			require.NoError(t, live.Body.Close())
		}
	})
}

func TestTheDashboardServesOthersOnlyWithUsers(t *testing.T) {
	t.Parallel()
	url := newFile(t)
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "example.com:0", "192.168.0.1:0"} {
		a := on(t, url, "ui", "--listen", address)
		require.Equal(t, exitUsage, a.code, address)
		require.Contains(t, a.err, "others could reach it and do everything; give --users FILE, or listen at 127.0.0.1:8280")
	}
	if runtime.GOOS == "windows" {
		return
	}
	users := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(users, []byte("# on call\nann admin correct-horse\n\nvic view battery-staple\n"), 0o600))
	p := newProcess(t, "plain", url, "ui", "--listen", "0.0.0.0:0", "--users", users)
	_, port, err := net.SplitHostPort(strings.Trim(startUI(t, p), "htp:/"))
	require.NoError(t, err)
	address := "http://127.0.0.1:" + port + "/"
	status, _ := get(t, address, "", "")
	require.Equal(t, http.StatusUnauthorized, status)
	status, body := get(t, address, "vic", "battery-staple")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "view")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Zero(t, p.code(t), p.err.String())
}

func TestAFileOfUsersIsCheckedAndShowsNoPassword(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	for text, says := range map[string]string{
		"":                               "there is no user in it",
		"ann admin\n":                    "line 1 has 2 words",
		"\n# x\nann root hunter2hunter2": `line 3: there is no role "root"`,
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := readUsers(path)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.NoError(t, os.WriteFile(path, []byte("ann admin hunter2\n"), 0o600))
	a := on(t, newFile(t), "ui", "--listen", "127.0.0.1:0", "--users", path)
	require.Equal(t, exitUsage, a.code)
	require.Contains(t, a.err, `the password of user "ann" has 7 bytes; give at least 8`)
	require.NotContains(t, a.err, "hunter2")
	users, err := readUsers(path)
	require.NoError(t, err)
	require.Equal(t, []dashboard.User{{Name: "ann", Password: "hunter2", Role: dashboard.RoleAdmin}}, users)
}

func TestAnAddressThatIsTakenIsSaid(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	a := on(t, newFile(t), "ui", "--listen", taken.Addr().String())
	require.Equal(t, exitFailed, a.code)
	require.Contains(t, a.err, "the dashboard cannot be served at "+taken.Addr().String())
}
