package dashboard

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddis-go/caddis/internal/foreign"
)

// ErrUnknownVisitor is what [Config.Authorize] returns of a request that does not say who
// it is from.
var ErrUnknownVisitor = errors.New("it is not known who asks")

// User may come in with a password.
type User struct {
	Name, Password string
	Role           Role
}

// String shows no password.
func (u User) String() string { return u.Name + " (" + u.Role.String() + ")" }

// door decides who comes in.
type door interface {
	open(*http.Request) (Visitor, error)
}

func newDoor(config *Config) door {
	switch {
	case config.Authorize != nil:
		return hook(config.Authorize)
	case len(config.Users) > 0:
		return newPasswords(config.Users)
	}
	return loopback{}
}

// hook asks the application.
type hook func(*http.Request) (Visitor, error)

func (h hook) open(r *http.Request) (Visitor, error) {
	v, err := h(r)
	switch {
	case errors.Is(err, ErrUnknownVisitor):
		return v, failed(http.StatusUnauthorized, "it is not known who you are; sign in first")
	case err != nil:
		return v, failed(http.StatusForbidden, "you may not come in: %v", err)
	case v.Role <= RoleNone || v.Role > RoleAdmin:
		return v, failed(http.StatusForbidden, "you have no role here")
	}
	return v, nil
}

// loopback lets in who is on the same machine and asks for a name of it; what a proxy brings
// may be from anywhere.
type loopback struct{}

func (loopback) open(r *http.Request) (Visitor, error) {
	const remedy = "give the dashboard Users or Authorize, to serve it to others"
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return Visitor{}, failed(http.StatusForbidden, "only requests from the same machine are answered; %s", remedy)
	}
	if !foreign.LocalHost(r.Host) {
		return Visitor{}, failed(http.StatusForbidden, "only localhost is served, and not %q; %s", r.Host, remedy)
	}
	for _, header := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if r.Header.Get(header) != "" {
			return Visitor{}, failed(http.StatusForbidden, "this came by a proxy; %s", remedy)
		}
	}
	return Visitor{Name: "local", Role: RoleAdmin}, nil
}

// passwords asks for a name and a password. Hashes are compared, as their length tells
// nothing, and all of them, so that the time does not tell who is known.
type passwords struct {
	users []hashedUser
	// wrong holds a place for each wrong password that is being answered slowly.
	wrong chan struct{}
}

type hashedUser struct {
	name, password [sha256.Size]byte
	visitor        Visitor
}

const (
	// wrongTime is how long the answer to a wrong password takes, maxWrong how many of
	// them wait: guessing is no faster than that.
	wrongTime = 500 * time.Millisecond
	maxWrong  = 10
)

func newPasswords(users []User) *passwords {
	p := &passwords{wrong: make(chan struct{}, maxWrong)}
	for _, u := range users {
		p.users = append(p.users, hashedUser{
			sha256.Sum256([]byte(u.Name)), sha256.Sum256([]byte(u.Password)), Visitor{u.Name, u.Role},
		})
	}
	return p
}

func (p *passwords) open(r *http.Request) (Visitor, error) {
	name, password, given := r.BasicAuth()
	unknown := &unauthorized{failed(http.StatusUnauthorized, "give your name and password")}
	if !given {
		return Visitor{}, unknown
	}
	hashed, secret := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(password))
	var found *hashedUser
	for i := range p.users {
		u := &p.users[i]
		if subtle.ConstantTimeCompare(u.name[:], hashed[:])&subtle.ConstantTimeCompare(u.password[:], secret[:]) == 1 {
			found = u
		}
	}
	if found != nil {
		return found.visitor, nil
	}
	select {
	case p.wrong <- struct{}{}:
		defer func() { <-p.wrong }()
	default:
		return Visitor{}, failed(http.StatusTooManyRequests, "too many wrong passwords at the same time; wait a moment")
	}
	select {
	case <-time.After(wrongTime):
	case <-r.Context().Done():
	}
	return Visitor{}, unknown
}

// unauthorized asks the browser for name and password.
type unauthorized struct{ error }

func (e *unauthorized) Unwrap() error { return e.error }

func checkUsers(users []User) error {
	seen := map[string]bool{}
	for i, u := range users {
		switch {
		case u.Name == "" || strings.Contains(u.Name, ":"):
			return fmt.Errorf("user %d of %d is named %q; give a name without a colon", i+1, len(users), u.Name)
		case seen[u.Name]:
			return fmt.Errorf("there are two users %q", u.Name)
		case len(u.Password) < 8:
			return fmt.Errorf("the password of user %q has %d bytes; give at least 8", u.Name, len(u.Password))
		case u.Role <= RoleNone || u.Role > RoleAdmin:
			return fmt.Errorf("the user %q has no role; give RoleView, RoleOperate or RoleAdmin", u.Name)
		}
		seen[u.Name] = true
	}
	return nil
}
