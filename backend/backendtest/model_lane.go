package backendtest

import (
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

// modelWeights are the lanes of the model, each with the one weight of its jobs.
var modelWeights = map[string]float64{"": 0, "a": 0, "b": 2, "c": 0.5}

// lane draws that of a job: mostly none.
func (p *player) lane() backend.Lane {
	if rapid.Bool().Draw(p.T, "without a lane") {
		return backend.Lane{}
	}
	key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(p.T, "lane")
	return backend.Lane{Key: key, Weight: modelWeights[key]}
}

func costOf(lane string) int64 { return backend.Lane{Key: lane, Weight: modelWeights[lane]}.Cost() }

// contest is between two lanes of a priority while both have work: by how much the first is
// ahead of the second, in what its jobs have cost, and between which bounds that was.
type contest struct{ ahead, least, most int64 }

type contestants struct {
	priority int
	a, b     string
}

// laned reports whether there are jobs with a lane that have not finished.
func (m *model) laned() bool {
	for _, e := range m.jobs {
		if e.job.Lane.Key != "" && !e.state.Final() {
			return true
		}
	}
	return false
}

// doubt notes of the jobs that came back to the front that they may be only the first of
// those without a lane, if no job with a lane is left.
func (m *model) doubt() {
	if !m.laned() {
		for _, e := range m.jobs {
			e.foremost = false
		}
	}
}

// comeBack is for a job that comes back to the front.
func (m *model) comeBack(e *entry, rank int) {
	e.rank, e.returned, e.foremost = rank, true, m.laned()
}

// inLane reports whether a job waits in the lane of a priority, which has the key "" for those
// without.
func (e *entry) inLane(priority int, key string) bool {
	return e.state == backend.StateWaiting && !e.returned && e.job.Priority == priority && e.job.Lane.Key == key
}

// nextWaiting returns the waiting jobs of which any may be the next to be leased: what came
// back to the front first, then the first of any lane.
func (m *model) nextWaiting() (next []*entry) {
	m.doubt()
	highest := backend.PriorityLowest - 1
	for _, e := range m.jobs {
		if e.state == backend.StateWaiting && m.fits(e) {
			highest = max(highest, e.job.Priority)
		}
	}
	first := func(of func(e *entry) bool) (first []*entry) {
		for _, e := range m.jobs {
			if !of(e) || !m.fits(e) {
				continue
			}
			if len(first) > 0 && e.rank < first[0].rank {
				first = first[:0]
			}
			if len(first) == 0 || e.rank == first[0].rank {
				first = append(first, e)
			}
		}
		return first
	}
	returned := first(func(e *entry) bool {
		return e.state == backend.StateWaiting && e.returned && e.job.Priority == highest
	})
	next = append(next, returned...)
	if len(returned) > 0 && returned[0].foremost {
		return next
	}
	for key := range modelWeights {
		if key != "" || len(returned) == 0 {
			next = append(next, first(func(e *entry) bool { return e.inLane(highest, key) })...)
		}
	}
	return next
}

// contested forgets the contests of lanes of which one has no work any more.
func (m *model) contested(work func(priority int, key string) bool) {
	for of := range m.contests {
		if !work(of.priority, of.a) || !work(of.priority, of.b) {
			delete(m.contests, of)
		}
	}
}

// works reports whether jobs wait in a lane, and with room whether one of them has room.
func (m *model) works(priority int, key string, room bool) bool {
	for _, e := range m.jobs {
		if e.inLane(priority, key) && (!room || m.fits(e)) {
			return true
		}
	}
	return false
}

// handOut compares what lanes have had when a job is about to be leased: of two that have work
// all the time neither may get ahead of the other by more than a turn of each.
func (p *player) handOut(e *entry) {
	m, priority := p.model, e.job.Priority
	m.contested(func(pr int, key string) bool { return pr != priority || m.works(pr, key, true) })
	if e.state != backend.StateWaiting {
		return
	}
	if e.returned {
		if !e.foremost { // whether it was the turn of those without a lane is not known
			m.contested(func(pr int, key string) bool { return pr != priority || key != "" })
		}
		return
	}
	for a := range modelWeights {
		for b := range modelWeights {
			of := contestants{priority, a, b}
			if a >= b || !m.works(priority, a, true) || !m.works(priority, b, true) {
				continue
			}
			c := m.contests[of]
			if c == nil {
				c = &contest{}
				m.contests[of] = c
			}
			switch e.job.Lane.Key {
			case a:
				c.ahead += costOf(a)
			case b:
				c.ahead -= costOf(b)
			}
			c.least, c.most = min(c.least, c.ahead), max(c.most, c.ahead)
			require.LessOrEqual(p, c.most-c.least, costOf(a)+costOf(b),
				"lane %q has got ahead of lane %q by %d, or back by %d", a, b, c.most, c.least)
		}
	}
}

// compareLanes compares what is told of the lanes.
func (p *player) compareLanes() {
	p.model.contested(func(priority int, key string) bool { return p.model.works(priority, key, false) })
	var job *entry
	want := map[string]int{}
	for _, e := range p.model.jobs {
		if e.job.Lane.Key != "" && e.state == backend.StateWaiting && !e.returned {
			want[e.job.Lane.Key]++
			job = e
		}
	}
	query := backend.LanesQuery{Queue: p.queue}
	place := 0
	if job != nil {
		query.Job = job.job.ID
		for _, e := range p.model.jobs {
			if e.inLane(job.job.Priority, job.job.Lane.Key) && e.rank <= job.rank {
				place++
			}
		}
	}
	info, err := p.store.Lanes(p.ctx, query)
	require.NoError(p, err)
	got := map[string]int{}
	for _, l := range info.Lanes {
		got[l.Key] = l.Waiting
	}
	require.Equal(p, want, got, "the jobs that wait in lanes")
	require.Equal(p, place, info.Place, "the place of job %q", query.Job)
}
