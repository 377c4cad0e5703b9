package dashboard

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

const (
	// pageJobs is how many jobs a page lists, scanJobs how many are looked at for them
	// where there is a filter.
	pageJobs = 50
	scanJobs = 2000
)

// selection is which jobs a list shows, as it is in its address and in its forms.
type selection struct {
	// Queue is one, or empty for all.
	Queue string
	State backend.State
	operate.Filter
}

// selectionOf reads it from a query or a form.
func selectionOf(values url.Values) (selection, error) {
	s := selection{Queue: values.Get("queue"), State: backend.State(values.Get("state")), Filter: operate.Filter{
		Kind: values.Get("kind"), Text: values.Get("error"), Group: values.Get("group"),
	}}
	for _, tag := range values["tag"] {
		if tag = strings.TrimSpace(tag); tag != "" {
			s.Tags = append(s.Tags, tag)
		}
	}
	if s.State == "" {
		s.State = backend.StateWaiting
	}
	if !slices.Contains(backend.States, s.State) {
		return s, failed(http.StatusBadRequest, "there is no state %q", s.State)
	}
	if s.Queue != "" {
		if err := backend.CheckQueue(s.Queue); err != nil {
			return s, err
		}
	}
	return s, s.Check()
}

// To is the address of the list in another state.
func (s selection) To(state backend.State) (string, error) {
	return address("jobs", "queue", s.Queue, "state", state, "kind", s.Kind, "tag", s.Tags, "error", s.Text, "group", s.Group)
}

// queuesOf are the queues that are meant.
func (s *selection) queuesOf(look *operate.Look) ([]backend.QueueInfo, error) {
	if s.Queue == "" {
		return look.Queues, nil
	}
	if info := look.Queue(s.Queue); info != nil {
		return []backend.QueueInfo{*info}, nil
	}
	return nil, failed(http.StatusNotFound, "there is no queue %q", s.Queue)
}

// actButton is an act that can be done to jobs, as a button.
type actButton struct {
	Act operate.Act
	// Text is on the button.
	Text string
	// Sure is true if it is to be asked once more.
	Sure bool
}

// buttons are the acts that a visitor can do to jobs in a state.
func buttons(role Role, state backend.State) (all []actButton) {
	for _, b := range []actButton{
		{operate.ActRetry, "Retry", false}, {operate.ActRun, "Run now", false},
		{operate.ActCancel, "Cancel", true}, {operate.ActDelete, "Delete", true},
	} {
		if b.Act.Allows(state) && role >= least(b.Act) {
			all = append(all, b)
		}
	}
	return all
}

// least is the role that an act needs.
func least(act operate.Act) Role {
	if act == operate.ActDelete {
		return RoleAdmin
	}
	return RoleOperate
}

func (d *Dashboard) jobs(q *request) error {
	s, err := selectionOf(q.URL.Query())
	if err != nil {
		return err
	}
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	queues, err := s.queuesOf(look)
	if err != nil {
		return err
	}
	body := struct {
		selection
		States   []stateCount
		All      []string
		Jobs     []jobs.JobInfo
		Buttons  []actButton
		Next     string
		Started  bool // not at the first page
		Filtered bool
		Total    int64
		Scanned  int
	}{
		selection: s, States: stateCounts(queues), Buttons: buttons(q.visitor.Role, s.State),
		Started: q.URL.Query().Get("cursor") != "", Filtered: !s.Empty(), Scanned: scanJobs,
	}
	for i := range look.Queues {
		body.All = append(body.All, look.Queues[i].Name)
	}
	for i := range queues {
		body.Total += queues[i].Counts[s.State]
	}
	search := operate.Search{
		States: []backend.State{s.State}, Filter: s.Filter, Cursor: q.URL.Query().Get("cursor"), Limit: pageJobs, Scan: scanJobs,
	}
	next, _, err := search.Find(q.Context(), d.client, queues, func(page []jobs.JobInfo) error {
		body.Jobs = append(body.Jobs, page...)
		return nil
	})
	if err != nil {
		return err
	}
	if next != "" {
		list, err := s.To(s.State)
		if err != nil {
			return err
		}
		body.Next = list + "&" + url.Values{"cursor": {next}}.Encode()
	}
	every := 5
	if body.Started {
		every = 0 // its jobs would move away under the eyes of who reads them
	}
	return d.render(q, http.StatusOK, view{Name: "jobs", Title: "Jobs, " + string(s.State), Nav: "jobs", Now: look.At, Every: every, Body: body})
}

// find looks for a job by its id, in all queues.
func (d *Dashboard) find(q *request) error {
	id := strings.TrimSpace(q.URL.Query().Get("id"))
	if err := backend.CheckID(id); err != nil {
		return err
	}
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	var holders []string
	for i := range look.Queues {
		_, err := d.client.Job(q.Context(), look.Queues[i].Name, id)
		switch {
		case err == nil:
			holders = append(holders, look.Queues[i].Name)
		case !errors.Is(err, backend.ErrNotFound):
			return err
		}
	}
	switch len(holders) {
	case 0:
		return failed(http.StatusNotFound, "no queue holds a job %q; a completed one is forgotten at once unless it has a retention", id)
	case 1:
		return redirect(q, jobAddress(holders[0], id))
	}
	return d.render(q, http.StatusOK, view{Name: "found", Title: "Jobs with this id", Nav: "jobs", Now: look.At, Body: struct {
		ID     string
		Queues []string
	}{id, holders}})
}

// redirect leads to a page of the dashboard, by an address that is relative, as it is not
// known here where it is mounted.
func redirect(q *request, to string) error {
	q.w.Header().Set("Location", to)
	q.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// maxSelected bounds the jobs that are acted upon at once.
const maxSelected = 1000

// actOnJobs acts on the jobs that are selected.
func (d *Dashboard) actOnJobs(q *request) error {
	act, err := d.actOf(q)
	if err != nil {
		return err
	}
	selected := q.PostForm["job"]
	switch {
	case len(selected) == 0:
		return d.back(q, "No job is selected.", true)
	case len(selected) > maxSelected:
		return failed(http.StatusBadRequest, "%d jobs are selected; at most %d are acted upon at once", len(selected), maxSelected)
	}
	byQueue := map[string][]string{}
	for _, text := range selected {
		queue, id, found := strings.Cut(text, "/") // no queue has one in its name
		if !found {
			return failed(http.StatusBadRequest, "%.50q is no job", text)
		}
		byQueue[queue] = append(byQueue[queue], id)
	}
	var all tally
	var failure error
	for _, queue := range slices.Sorted(maps.Keys(byQueue)) {
		ids := byQueue[queue]
		t, err := d.actOnQueue(q, act, queue, ids)
		d.audit(q, string(act), "queue", queue, "jobs", len(ids), "refused", len(t.refused), "ids", ids[:min(len(ids), maxNamed)], "error", err)
		if err != nil {
			failure = err
			for range ids {
				t.refused = append(t.refused, fmt.Errorf("in queue %s: %s", queue, plain(err)))
			}
		}
		all.done, all.running, all.refused = all.done+t.done, all.running+t.running, append(all.refused, t.refused...)
	}
	if failure != nil && all.done+all.running == 0 {
		return failure
	}
	return d.back(q, outcome(act, all.done, all.running, all.refused), len(all.refused) > 0)
}

// tally is to how many jobs an act was done, how many run and are told, and why it was not
// done to others.
type tally struct {
	done, running int
	refused       []error
}

// actOnQueue acts on jobs of one queue. After an error nothing is known to be done.
func (d *Dashboard) actOnQueue(q *request, act operate.Act, queue string, ids []string) (t tally, err error) {
	if err := d.knownQueue(q, queue); err != nil {
		return t, err
	}
	results, err := act.With(d.client)(q.Context(), queue, ids...)
	if len(results) == 0 {
		return t, err
	}
	for _, r := range results {
		switch {
		case r.Err != nil:
			t.refused = append(t.refused, refusal(queue, r))
		case r.State == backend.StateRunning:
			t.running++
		default:
			t.done++
		}
	}
	return t, nil
}

// actOf is the act that a form asks for, if the visitor may do it.
func (d *Dashboard) actOf(q *request) (operate.Act, error) {
	act, err := operate.ParseAct(q.PostForm.Get("act"))
	if err != nil {
		return "", err
	}
	if q.visitor.Role < least(act) {
		return "", failed(http.StatusForbidden, "to %s jobs needs the role %s, and %s has the role %s", act, least(act), q.visitor, q.visitor.Role)
	}
	return act, nil
}

// refusal is why an act was not done to a job.
func refusal(queue string, r backend.ActResult) error {
	if errors.Is(r.Err, backend.ErrState) {
		return fmt.Errorf("job %s in queue %s is %s, which does not allow it", r.ID, queue, r.State)
	}
	if errors.Is(r.Err, backend.ErrNotFound) {
		return fmt.Errorf("there is no job %s in queue %s any more", r.ID, queue)
	}
	return r.Err
}

// outcome says what an act on some jobs did.
func outcome(act operate.Act, done, running int, refused []error) string {
	var parts []string
	if done > 0 || running+len(refused) == 0 {
		parts = append(parts, numbered(done, "job was ", "jobs were ")+act.Done()+".")
	}
	if running > 0 {
		parts = append(parts, numbered(running, "job runs; its worker is told to cancel it.", "jobs run; their workers are told to cancel them."))
	}
	if len(refused) > 0 {
		parts = append(parts, numbered(len(refused), "was not: ", "were not, the first: ")+visible(refused[0].Error())+".")
	}
	return strings.Join(parts, " ")
}

func numbered(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

// back leads to the page that an act came from, which says what it did.
func (d *Dashboard) back(q *request, text string, bad bool) error {
	d.watch.renew()
	d.health.renew()
	d.errors.renew()
	n := notice{id: newNoticeID(), name: q.visitor.Name, Text: text, Bad: bad}
	d.notices.add(n)
	to, query := d.origin(q.PostForm.Get("back"))
	query.Set("notice", n.id)
	d.watch.change()
	return redirect(q, to+"?"+query.Encode())
}

// origin reads the page that a form came from. It is one of ours in any case: of another
// address nothing is taken over.
func (d *Dashboard) origin(back string) (page string, query url.Values) {
	u, err := url.Parse(back)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil {
		return ".", url.Values{}
	}
	page = u.Path
	if page == "." {
		page = ""
	}
	if known, ok := d.pages[page]; !ok || known.post || page == "" {
		return ".", url.Values{}
	}
	return page, u.Query()
}
