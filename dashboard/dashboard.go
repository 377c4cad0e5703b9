package dashboard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/internal/logs"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// DefaultMaxStreams is how many pages are live at the same time, unless the config says
// otherwise.
const DefaultMaxStreams = 200

// Config configures a [Dashboard]. Its zero value serves those on the same machine, as
// admins.
type Config struct {
	// Authorize says who a request is from and what they may do, by a session of the
	// application, for example. Its error refuses the request: with 401 if it wraps
	// [ErrUnknownVisitor], with 403 else. It is called for each request, concurrently.
	Authorize func(*http.Request) (Visitor, error)
	// Users may come in by basic auth, which needs TLS in front of it. They cannot be
	// combined with Authorize.
	Users []User
	// Payloads is the least role that is shown payloads, results and progress of jobs.
	// By default they are shown to nobody.
	Payloads Role
	// Title names what is looked after, such as "shop, production"; empty by default.
	Title string
	// Logger is told of each act: who, what, to how many; slog.Default by default.
	Logger *slog.Logger
	// MaxStreams is how many pages are live at the same time. Those beyond it are loaded
	// again from time to time instead. 0 means [DefaultMaxStreams].
	MaxStreams int
	// Secret is what the tokens of acts are made with, at least 16 bytes. Replicas of a
	// dashboard behind one address need the same; it is random by default.
	Secret []byte
}

// Dashboard is an http.Handler. It finds its pages by the last part of their path, so that
// it may be mounted anywhere by http.StripPrefix.
type Dashboard struct {
	client     *jobs.Client
	config     Config
	log        *slog.Logger
	door       door
	origins    *http.CrossOriginProtection
	tokens     tokens
	rates      rates
	operations *operate.Operations
	watch      *watch
	health     *health
	figures    *figures
	errors     *errorScans
	notices    notices
	pages      map[string]route
}

// New makes a dashboard of a client, which must be able to read and act. It does no I/O.
// Later it goes on with operations of dashboards that have gone, for which it looks into the
// store every two seconds. It needs a [Dashboard.Close] when the server ends.
func New(client *jobs.Client, config Config) (*Dashboard, error) {
	if client == nil {
		return nil, errors.New("dashboard: New: the client is nil; make one by jobs.NewClient, or take that of a System")
	}
	if err := config.fill(); err != nil {
		return nil, fmt.Errorf("dashboard: New: %w", err)
	}
	d := &Dashboard{client: client, config: config, log: logs.Guard(config.Logger), origins: http.NewCrossOriginProtection()}
	d.door = newDoor(&d.config)
	d.tokens = tokens{secret: config.Secret}
	d.watch = newWatch(client, d.log, config.MaxStreams)
	d.health = newHealth(client)
	d.figures = newFigures(client)
	d.errors = newErrorScans(client, d.log, d.watch)
	d.operations = operate.NewOperations(client, d.log, d.watch.change)
	d.pages = d.routes()
	return d, nil
}

func (c *Config) fill() error {
	switch {
	case c.Authorize != nil && len(c.Users) > 0:
		return errors.New("both Authorize and Users are given; give one of them")
	case len(c.Title) > maxTitle:
		return fmt.Errorf("the title has %d bytes; at most %d fit on a page", len(c.Title), maxTitle)
	case c.MaxStreams < 0:
		return fmt.Errorf("MaxStreams is %d; give a number from 1, or 0 for %d", c.MaxStreams, DefaultMaxStreams)
	case c.Payloads < RoleNone || c.Payloads > RoleAdmin:
		return fmt.Errorf("the role %d that is to see payloads is none", c.Payloads)
	case c.Secret != nil && len(c.Secret) < 16:
		return fmt.Errorf("the Secret has %d bytes; give at least 16 random ones", len(c.Secret))
	}
	if err := checkUsers(c.Users); err != nil {
		return err
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = DefaultMaxStreams
	}
	if c.Secret == nil {
		c.Secret = make([]byte, 32)
		_, _ = rand.Read(c.Secret) // it does not fail
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Close ends the streams, hands the operations that run over to other dashboards of the store,
// or to the next one, and lets none begin. Pages are served all the same.
func (d *Dashboard) Close() {
	d.watch.close()
	d.errors.close()
	d.operations.Close()
}

// maxTitle bounds the title, in bytes.
const maxTitle = 100

// Bounds of requests.
const (
	maxQuery = 8 << 10
	maxBody  = 1 << 20
	// readTime is how long a body may take, pageTime a page of ours, writeTime what is
	// written of it.
	readTime  = 10 * time.Second
	pageTime  = 10 * time.Second
	writeTime = 30 * time.Second
)

// route is a page, or an act.
type route struct {
	// post says that it is an act; least is the role that it needs.
	post  bool
	least Role
	serve func(*request) error
}

// request is one that was let in.
type request struct {
	*http.Request
	w       http.ResponseWriter
	visitor Visitor
	// path is the page's name.
	path string
	// noted is true if it is an act that the audit log has.
	noted bool
}

// ServeHTTP answers who may ask.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	protect(w.Header())
	q := &request{Request: r, w: w, path: strings.TrimPrefix(r.URL.Path, "/")}
	defer func() {
		if value := recover(); value != nil {
			if value == http.ErrAbortHandler {
				panic(value)
			}
			d.log.Error("a page of the dashboard panicked", "path", q.path, "error", &jobs.Panic{Value: value}, "stack", string(debug.Stack()))
			d.refuse(q, errors.New("this page has a fault; the log tells which"))
		}
	}()
	if err := d.answer(q); err != nil {
		d.refuse(q, err)
	}
}

func (d *Dashboard) answer(q *request) error {
	if len(q.URL.RawQuery) > maxQuery {
		return failed(http.StatusRequestURITooLong, "the query has %d bytes; at most %d are read", len(q.URL.RawQuery), maxQuery)
	}
	var err error
	if q.visitor, err = d.door.open(q.Request); err != nil {
		return err
	}
	page, ok := d.pages[q.path]
	if !ok {
		return failed(http.StatusNotFound, "there is no such page")
	}
	if err := d.bound(q, page); err != nil {
		return err
	}
	if q.visitor.Role < page.least {
		err := failed(http.StatusForbidden, "this needs the role %s, and %s has the role %s", page.least, q.visitor, q.visitor.Role)
		if page.post {
			d.auditFailure(q, err)
		}
		return err
	}
	if q.path == livePath {
		return page.serve(q) // it takes as long as the page is open
	}
	ctx, cancel := context.WithTimeout(q.Context(), pageTime)
	defer cancel()
	q.Request = q.WithContext(ctx)
	err = page.serve(q)
	if page.post && err != nil && !q.noted {
		d.auditFailure(q, err)
	}
	return err
}

// bound refuses the wrong method, a body that is too large or too slow, and acts that are
// not from our own pages.
func (d *Dashboard) bound(q *request, page route) error {
	control := http.NewResponseController(q.w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime)) // a server of tests may know none
	if !page.post {
		if q.Method != http.MethodGet && q.Method != http.MethodHead {
			q.w.Header().Set("Allow", "GET, HEAD")
			return failed(http.StatusMethodNotAllowed, "this page can only be read")
		}
		return nil
	}
	if q.Method != http.MethodPost {
		q.w.Header().Set("Allow", "POST")
		return failed(http.StatusMethodNotAllowed, "this is an act and no page; use the buttons")
	}
	if err := d.origins.Check(q.Request); err != nil {
		return failed(http.StatusForbidden, "the act did not come from a page of this dashboard")
	}
	_ = control.SetReadDeadline(time.Now().Add(readTime))
	q.Body = http.MaxBytesReader(q.w, q.Body, maxBody)
	var large *http.MaxBytesError
	switch err := q.ParseForm(); {
	case errors.As(err, &large):
		return failed(http.StatusRequestEntityTooLarge, "the act has more than %d bytes", maxBody)
	case err != nil:
		return failed(http.StatusBadRequest, "the act cannot be read: %v", err)
	}
	_ = control.SetReadDeadline(time.Time{})
	if !d.tokens.valid(q.PostForm.Get("token"), q.visitor.Name, time.Now()) {
		return failed(http.StatusForbidden, "the page that this came from is too old, or from before the dashboard was started; load it again")
	}
	if !d.rates.take(q.visitor.Name, time.Now()) {
		q.w.Header().Set("Retry-After", "1")
		return failed(http.StatusTooManyRequests, "too many acts in a short time; wait a second")
	}
	return nil
}

// httpError is an error with its status.
type httpError struct {
	status int
	text   string
}

func (e *httpError) Error() string { return e.text }

func failed(status int, format string, args ...any) error {
	return &httpError{status, fmt.Sprintf(format, args...)}
}

// statusOf is the status that tells an error.
func statusOf(err error) int {
	var own *httpError
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.Is(err, backend.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, backend.ErrRejected), errors.Is(err, jobs.ErrPayload):
		return http.StatusBadRequest
	case errors.Is(err, backend.ErrState), errors.Is(err, backend.ErrConflict), errors.Is(err, backend.ErrLimited):
		return http.StatusConflict
	case errors.Is(err, operate.ErrBusy):
		return http.StatusTooManyRequests
	case errors.Is(err, backend.ErrUnavailable), errors.Is(err, backend.ErrClosed), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled): // then nobody reads it
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
