package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/operate"
)

// View implements [tea.Model].
func (v top) View() tea.View {
	view := tea.NewView(strings.Join(v.lines(), "\n"))
	view.AltScreen = true
	view.WindowTitle = "caddis top"
	return view
}

// What is drawn beside the lines of a page: two lines above, the heads of the columns,
// and two below.
const frame = 5

// room is how many lines of a page there is room for.
func (v *top) room() int { return max(1, v.height-frame) }

// lines draws everything: as many lines as the terminal has, none longer than it is wide.
func (v top) lines() []string {
	list := v.list()
	var table []string
	if len(list.rows) > 0 {
		table = strings.Split(strings.TrimSuffix(v.paint.table(list), "\n"), "\n")
	} else {
		table = []string{"", v.nothing()}
	}
	head, body := table[0], table[1:]
	first := max(0, min(v.line[v.page]-v.room()/2, len(body)-v.room()))
	body = body[first:min(len(body), first+v.room())]
	all := append([]string{v.summary(), v.tabs(), v.paint.colour(bold, head)}, body...)
	if at := v.line[v.page] - first; len(list.rows) > 0 && at < len(body) {
		all[3+at] = v.mark(all[3+at])
	}
	for len(all) < v.height-2 {
		all = append(all, "")
	}
	all = append(all, v.tell(), v.paint.faint(v.help()))
	for i := range all {
		all[i] = ansi.Truncate(all[i], v.width, "…")
	}
	return all[:min(len(all), max(1, v.height))]
}

// mark shows that a line is chosen, without colours as well.
func (v *top) mark(line string) string {
	if !v.paint.on {
		return ">" + line
	}
	return "\x1b[7m" + ansi.Strip(line) + "\x1b[0m"
}

// summary adds everything up.
func (v *top) summary() string {
	sums := map[backend.State]int64{}
	rate := 0.0
	for i := range v.now.queues {
		q := &v.now.queues[i]
		for state, n := range q.Counts {
			sums[state] += n
		}
		rate += v.rate(q, func(q *backend.QueueInfo) int64 { return q.Completed })
	}
	busy, all := 0, 0
	for i := range v.now.workers {
		busy, all = busy+v.now.workers[i].Running, all+v.now.workers[i].Concurrency
	}
	return fmt.Sprintf("%d waiting  %d running  %d scheduled  %d dead  %s/s done  %d/%d executors busy  %s",
		sums[backend.StateWaiting], sums[backend.StateRunning], sums[backend.StateScheduled],
		sums[backend.StateDead], figure(rate), busy, all, v.paint.faint(clean(v.url)))
}

func (v *top) tabs() string {
	jobs := "3 running jobs"
	if v.queue() != "" {
		jobs += " of " + clean(v.queue())
	}
	names := [pages]string{"1 queues", "2 workers", jobs}
	for p := range pages {
		if p == v.page {
			names[p] = v.paint.colour(bold, "["+names[p]+"]")
		} else {
			names[p] = v.paint.faint(" " + names[p] + " ")
		}
	}
	return strings.Join(names[:], " ")
}

// tell is the line for what went wrong, is asked or was done.
func (v *top) tell() string {
	switch {
	case v.question != "":
		return v.paint.colour(yellow, v.question+" y/n")
	case v.said != "":
		return clean(v.said)
	case v.now.err != nil && v.now.at.IsZero():
		return v.paint.colour(red, "the store does not answer: "+clean(v.now.err.Error()))
	case v.now.err != nil:
		return v.paint.colour(red, fmt.Sprintf("what you see was read %s: %s", ago(v.now.at, time.Now()), clean(v.now.err.Error())))
	}
	return ""
}

func (v *top) help() string {
	keys := "tab page  ↑↓ choose  "
	switch v.page {
	case pageQueues:
		keys += "enter running jobs  p pause or resume  "
	case pageJobs:
		keys += "c cancel  "
	}
	return keys + "q end"
}

func (v *top) nothing() string {
	switch {
	case v.now.at.IsZero():
		return "reading the store …"
	case v.page == pageQueues:
		return "there is no queue yet: nothing was ever enqueued"
	case v.page == pageWorkers:
		return "there is no worker: jobs wait until one starts"
	}
	return "nothing runs here now"
}

// list is what the page lists.
func (v *top) list() *listing {
	now := v.now.at
	switch v.page {
	case pageQueues:
		l := &listing{columns: []string{"queue", "state", "#waiting", "#oldest", "#running", "#done/s", "#failed/s", "#scheduled", "#dead", "#blocked"}}
		for i := range v.now.queues {
			q := &v.now.queues[i]
			oldest := ""
			if !q.OldestWaiting.IsZero() {
				oldest = operate.Span(max(0, now.Sub(q.OldestWaiting)))
			}
			l.add(nil, q.Name, queueState(*q, now), count(q, backend.StateWaiting), oldest, count(q, backend.StateRunning),
				figure(v.rate(q, func(q *backend.QueueInfo) int64 { return q.Completed })),
				figure(v.rate(q, func(q *backend.QueueInfo) int64 { return q.Failed + q.Dead })),
				count(q, backend.StateScheduled), count(q, backend.StateDead), count(q, backend.StateBlocked))
		}
		return l
	case pageWorkers:
		l := &listing{columns: []string{"id", "state", "#busy", "queues", "host", "#pid", "started", "seen"}}
		for i := range v.now.workers {
			w := &v.now.workers[i]
			l.add(nil, w.ID, w.State, fmt.Sprintf("%d/%d", w.Running, w.Concurrency), listed(w.Queues), w.Host, strconv.Itoa(w.PID),
				ago(w.StartedAt, now), ago(w.SeenAt, now))
		}
		return l
	}
	l := &listing{columns: []string{"id", "kind", "#attempt", "enqueued", "worker", "lease ends", "state"}}
	for i := range v.now.running {
		j := &v.now.running[i]
		state := string(j.State)
		if j.CancelRequested {
			state = "cancelling"
		}
		l.add(nil, j.ID, j.Kind, strconv.Itoa(j.Attempts+1), ago(j.EnqueuedAt, now), j.LeasedBy, ago(j.LeaseExpiresAt, now), state)
	}
	return l
}

func count(q *backend.QueueInfo, state backend.State) string {
	return strconv.FormatInt(q.Counts[state], 10)
}

// rate is by how much a count of a queue grew per second between the last two readings.
func (v *top) rate(q *backend.QueueInfo, of func(*backend.QueueInfo) int64) float64 {
	passed := v.now.at.Sub(v.before.at).Seconds()
	if v.before.at.IsZero() || passed <= 0 {
		return 0
	}
	for i := range v.before.queues {
		if b := &v.before.queues[i]; b.Name == q.Name {
			return max(0, float64(of(q)-of(b))) / passed
		}
	}
	return 0
}

// figure writes a rate with as many digits as are worth reading.
func figure(rate float64) string {
	if rate == 0 || rate >= 10 {
		return strconv.FormatFloat(rate, 'f', 0, 64)
	}
	return strconv.FormatFloat(rate, 'f', 1, 64)
}
