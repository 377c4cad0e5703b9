package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// maxLimitQueues is of how many queues the page of all limits has them.
const maxLimitQueues = 10

func (d *Dashboard) limits(q *request) error {
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	body := struct {
		Queue  string
		All    []string
		Limits []backend.LimitInfo
		More   bool
	}{Queue: q.URL.Query().Get("queue")}
	for i := range look.Queues {
		body.All = append(body.All, look.Queues[i].Name)
	}
	s := selection{Queue: body.Queue}
	queues, err := s.queuesOf(look)
	if err != nil {
		return err
	}
	if body.Limits, body.More, err = operate.Limits(q.Context(), d.client, queues[:min(len(queues), maxLimitQueues)]); err != nil {
		return err
	}
	body.More = body.More || len(queues) > maxLimitQueues
	return d.render(q, http.StatusOK, view{Name: "limits", Title: "Limits", Nav: "limits", Now: look.At, Every: 5, Least: 5000, Body: body})
}

func (d *Dashboard) limit(q *request) error {
	values := q.URL.Query()
	queue, name, key := values.Get("queue"), values.Get("name"), values.Get("key")
	info, err := d.client.Limit(q.Context(), queue, name, key)
	if errors.Is(err, backend.ErrNotFound) {
		return failed(http.StatusNotFound, "the queue %q has never had a job with a limit %q, and none was set", queue, name)
	}
	if err != nil {
		return err
	}
	return d.render(q, http.StatusOK, view{Name: "limit", Title: "Limit " + name, Nav: "limits", Now: info.Now, Every: 2, Body: info})
}

// limitOf are queue and name of a limit that is known: an act makes none.
func (d *Dashboard) limitOf(q *request) (queue, name string, err error) {
	queue, name = q.PostForm.Get("queue"), q.PostForm.Get("name")
	_, err = d.client.Limit(q.Context(), queue, name, "")
	return queue, name, err
}

func (d *Dashboard) setLimit(q *request) error {
	queue, name, err := d.limitOf(q)
	if err != nil {
		return err
	}
	var options []jobs.LimitOption
	number := func(field string) (n int, given bool, err error) {
		text := strings.TrimSpace(q.PostForm.Get(field))
		if text == "" {
			return 0, false, nil
		}
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			return 0, false, failed(http.StatusBadRequest, "%s is %.20q; give a number from 1, or leave it empty", field, text)
		}
		return n, true, nil
	}
	slots, given, err := number("slots")
	if err != nil {
		return err
	}
	if given {
		options = append(options, jobs.Slots(slots))
	}
	rate, given, err := number("rate")
	if err != nil {
		return err
	}
	var per time.Duration
	if given {
		per, err = time.ParseDuration(strings.TrimSpace(q.PostForm.Get("per")))
		if err != nil {
			return failed(http.StatusBadRequest, "per is %.20q, which is no time; give one such as 1s or 1m", q.PostForm.Get("per"))
		}
		options = append(options, jobs.Rate(rate, per))
	}
	burst, given, err := number("burst")
	if err != nil {
		return err
	}
	if given {
		options = append(options, jobs.Burst(burst))
	}
	if len(options) == 0 {
		return d.back(q, "Nothing is set: give slots, a rate, or both.", true)
	}
	if err := d.client.SetLimit(q.Context(), queue, name, options...); err != nil {
		return err
	}
	rule := operate.Rule(backend.LimitRule{Slots: slots, Rate: rate, Per: per, Burst: burst})
	d.audit(q, "set limit", "queue", queue, "limit", name, "rule", rule)
	if info, err := d.client.Limit(q.Context(), queue, name, ""); err == nil {
		rule = operate.Rule(info.Rule) // with the burst, where it was left out
	}
	return d.back(q, fmt.Sprintf("The limit %s of the queue %s is set for the whole fleet: %s.", name, queue, rule), false)
}

func (d *Dashboard) resetLimit(q *request) error {
	queue, name, err := d.limitOf(q)
	if err != nil {
		return err
	}
	if err := d.client.ResetLimit(q.Context(), queue, name); err != nil {
		return err
	}
	d.audit(q, "reset limit", "queue", queue, "limit", name)
	return d.back(q, fmt.Sprintf("For the limit %s of the queue %s counts again what the programs say.", name, queue), false)
}
