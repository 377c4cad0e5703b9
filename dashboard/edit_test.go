package dashboard_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

var newJob = regexp.MustCompile(`^job\?id=([A-Z0-9]+)&notice=[A-Z0-9]+&queue=mail$`)

func TestADeadJobIsEditedAndRetried(t *testing.T) {
	onStores(t, dashboard.Config{Payloads: dashboard.RoleAdmin}, func(t *testing.T, s *site) {
		s.fill()
		const page = "edit?id=dead-1&queue=mail"
		require.Contains(t, s.page("job?queue=mail&id=dead-1"), `href="`+html.EscapeString(page)+`"`)
		require.Contains(t, html.UnescapeString(s.page(page)), "{\n  \"user_id\": 2,\n  \"secret\": \"hunter2\"\n}</textarea>")
		form := []string{"queue", "mail", "id", "dead-1", "back", page}
		require.Equal(t, http.StatusBadRequest, s.post("edit-job", append(form, "payload", "{")...).Code)
		require.Equal(t, backend.StateDead, s.state("dead-1"))

		w := s.post("edit-job", append(form, "payload", `{"user_id": 99}`)...)
		require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
		found := newJob.FindStringSubmatch(w.Header().Get("Location"))
		require.NotNil(t, found, w.Header().Get("Location"))
		text := s.text(w.Header().Get("Location"))
		require.Contains(t, text, "This job was enqueued in place of dead-1, which was deleted.")
		require.Contains(t, text, `"user_id": 99`)
		require.Contains(t, text, "vip")
		require.Equal(t, http.StatusNotFound, s.get("job?queue=mail&id=dead-1").Code)
		require.Contains(t, s.log.String(), `act="edit job" queue=mail id=dead-1 new=`+found[1])
		require.NotContains(t, s.log.String(), "user_id", "no payload is logged")

		require.Equal(t, http.StatusNotFound, s.post("edit-job", append(form, "payload", "{}")...).Code, "sent once more, it makes no second job")
		require.Equal(t, http.StatusConflict, s.post("edit-job", "queue", "mail", "id", "waiting-1", "payload", "{}").Code)
		require.Equal(t, http.StatusConflict, s.get("edit?queue=mail&id=waiting-1").Code)
		require.NotContains(t, s.page("job?queue=mail&id=waiting-1"), "Edit and retry")
	})
}

func TestAJobIsCopied(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.fill()
		w := s.post("copy-job", "queue", "mail", "id", "completed-1")
		require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
		found := newJob.FindStringSubmatch(w.Header().Get("Location"))
		require.NotNil(t, found, w.Header().Get("Location"))
		require.Contains(t, s.text(w.Header().Get("Location")), "This job was enqueued as a copy of completed-1.")
		require.Equal(t, backend.StateWaiting, s.state(found[1]))
		require.Equal(t, backend.StateCompleted, s.state("completed-1"))
		require.Equal(t, http.StatusNotFound, s.post("copy-job", "queue", "mail", "id", "none").Code)
		require.Equal(t, http.StatusBadRequest, s.post("copy-job", "queue", "../mail", "id", "x").Code)
	})
}

var onceField = regexp.MustCompile(`name="once" value="([^"]+)"`)

func TestASecondClickMakesNoSecondCopy(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.fill()
		const page = "job?queue=mail&id=completed-1"
		once := onceField.FindStringSubmatch(s.page(page))[1]
		form := []string{"queue", "mail", "id", "completed-1", "once", once}
		var made []string
		for range 2 {
			w := s.post("copy-job", form...)
			require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
			made = append(made, newJob.FindStringSubmatch(w.Header().Get("Location"))[1])
			require.Contains(t, s.text(w.Header().Get("Location")), "This job was enqueued as a copy of completed-1.")
		}
		require.Equal(t, made[0], made[1])
		require.NotEqual(t, once, onceField.FindStringSubmatch(s.page(page))[1], "the page that is opened again makes another one")
	})
}

func TestOnlyWhoMaySeePayloadsMayEditThem(t *testing.T) {
	t.Parallel()
	role := dashboard.RoleAdmin
	authorize := func(*http.Request) (dashboard.Visitor, error) { return dashboard.Visitor{Name: "ann", Role: role}, nil }
	for payloads, may := range map[dashboard.Role][]dashboard.Role{
		dashboard.RoleNone: nil, dashboard.RoleView: {dashboard.RoleAdmin}, dashboard.RoleAdmin: {dashboard.RoleAdmin},
	} {
		for _, role = range []dashboard.Role{dashboard.RoleAdmin, dashboard.RoleOperate} {
			s := newSite(t, "memory:", dashboard.Config{Authorize: authorize, Payloads: payloads})
			s.fill()
			want := http.StatusForbidden
			if len(may) > 0 && may[0] == role {
				want = http.StatusOK
			}
			w := s.get("edit?queue=mail&id=dead-1")
			require.Equal(t, want, w.Code, "%v %v", payloads, role)
			if want == http.StatusOK {
				continue
			}
			require.NotContains(t, w.Body.String(), "hunter2")
			require.NotContains(t, s.page("job?queue=mail&id=dead-1"), "Edit and retry")
			require.Equal(t, http.StatusForbidden, s.post("edit-job", "queue", "mail", "id", "dead-1", "payload", "{}").Code)
			require.Equal(t, backend.StateDead, s.state("dead-1"))
		}
	}
}

func TestAPayloadThatIsEditedIsShownAsItIsAndNeverObeyed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{Payloads: dashboard.RoleAdmin})
	bad := `</textarea>` + evil + "\U000e0001\u0000"
	s.enqueue(Welcome{Secret: bad}, jobs.ID("bad"))
	s.die("boom", "")
	path := "edit?" + url.Values{"queue": {"mail"}, "id": {"bad"}}.Encode()
	page := s.page(path)
	require.Equal(t, 1, strings.Count(page, "</textarea>"))
	require.Equal(t, 1, strings.Count(page, "<script"))
	require.NotContains(t, page, "\u202e", "the order of letters is not turned")
	_, rest, _ := strings.Cut(page, "required>")
	text, _, _ := strings.Cut(rest, "</textarea>")
	w := s.post("edit-job", "queue", "mail", "id", "bad", "payload", html.UnescapeString(text))
	require.Equal(t, http.StatusSeeOther, w.Code, w.Body)
	job, err := s.client.Job(t.Context(), "mail", newJob.FindStringSubmatch(w.Header().Get("Location"))[1])
	require.NoError(t, err)
	args, err := jobs.ArgsOf[Welcome](job)
	require.NoError(t, err)
	require.Equal(t, bad, args.Secret, "what is not changed stays as it is")
}

type Charge struct {
	Card int16     `json:"card"`
	Born time.Time `json:"born"`
}

func (Charge) Kind() string { return "charge" }

func TestOfAPayloadThatIsRefusedOnlyWhoWroteItIsShownPieces(t *testing.T) {
	t.Parallel()
	memory := newSite(t, "memory:", dashboard.Config{})
	registry := jobs.NewRegistry()
	jobs.Declare[Charge](registry, jobs.Queue("mail"))
	client, err := jobs.NewClient(memory.store, jobs.ClientConfig{Registry: registry})
	require.NoError(t, err)
	s := onClient(t, memory.store, client, dashboard.Config{Payloads: dashboard.RoleAdmin})
	s.enqueue(Charge{Card: 1}, jobs.ID("c-1"))
	s.die("boom", "")
	for payload, says := range map[string]string{
		`{"card": 4111111111111111}`:       `found a JSON number where a Go int16 belongs in field "card", at byte 25 of 26: json: cannot unmarshal number 4111111111111111`,
		`{"born": "4111 Ann Smith"}`:       `parsing time "4111 Ann Smith"`,
		`{"4111 Ann Smith": 1}`:            `it has a field that the args do not have: json: unknown field "4111 Ann Smith"`,
		`{"card": 4111111111111111 Smith}`: `no valid JSON at byte 27 of 32: invalid character 'S'`,
	} {
		w := s.post("edit-job", "queue", "mail", "id", "c-1", "payload", payload)
		require.Equal(t, http.StatusBadRequest, w.Code, payload)
		require.Contains(t, textOf(w.Body.String()), says, "who may see payloads is told what to mend")
	}
	require.Equal(t, backend.StateDead, s.state("c-1"))
	for _, shown := range []string{s.text("audit"), s.log.String()} {
		require.Contains(t, shown, `at byte 25 of 26`)
		for _, secret := range []string{"4111", "Smith", "'S'"} {
			require.NotContains(t, shown, secret)
		}
	}
}
