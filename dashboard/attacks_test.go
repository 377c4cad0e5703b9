package dashboard_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

func TestAnActFromAnotherOriginIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.fill()
	for name, change := range map[string]func(http.Header){
		"another site":                func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") },
		"another host of the site":    func(h http.Header) { h.Set("Sec-Fetch-Site", "same-site") },
		"an old browser, other site":  func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "https://evil.example") },
		"an old browser, a sandboxed": func(h http.Header) { h.Del("Sec-Fetch-Site"); h.Set("Origin", "null") },
	} {
		w := s.as(func(r *http.Request) {
			if r.Method == http.MethodPost {
				change(r.Header)
			}
		}).post("act", "act", "retry", "job", "mail/dead-1")
		require.Equal(t, http.StatusForbidden, w.Code, name)
	}
	require.Equal(t, backend.StateDead, s.state("dead-1"))
}

func TestAnActWithoutATokenOfOursIsRefused(t *testing.T) {
	t.Parallel()
	name := "ann"
	s := newSite(t, "memory:", dashboard.Config{Authorize: func(*http.Request) (dashboard.Visitor, error) {
		return dashboard.Visitor{Name: name, Role: dashboard.RoleAdmin}, nil
	}})
	s.fill()
	token := s.token()
	other := newSite(t, "memory:", dashboard.Config{})
	other.fill()
	for what, bad := range map[string]string{"none": "", "garbage": "x%00", "of another dashboard": other.token(), "changed": "B" + token[1:]} {
		require.Equal(t, http.StatusForbidden, s.send("act", "act", "retry", "job", "mail/dead-1", "token", bad).Code, what)
	}
	require.Equal(t, http.StatusForbidden, s.send("act?token="+token, "act", "retry", "job", "mail/dead-1").Code, "it is not taken from the address")
	name = "bob"
	require.Equal(t, http.StatusForbidden, s.send("act", "act", "retry", "job", "mail/dead-1", "token", token).Code, "it is ann's")
	require.Equal(t, backend.StateDead, s.state("dead-1"))
	name = "ann"
	require.Equal(t, http.StatusSeeOther, s.send("act", "act", "retry", "job", "mail/dead-1", "token", token).Code)
}

func TestATokenEndsAndIsSharedByReplicas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		config := dashboard.Config{Secret: []byte("sixteen bytes or more")}
		s := newSite(t, "memory:", config)
		s.fill()
		replica := onStore(t, s.store, config)
		token := s.token()
		time.Sleep(23 * time.Hour)
		require.Equal(t, http.StatusSeeOther, replica.send("act", "act", "retry", "job", "mail/dead-1", "token", token).Code)
		time.Sleep(2 * time.Hour)
		w := s.send("act", "act", "cancel", "job", "mail/dead-1", "token", token)
		require.Equal(t, http.StatusForbidden, w.Code)
		require.Contains(t, w.Body.String(), "too old")
	})
}

func TestAnActIsNoPageAndAPageIsNoAct(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.fill()
	w := s.get("act?act=delete&job=mail/dead-1&token=" + s.token())
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "POST", w.Header().Get("Allow"))
	require.Equal(t, http.StatusMethodNotAllowed, s.send("jobs").Code)
	require.Equal(t, http.StatusMethodNotAllowed, s.do(httptest.NewRequest(http.MethodDelete, "/jobs", nil)).Code)
	require.Equal(t, http.StatusBadRequest, s.post("act", "act", "burn", "job", "mail/dead-1").Code)
	require.Equal(t, http.StatusBadRequest, s.post("act", "act", "retry", "job", "dead-1").Code)
	require.Equal(t, backend.StateDead, s.state("dead-1"))
}

// evil is what a producer may write where it may write what it likes.
const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}'; javascript:alert(3)` + "\u202etxt"

func TestWhatProducersWriteIsShownAndNeverObeyed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{Payloads: dashboard.RoleAdmin})
	id := `<b onclick=x>/../../act?"'&`
	s.enqueue(Welcome{Secret: evil}, jobs.ID(id), jobs.Tags(evil), jobs.Header("<i>h", evil))
	s.settle(s.lease(), backend.Settlement{Outcome: backend.OutcomeDead, History: &backend.History{
		Attempts: 1, Worker: evil, FinishedAt: time.Now(), Result: []byte(`"<script>"`),
		Failures: []backend.Failure{{Attempt: 1, At: time.Now(), Worker: evil, Error: evil, Stack: evil}},
	}})
	s.enqueue(Welcome{}, jobs.ID("blocked"))
	s.settle(s.lease(), backend.Settlement{Outcome: backend.OutcomeBlocked, Key: "<script>key"})
	_, err := s.store.Announce(t.Context(), backend.WorkerInfo{
		ID: evil, Host: evil, Queues: []string{"mail"}, Kinds: []string{evil}, State: evil, Concurrency: 1, StartedAt: time.Now(),
	}, time.Hour)
	require.NoError(t, err)
	job := "job?" + url.Values{"queue": {"mail"}, "id": {id}}.Encode()
	for _, path := range []string{
		"", "queues", "queue?name=mail", "jobs?state=dead", "jobs?state=blocked", job, "errors", "workers",
		"worker?" + url.Values{"id": {evil}}.Encode(), "jobs?" + url.Values{"state": {"dead"}, "tag": {evil}, "error": {"<script>"}}.Encode(),
	} {
		page := s.page(path)
		require.NotContains(t, page, "<script>alert", path)
		require.NotContains(t, page, "<script>key", path)
		require.NotContains(t, page, "<img", path)
		require.NotContains(t, page, "<b onclick", path)
		require.NotContains(t, page, `href="javascript:`, path)
		shown := regexp.MustCompile(` value="[^"]*"`).ReplaceAllString(page, "") // fields have it as it is
		require.NotContains(t, shown, "\u202e", "the order of letters is not turned")
		require.Equal(t, 1, strings.Count(page, "<script"), path)
		require.NotContains(t, page, "<no value>", path)
	}
	require.Contains(t, s.page(job), `value="mail/&lt;b onclick=x&gt;/../../act?&#34;&#39;&amp;"`)
	require.Equal(t, "1 job was retried.", s.act("act", "act", "retry", "job", "mail/"+id, "back", job))
	for _, path := range []string{"job?queue=mail&id=<script>alert(1)</script>", "jobs?queue=<script>", "find?id=<script>", "jobs?state=<script>", "jobs?state=dead&group=<script>", "<script>"} {
		w := s.do(&http.Request{Method: http.MethodGet, URL: mustParse(t, "/"+path), Header: http.Header{}})
		require.GreaterOrEqual(t, w.Code, 400)
		require.Equal(t, 1, strings.Count(w.Body.String(), "<script"), path)
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	path, query, _ := strings.Cut(address, "?")
	return &url.URL{Path: path, RawQuery: url.PathEscape(query)}
}

func TestPathsLeadNowhereElse(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.fill()
	for _, path := range []string{"/../jobs", "//evil.example/jobs", "/jobs/", "/jobs/../act", "/assets/style.css", "/templates/job.html", "/queue/mail", "/./", "/style.css/..", "/JOBS"} {
		w := s.do(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: http.Header{}})
		require.Equal(t, http.StatusNotFound, w.Code, path)
		require.Empty(t, w.Header().Get("Location"), path)
	}
	for _, name := range []string{"..", ".", "mail/../other", "mail%00", "mail*", "{mail}"} {
		require.GreaterOrEqual(t, s.get("queue?name="+url.QueryEscape(name)).Code, 400, name)
		require.GreaterOrEqual(t, s.get("job?id=dead-1&queue="+url.QueryEscape(name)).Code, 400, name)
		if !strings.Contains(name, "/") { // what follows one is an id
			require.GreaterOrEqual(t, s.post("act", "act", "delete", "job", name+"/dead-1").Code, 400, name)
		}
	}
	for _, back := range []string{
		"https://evil.example/", "//evil.example/jobs", "javascript:alert(1)", "/jobs", `\\evil.example`, "../act", "act?act=delete", "jobs/../x", "x:y@z", "%",
	} {
		w := s.post("resume-queue", "name", "mail", "back", back)
		require.Equal(t, http.StatusSeeOther, w.Code)
		require.Regexp(t, `^\.\?notice=[A-Z0-9]+$`, w.Header().Get("Location"), back)
	}
	require.Regexp(t, `^jobs\?notice=[A-Z0-9]+&state=dead$`, s.post("resume-queue", "name", "mail", "back", "jobs?state=dead").Header().Get("Location"))
}

func TestWhatActsDidIsToldToNobodyElse(t *testing.T) {
	t.Parallel()
	name := "ann"
	s := newSite(t, "memory:", dashboard.Config{Authorize: func(*http.Request) (dashboard.Visitor, error) {
		return dashboard.Visitor{Name: name, Role: dashboard.RoleAdmin}, nil
	}})
	s.fill()
	to := s.post("resume-queue", "name", "mail").Header().Get("Location")
	require.Contains(t, s.text(to[1:]), "hands out its jobs again")
	name = "bob"
	require.NotContains(t, s.text(to[1:]), "hands out its jobs again")
	require.NotContains(t, s.text("?notice=You+were+hacked"), "hacked")
}

func TestLargeRequestsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.fill()
	require.Equal(t, http.StatusRequestEntityTooLarge, s.post("act", "act", "retry", "job", strings.Repeat("x", 2<<20)).Code)
	require.Equal(t, http.StatusRequestURITooLong, s.get("jobs?tag="+strings.Repeat("x", 10_000)).Code)
	require.Equal(t, http.StatusBadRequest, s.get("jobs?error="+strings.Repeat("x", 201)).Code)
	many := []string{"act", "retry"}
	for range 1001 {
		many = append(many, "job", "mail/x")
	}
	require.Equal(t, http.StatusBadRequest, s.post("act", many...).Code)
	r := httptest.NewRequest(http.MethodPost, "/act", strings.NewReader("--x\r\nContent-Disposition: form-data; name=\"act\"\r\n\r\nretry\r\n--x--"))
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	require.Equal(t, http.StatusForbidden, s.do(r).Code, "only plain forms are read, so there is no token")
}

func TestActsAreBoundedInTheirRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "memory:", dashboard.Config{})
		s.fill()
		token := s.token()
		pause := func() int { return s.send("resume-queue", "name", "mail", "token", token).Code }
		for range 20 {
			require.Equal(t, http.StatusSeeOther, pause())
		}
		require.Equal(t, http.StatusTooManyRequests, pause())
		time.Sleep(time.Second)
		for range 5 {
			require.Equal(t, http.StatusSeeOther, pause())
		}
		require.Equal(t, http.StatusTooManyRequests, pause())
	})
}

func TestWithoutUsersOnlyTheSameMachineIsAnswered(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	for _, host := range []string{"localhost", "LOCALHOST:80", "127.0.0.1:8280", "[::1]:8280", "127.8.8.8"} {
		require.Equal(t, http.StatusOK, s.as(func(r *http.Request) { r.Host = host }).get("").Code, host)
	}
	for name, change := range map[string]func(*http.Request){
		"another machine":          func(r *http.Request) { r.RemoteAddr = "10.0.0.7:4000" },
		"another one, by IPv6":     func(r *http.Request) { r.RemoteAddr = "[2001:db8::1]:4000" },
		"no address":               func(r *http.Request) { r.RemoteAddr = "@" },
		"a name that leads here":   func(r *http.Request) { r.Host = "evil.example" },
		"one that begins as ours":  func(r *http.Request) { r.Host = "localhost.evil.example" },
		"another one with a port":  func(r *http.Request) { r.Host = "127.0.0.1.evil.example:8280" },
		"no name":                  func(r *http.Request) { r.Host = "" },
		"a proxy":                  func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.7") },
		"another proxy":            func(r *http.Request) { r.Header.Set("Forwarded", "for=10.0.0.7") },
		"an address of this house": func(r *http.Request) { r.Host = "192.168.0.7" },
	} {
		w := s.as(change).get("")
		require.Equal(t, http.StatusForbidden, w.Code, name)
		require.NotContains(t, w.Body.String(), "<html", name)
		require.Contains(t, w.Body.String(), "Users or Authorize", name)
	}
}

func TestUsersComeInByPasswordAndGuessingIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "memory:", dashboard.Config{Users: []dashboard.User{
			{Name: "ann", Password: "correct horse", Role: dashboard.RoleAdmin}, {Name: "vic", Password: "battery staple", Role: dashboard.RoleView},
		}})
		with := func(name, password string) *site {
			return s.as(func(r *http.Request) {
				r.RemoteAddr = "10.0.0.7:4000"
				r.Host = "jobs.example"
				r.SetBasicAuth(name, password)
			})
		}
		require.Contains(t, with("ann", "correct horse").text(""), "ann admin")
		require.Contains(t, with("vic", "battery staple").text(""), "vic view")
		w := s.get("")
		require.Equal(t, http.StatusUnauthorized, w.Code, "also on the same machine")
		require.Contains(t, w.Header().Get("WWW-Authenticate"), "Basic")
		for _, wrong := range [][2]string{{"ann", "battery staple"}, {"ann", ""}, {"", ""}, {"bob", "correct horse"}, {"ANN", "correct horse"}} {
			began := time.Now()
			require.Equal(t, http.StatusUnauthorized, with(wrong[0], wrong[1]).get("").Code, wrong)
			require.Equal(t, 500*time.Millisecond, time.Since(began), wrong)
		}
		codes := make(chan int, 100)
		for range 100 {
			go func() { codes <- with("ann", "guess").get("").Code }()
		}
		busy := 0
		for range 100 {
			if <-codes == http.StatusTooManyRequests {
				busy++
			}
		}
		require.Equal(t, 90, busy)
	})
}

func TestTheHookDecidesWhoComesIn(t *testing.T) {
	t.Parallel()
	var visitor dashboard.Visitor
	var err error
	s := newSite(t, "memory:", dashboard.Config{Authorize: func(*http.Request) (dashboard.Visitor, error) {
		if visitor.Name == "panic" {
			panic("the session store has a fault")
		}
		return visitor, err
	}})
	for want, c := range map[int]func(){
		http.StatusForbidden:           func() { visitor, err = dashboard.Visitor{Name: "x"}, errors.New("not on call") },
		http.StatusUnauthorized:        func() { visitor, err = dashboard.Visitor{}, dashboard.ErrUnknownVisitor },
		http.StatusOK:                  func() { visitor, err = dashboard.Visitor{Name: "x", Role: dashboard.RoleView}, nil },
		http.StatusInternalServerError: func() { visitor = dashboard.Visitor{Name: "panic"} },
	} {
		c()
		for _, path := range []string{"", "style.css", "live.js", "jobs"} {
			require.Equal(t, want, s.get(path).Code, path)
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.fill()
	for _, path := range []string{"", "jobs", "nowhere", "style.css", "job?queue=mail&id=dead-1"} {
		h := s.get(path).Header()
		policy := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
			require.Contains(t, policy, part, path)
		}
		require.NotContains(t, policy, "unsafe", path)
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
		require.Equal(t, "same-origin", h.Get("Referrer-Policy"), path)
	}
	page := s.page("job?queue=mail&id=dead-1")
	require.NotRegexp(t, `(?i)\sstyle=|\son[a-z]+=|<style`, page, "nothing is inline")
	require.NotRegexp(t, `(?:src|href|action)="(?:https?:)?//`, page, "nothing is from elsewhere")
	require.NotContains(t, page, "w-1.", "the token of a lease is nobody's business")
}
