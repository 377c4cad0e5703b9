package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/jobs"
)

// maxTold is how many workers an act names.
const maxTold = 100

// addressees are the workers that an act is for.
type addressees struct {
	// ids are those that are named; none for the whole fleet.
	ids []string
}

// addresseesOf reads them from a form, where the whole fleet has to be said.
func addresseesOf(q *request) (a addressees, err error) {
	a.ids = q.PostForm["worker"]
	all := q.PostForm.Get("who") == "all"
	switch {
	case all && len(a.ids) > 0:
		return a, failed(http.StatusBadRequest, "the act names workers, and is for all; it can be one of them")
	case !all && len(a.ids) == 0:
		return a, failed(http.StatusBadRequest, "the act names no worker")
	case len(a.ids) > maxTold:
		return a, failed(http.StatusBadRequest, "%d workers are named; at most %d are told at once, or all", len(a.ids), maxTold)
	}
	return a, nil
}

// do tells what they do: one for one of them, many for several or all.
func (a addressees) do(one, many string) string {
	switch len(a.ids) {
	case 0:
		return "All workers " + many
	case 1:
		return "The worker " + visible(a.ids[0]) + " " + one
	}
	return count(len(a.ids)) + " workers " + many
}

// since adds to what all were told that it counts for others as well.
func (a addressees) since(text string) string {
	if len(a.ids) == 0 {
		return text + " This counts for those that start later, too."
	}
	return text
}

// names are they for the log.
func (a addressees) names() any {
	if len(a.ids) == 0 {
		return "all"
	}
	return a.ids
}

// tellWorkers has workers do something, and says what they do.
func (d *Dashboard) tellWorkers(act string, tell func(context.Context, ...string) error, says func(addressees) string) func(*request) error {
	return func(q *request) error {
		a, err := addresseesOf(q)
		if err != nil {
			return err
		}
		if err := tell(q.Context(), a.ids...); err != nil {
			return err
		}
		d.audit(q, act, "workers", a.names())
		return d.back(q, says(a), false)
	}
}

func (d *Dashboard) quietWorkers(q *request) error {
	return d.tellWorkers("quiet workers", d.client.QuietWorkers, func(a addressees) string {
		return a.since(a.do("takes no more jobs until it is resumed; those that run go on.", "take no more jobs until they are resumed; those that run go on."))
	})(q)
}

func (d *Dashboard) resumeWorkers(q *request) error {
	return d.tellWorkers("resume workers", d.client.ResumeWorkers, func(a addressees) string {
		return a.do("takes jobs again.", "take jobs again.")
	})(q)
}

// stopWorkers has no word for those that start later: it is for those that are there.
func (d *Dashboard) stopWorkers(q *request) error {
	return d.tellWorkers("stop workers", d.client.StopWorkers, func(a addressees) string {
		return a.do("stops. Whether its process is started again is up to who started it.", "stop. Whether their processes are started again is up to who started them.")
	})(q)
}

// maxExecutors bounds a slip of the keyboard.
const maxExecutors = 100_000

func (d *Dashboard) resizeWorkers(q *request) error {
	text := strings.TrimSpace(q.PostForm.Get("concurrency"))
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxExecutors {
		return failed(http.StatusBadRequest, "%.20q is no number of executors; give one from 1 to %d, or 0 for what each worker was configured with", text, maxExecutors)
	}
	resize := func(ctx context.Context, ids ...string) error { return d.client.ResizeWorkers(ctx, n, ids...) }
	return d.tellWorkers("resize workers to "+text, resize, func(a addressees) string {
		size := numbered(n, "executor.", "executors.")
		if n == 0 {
			size = "as many executors as configured."
		}
		return a.since(a.do("has "+size, "have "+size))
	})(q)
}

const (
	// stacksTime is how long stacks are waited for.
	stacksTime = 5 * time.Second
	// shownStacks is how many handlers a page has the stacks of.
	shownStacks = 200
)

// workerStacks asks workers where their handlers are, and shows it. It is an act, as the
// workers are told to answer.
func (d *Dashboard) workerStacks(q *request) error {
	a, err := addresseesOf(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(q.Context(), stacksTime)
	defer cancel()
	all, err := d.client.WorkerStacks(ctx, a.ids...)
	var told *jobs.Error
	if err != nil && (len(all) == 0 || !errors.As(err, &told)) {
		return err
	}
	d.audit(q, "stacks of workers", "workers", a.names())
	body := struct {
		Workers []jobs.WorkerStacks
		Job     string
		Omitted int
		Err     string
		Back    string
	}{Job: q.PostForm.Get("job")}
	if err != nil {
		body.Err = plain(err)
	}
	room := shownStacks
	for _, w := range all {
		if body.Job != "" {
			w.Jobs, w.Omitted = slices.DeleteFunc(w.Jobs, func(j jobs.JobStack) bool { return j.Queue+"/"+j.ID != body.Job }), 0
		}
		slices.SortFunc(w.Jobs, func(a, b jobs.JobStack) int { return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.ID, b.ID)) })
		body.Omitted += w.Omitted + max(0, len(w.Jobs)-room)
		w.Jobs = w.Jobs[:min(len(w.Jobs), room)]
		room -= len(w.Jobs)
		body.Workers = append(body.Workers, w)
	}
	page, query := d.origin(q.PostForm.Get("back"))
	if body.Back = page; len(query) > 0 {
		body.Back = fmt.Sprint(page, "?", query.Encode())
	}
	return d.render(q, http.StatusOK, view{Name: "stacks", Title: "Stacks", Nav: "workers", Body: body})
}
