package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/caddis-go/caddis/jobs"
)

// page is one of the pages of the live view.
type page int

const (
	pageQueues page = iota
	pageWorkers
	pageJobs
	pages
)

// top is the live view: what it shows, and what is chosen. Each message gives the next
// one.
type top struct {
	ctx    context.Context
	client *jobs.Client
	url    string
	every  time.Duration
	paint  paint

	width, height int
	page          page
	// chosen names the line that is chosen on each page, and line is where it was seen
	// last, for when it vanishes.
	chosen [pages]string
	line   [pages]int

	now, before reading
	// question is what is asked before it is done, and said what is told below.
	question string
	do       func(context.Context) (string, error)
	said     string
}

func newTop(ctx context.Context, s *session, every time.Duration) top {
	return top{ctx: ctx, client: s.client, url: s.url, every: every, width: 80, height: 24}
}

// Init implements [tea.Model].
func (v top) Init() tea.Cmd { return v.read("") }

// Update implements [tea.Model].
func (v top) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch m := message.(type) {
	case tea.WindowSizeMsg:
		v.width, v.height = m.Width, m.Height
	case reading:
		return v.heard(m), tea.Tick(v.every, func(time.Time) tea.Msg { return again{} })
	case again:
		return v, v.read(v.queue())
	case acted:
		v.said = m.text
		if m.err != nil {
			v.said = "failed: " + m.err.Error()
		}
	case tea.KeyPressMsg:
		return v.pressed(m.String())
	}
	return v, nil
}

// heard takes what was read. What was read before stays if the store did not answer.
func (v top) heard(r reading) top {
	if r.err != nil {
		v.now.err = r.err
		return v
	}
	v.before, v.now = v.now, r
	for p := range pages {
		v.follow(p)
	}
	return v
}

// names are those of the lines of a page.
func (v *top) names(p page) (names []string) {
	switch p {
	case pageQueues:
		for i := range v.now.queues {
			names = append(names, v.now.queues[i].Name)
		}
	case pageWorkers:
		for i := range v.now.workers {
			names = append(names, v.now.workers[i].ID)
		}
	default:
		for i := range v.now.running {
			names = append(names, v.now.running[i].ID)
		}
	}
	return names
}

// follow finds the line that is chosen again, or chooses the one that took its place.
func (v *top) follow(p page) {
	names := v.names(p)
	if i := slices.Index(names, v.chosen[p]); i >= 0 {
		v.line[p] = i
		return
	}
	v.choose(p, v.line[p])
}

func (v *top) choose(p page, line int) {
	names := v.names(p)
	v.line[p] = max(0, min(line, len(names)-1))
	v.chosen[p] = ""
	if len(names) > 0 {
		v.chosen[p] = names[v.line[p]]
	}
}

// queue is the one that is chosen.
func (v *top) queue() string { return v.chosen[pageQueues] }

// pressed does what a key says.
func (v top) pressed(key string) (tea.Model, tea.Cmd) {
	if v.do != nil {
		do := v.do
		v.question, v.do = "", nil
		if key != "y" {
			return v, nil
		}
		return v, v.act(do)
	}
	v.said = ""
	switch key {
	case "q", "esc", "ctrl+c":
		return v, tea.Quit
	case "tab":
		v.page = (v.page + 1) % pages
	case "shift+tab":
		v.page = (v.page + pages - 1) % pages
	case "1", "2", "3":
		v.page = page(key[0] - '1')
	case "up", "k":
		v.choose(v.page, v.line[v.page]-1)
	case "down", "j":
		v.choose(v.page, v.line[v.page]+1)
	case "pgup":
		v.choose(v.page, v.line[v.page]-v.room())
	case "pgdown", "space":
		v.choose(v.page, v.line[v.page]+v.room())
	case "home":
		v.choose(v.page, 0)
	case "end":
		v.choose(v.page, len(v.names(v.page)))
	case "enter":
		if v.page == pageQueues {
			v.page = pageJobs
		}
	case "p":
		v.askPause()
	case "c":
		v.askCancel()
	default:
		return v, nil
	}
	if v.page == pageJobs && v.now.of != v.queue() {
		v.now.of, v.now.running = v.queue(), nil // until they are read
	}
	return v, nil
}

// askPause asks whether to pause the queue that is chosen, or to resume it.
func (v *top) askPause() {
	name := v.queue()
	if v.page != pageQueues || name == "" {
		return
	}
	if v.now.queues[v.line[pageQueues]].Paused {
		v.question = "resume the queue " + clean(name) + "?"
		v.do = func(ctx context.Context) (string, error) {
			return "resumed " + name, v.client.ResumeQueue(ctx, name)
		}
		return
	}
	v.question = "pause the queue " + clean(name) + " in the whole fleet?"
	v.do = func(ctx context.Context) (string, error) {
		return "paused " + name, v.client.PauseQueue(ctx, name)
	}
}

// askCancel asks whether to cancel the job that is chosen.
func (v *top) askCancel() {
	queue, id := v.queue(), v.chosen[pageJobs]
	if v.page != pageJobs || id == "" {
		return
	}
	v.question = fmt.Sprintf("cancel the job %s of the queue %s?", clean(id), clean(queue))
	v.do = func(ctx context.Context) (string, error) {
		results, err := v.client.Cancel(ctx, queue, id)
		if err == nil && len(results) == 1 {
			err = results[0].Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the store did not answer within %v: %w", actTime, err)
		}
		return "told the worker of " + id + " to cancel it", err
	}
}
