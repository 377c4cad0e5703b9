package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// maxSchedules is how many schedules a page lists.
const maxSchedules = 500

// scheduleRow is a schedule in a list.
type scheduleRow struct {
	jobs.ScheduleInfo
	// Coming are the instants after the next one.
	Coming []time.Time
	// Wrong is why it cannot be read.
	Wrong string
}

// State is what the schedule is in a word.
func (r scheduleRow) State() string {
	switch {
	case r.Wrong != "":
		return "unreadable"
	case r.Paused:
		return "paused"
	case r.Next.IsZero():
		return "ended"
	}
	return "active"
}

// schedulesOf reads the schedules of queues, up to a number.
func (d *Dashboard) schedulesOf(ctx context.Context, queues []string, limit int) (rows []scheduleRow, more bool, err error) {
	for _, queue := range queues {
		for info, err := range d.client.AllSchedules(ctx, queue) {
			if err != nil {
				return nil, false, err
			}
			if len(rows) == limit {
				return rows, true, nil
			}
			row := scheduleRow{ScheduleInfo: info}
			if info.Err != nil {
				row.Wrong = visible(info.Err.Error())
			} else if coming := info.Upcoming(4); len(coming) > 1 {
				row.Coming = coming[1:]
			}
			rows = append(rows, row)
		}
	}
	return rows, false, nil
}

func (d *Dashboard) schedules(q *request) error {
	look, err := d.watch.glance(q.Context())
	if err != nil {
		return err
	}
	var names []string
	for i := range look.Queues {
		names = append(names, look.Queues[i].Name)
	}
	if queue := q.URL.Query().Get("queue"); queue != "" {
		if err := backend.CheckQueue(queue); err != nil {
			return err
		}
		names = []string{queue}
	}
	body := struct {
		Schedules []scheduleRow
		More      bool
	}{}
	if body.Schedules, body.More, err = d.schedulesOf(q.Context(), names, maxSchedules); err != nil {
		return err
	}
	return d.render(q, http.StatusOK, view{Name: "schedules", Title: "Schedules", Nav: "schedules", Now: look.At, Every: 5, Body: body})
}

func (d *Dashboard) pauseSchedule(q *request) error {
	return d.changeSchedule(q, "pause schedule", "The schedule %s rests until somebody resumes it.", d.client.PauseSchedule)
}

func (d *Dashboard) resumeSchedule(q *request) error {
	return d.changeSchedule(q, "resume schedule", "The schedule %s goes on. What came meanwhile is not made up for.", d.client.ResumeSchedule)
}

func (d *Dashboard) changeSchedule(q *request, act, text string, change func(ctx context.Context, queue, name string) (jobs.ScheduleInfo, error)) error {
	queue, name, err := scheduleOf(q)
	if err != nil {
		return err
	}
	if _, err := change(q.Context(), queue, name); err != nil {
		return err
	}
	d.audit(q, act, "queue", queue, "schedule", name)
	return d.back(q, fmt.Sprintf(text, name), false)
}

func (d *Dashboard) runSchedule(q *request) error {
	queue, name, err := scheduleOf(q)
	if err != nil {
		return err
	}
	receipt, err := d.client.RunSchedule(q.Context(), queue, name)
	if err != nil {
		return err
	}
	d.audit(q, "run schedule", "queue", queue, "schedule", name, "job", receipt.ID)
	return d.back(q, fmt.Sprintf("The job %s was enqueued.", receipt.ID), false)
}

func scheduleOf(q *request) (queue, name string, err error) {
	queue, name = q.PostForm.Get("queue"), q.PostForm.Get("name")
	if err := backend.CheckQueue(queue); err != nil {
		return "", "", err
	}
	return queue, name, backend.CheckSchedule(name)
}
