package dashboard

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/caddis-go/caddis/backend"
)

//go:embed assets templates
var files embed.FS

// view is what a page is made of.
type view struct {
	// Name is that of the template, Title of the page, Nav of the place it belongs to.
	Name, Title, Nav string
	// Body is what the page shows.
	Body any

	// What follows is the same for all pages.
	Site    string
	Visitor Visitor
	Token   string
	// Here is the address of the page, from the dashboard on.
	Here string
	// Now is the store's clock, if it was read.
	Now time.Time
	// Every is after how many seconds the page is to be read anew although nothing seems
	// to have changed; 0 means that it does not change.
	Every int
	// Least is how many milliseconds lie between two readings of the page at least; 0
	// means a second. Stream is the address of what tells of changes.
	Least  int
	Stream string
	Notice *notice
	Menu   []navItem
	Style  string
	Script string
	Icon   string
}

// May reports whether the visitor may do what needs a role.
func (v *view) May(role string) bool {
	least, err := ParseRole(role)
	return err == nil && v.Visitor.Role >= least
}

type navItem struct {
	Path, Text string
}

var navigation = []navItem{
	{".", "Overview"}, {"figures", "Figures"}, {"queues", "Queues"}, {"jobs", "Jobs"}, {"errors", "Errors"},
	{"workers", "Workers"}, {"schedules", "Schedules"}, {"limits", "Limits"}, {"operations", "Operations"}, {"audit", "Audit"},
}

// pageTemplates has one per page, each within the layout. They are read for the
// first page: a program that may serve a dashboard and does not is as small as without.
var pageTemplates = sync.OnceValue(func() map[string]*template.Template {
	base := template.Must(template.New("layout.html").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/parts.html"))
	all := map[string]*template.Template{}
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is right
	}
	for _, name := range names {
		if page := strings.TrimSuffix(path.Base(name), ".html"); page != "layout" && page != "parts" {
			all[page] = template.Must(template.Must(base.Clone()).ParseFS(files, name))
		}
	}
	return all
})

// render writes a page. It is made in whole before, so that what fails is not half a page.
func (d *Dashboard) render(q *request, status int, v view) error {
	v.Site, v.Visitor, v.Menu = d.config.Title, q.visitor, navigation
	v.Token = d.tokens.of(q.visitor.Name, time.Now())
	v.Style, v.Script, v.Icon = assetAddress["style.css"], assetAddress["live.js"], assetAddress["icon.svg"]
	v.Notice = d.notices.of(q.URL.Query().Get("notice"), q.visitor.Name)
	v.Here = here(q)
	v.Stream = cmp.Or(v.Stream, livePath)
	v.Least = cmp.Or(v.Least, 1000)
	if v.Now.IsZero() {
		v.Now = time.Now()
	}
	var b bytes.Buffer
	if err := pageTemplates()[v.Name].ExecuteTemplate(&b, "layout.html", &v); err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	q.w.WriteHeader(status)
	_, _ = q.w.Write(b.Bytes()) // who has gone needs no answer
	return nil
}

// here is the address of a page without its notice.
func here(q *request) string {
	query := q.URL.Query()
	query.Del("notice")
	name := q.path
	if name == "" {
		name = "."
	}
	if len(query) == 0 {
		return name
	}
	return name + "?" + query.Encode()
}

// refuse answers an error by a page that says it. Whoever was not let in gets a bare one.
func (d *Dashboard) refuse(q *request, err error) {
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		d.log.Error("a page of the dashboard failed", "path", q.path, "error", err)
	}
	var unknown *unauthorized
	if errors.As(err, &unknown) {
		q.w.Header().Set("WWW-Authenticate", `Basic realm="Caddis", charset="UTF-8"`)
	}
	if q.visitor.Role == RoleNone || q.path == livePath {
		http.Error(q.w, plain(err), status)
		return
	}
	body := struct{ Text, What string }{plain(err), http.StatusText(status)}
	if errors.Is(err, backend.ErrUnavailable) {
		body.What = "The job store cannot be reached"
	}
	if d.render(q, status, view{Name: "failure", Title: body.What, Body: body, Every: retryEvery(status)}) != nil {
		http.Error(q.w, plain(err), status)
	}
}

// retryEvery is after how many seconds a page that failed is tried again.
func retryEvery(status int) int {
	if status == http.StatusServiceUnavailable {
		return 3
	}
	return 0
}

// plain is the text of an error for people: without the names of packages.
func plain(err error) string {
	text := err.Error()
	for _, prefix := range []string{"jobs: ", "backend: ", "rejected: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// assetAddress has the addresses of the assets, which change with what is in them.
var assetAddress = func() map[string]string {
	addresses := map[string]string{}
	for _, name := range []string{"style.css", "live.js", "icon.svg"} {
		sum := sha256.Sum256(asset(name))
		addresses[name] = name + "?v=" + hex.EncodeToString(sum[:6])
	}
	return addresses
}()

func asset(name string) []byte {
	data, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return data
}

// asset answers one of the files of the pages.
func (d *Dashboard) asset(q *request) error {
	q.w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(q.path)))
	q.w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	http.ServeContent(q.w, q.Request, "", time.Time{}, bytes.NewReader(asset(q.path)))
	return nil
}
