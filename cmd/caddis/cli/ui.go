package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"

	"github.com/caddis-go/caddis/dashboard"
)

// uiListen is where the dashboard is served unless it is said otherwise.
const uiListen = "127.0.0.1:8280"

// uiRequest is how the dashboard is to be served.
type uiRequest struct {
	listen, users, title string
	payloads             roleName
}

func (t *tool) uiCommand() *cobra.Command {
	var r uiRequest
	c := &cobra.Command{
		Use:   "ui",
		Short: "Serve the dashboard, for browsers, until TERM or INT comes",
		Long: `Serve the dashboard, for browsers, until TERM or INT comes. It prints its address.

Whoever is on this machine may do everything, and nobody else is answered. To serve others
give --users: a file with a line per user, of a name, a role (view, operate or admin) and a
password, with spaces between. Passwords need TLS in front of it. What is done is logged.`,
		Example: "  " + t.name + " ui\n  " + t.name + " ui --listen 0.0.0.0:8280 --users /etc/caddis/users --payloads admin",
		Args:    noArgs,
		RunE: t.with(func(ctx context.Context, s *session, _ []string) error {
			return t.serveUI(ctx, s, r)
		}),
	}
	c.Flags().StringVar(&r.listen, "listen", uiListen, "the `address` to serve at; port 0 takes a free one")
	c.Flags().StringVar(&r.users, "users", "", "a `file` with those who may come in")
	c.Flags().Var(&r.payloads, "payloads", "show payloads, results and progress to those with this role or a higher one: view, operate or admin; by default to nobody")
	c.Flags().StringVar(&r.title, "title", "", "what is looked after, such as production; on each page")
	complete(c, "payloads", "view", "operate", "admin")
	return c
}

func (t *tool) serveUI(ctx context.Context, s *session, r uiRequest) error {
	config := dashboard.Config{
		Title: r.title, Payloads: dashboard.Role(r.payloads),
		Logger: slog.New(tint.NewTextHandler(t.stderr, &tint.Options{NoColor: !t.coloured(t.stderr)})),
	}
	var err error
	if r.users != "" {
		if config.Users, err = readUsers(r.users); err != nil {
			return wrongUse("--users=%s: %w", r.users, err)
		}
	}
	if err := checkListen(r.listen, len(config.Users) > 0); err != nil {
		return err
	}
	board, err := dashboard.New(s.client, config)
	if err != nil {
		return asUsage(fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "dashboard: New: ")))
	}
	server, err := serveBeside(ctx, "the dashboard", r.listen, board, config.Logger)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(t.stdout, "http://%s/\n", server.address); err != nil {
		return errors.Join(err, server.server.Close())
	}
	select {
	case err := <-server.failed:
		return err
	case <-ctx.Done():
	}
	board.Close() // which ends the pages that are live
	return server.end(ctx)
}

// checkListen refuses to serve others than those on this machine without users.
func checkListen(address string, users bool) error {
	if err := checkAddress("listen", address, uiListen); err != nil {
		return err
	}
	if users || loopback(address) {
		return nil
	}
	return wrongUse("--listen=%s: others could reach it and do everything; give --users FILE, or listen at %s", address, uiListen)
}

// checkAddress says what is wrong with an address to listen at.
func checkAddress(flag, address, example string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return wrongUse("--%s=%s: it is no address; give one such as %s", flag, address, example)
	}
	return nil
}

// loopback reports whether an address can be reached from this machine only.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// maxUsers bounds a file of users.
const maxUsers = 1000

// readUsers reads the file of those who may come in. No error shows a password.
func readUsers(path string) ([]dashboard.User, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	var users []dashboard.User
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Fields(line)
		if len(parts) != 3 {
			return nil, fmt.Errorf("line %d has %d words; give a name, a role and a password", n, len(parts))
		}
		role, err := dashboard.ParseRole(parts[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if users = append(users, dashboard.User{Name: parts[0], Role: role, Password: parts[2]}); len(users) > maxUsers {
			return nil, fmt.Errorf("there are more than %d users", maxUsers)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(users) == 0 {
		return nil, errors.New("there is no user in it; give a line per user: a name, a role and a password")
	}
	return users, nil
}

// roleName is a flag that names a role.
type roleName dashboard.Role

func (r *roleName) Type() string { return "role" }

func (r *roleName) String() string {
	if dashboard.Role(*r) == dashboard.RoleNone {
		return ""
	}
	return dashboard.Role(*r).String()
}

func (r *roleName) Set(name string) error {
	role, err := dashboard.ParseRole(name)
	*r = roleName(role)
	return err
}
