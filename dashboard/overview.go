package dashboard

import (
	"net/http"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/operate"
)

// overview is the first page: what is wrong, first, then how much there is to do.
func (d *Dashboard) overview(q *request) error {
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	found, err := d.health.findings(q.Context(), look)
	if err != nil {
		return err
	}
	body := struct {
		Wrong, Notes, Fine []operate.Finding
		States             []stateCount
		Queues             []queueRow
		More               int
		Workers            int
		Busy, Places       int
		Completed, Failed  int64
		Empty              bool
		Hour               lastHour
	}{States: stateCounts(look.Queues), Workers: len(look.Workers), Empty: len(look.Queues) == 0}
	for _, f := range found {
		switch {
		case f.Level.Bad():
			body.Wrong = append(body.Wrong, f)
		case f.Level == operate.LevelNote:
			body.Notes = append(body.Notes, f)
		default:
			body.Fine = append(body.Fine, f)
		}
	}
	for _, w := range look.Workers {
		body.Busy, body.Places = body.Busy+w.Running, body.Places+w.Concurrency
	}
	for i := range look.Queues {
		body.Completed += look.Queues[i].Completed
		body.Failed += look.Queues[i].Failed + look.Queues[i].Dead
	}
	if body.Hour, err = d.lastHour(q.Context(), look, look.Queues); err != nil {
		return err
	}
	body.Hour.Queue = ""
	rows := queueRows(look)
	sortByWait(rows)
	const most = 10
	body.Queues, body.More = rows[:min(len(rows), most)], max(0, len(rows)-most)
	return d.render(q, http.StatusOK, view{Name: "overview", Title: "Overview", Nav: ".", Now: look.At, Every: 5, Body: body})
}

// stateCount is how many jobs are in a state.
type stateCount struct {
	State backend.State
	Jobs  int64
}

func stateCounts(queues []backend.QueueInfo) []stateCount {
	var counts []stateCount
	for _, state := range backend.States {
		c := stateCount{State: state}
		for i := range queues {
			c.Jobs += queues[i].Counts[state]
		}
		counts = append(counts, c)
	}
	return counts
}
