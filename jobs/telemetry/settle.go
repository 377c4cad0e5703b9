package telemetry

import (
	"context"
	"sync"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddis-go/caddis/jobs"
)

// maxSettling bounds the attempts whose settlement is awaited. Of those beyond there is no
// span of it.
const maxSettling = 10_000

// maxUnheard bounds them until an event has come, as nobody may send events.
const maxUnheard = 100

// settlingTime is for how long a settlement is awaited at least: the worker has lost the
// job if none comes.
const settlingTime = 5 * time.Minute

// settling are the attempts that have ended and are not settled yet.
type settling struct {
	mu       sync.Mutex
	attempts map[attempt]ended
	heard    bool // an event has come
}

type attempt struct {
	queue, id string
	number    int
	worker    string
}

type ended struct {
	span trace.SpanContext
	at   time.Time
}

func attemptOf(info *jobs.Info) attempt {
	return attempt{info.Queue, info.ID, info.Attempt, info.Worker}
}

// listen says that events come.
func (s *settling) listen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = true
}

func (s *settling) begin(info *jobs.Info, span trace.SpanContext, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !span.IsSampled() {
		return
	}
	bound := maxUnheard
	if s.heard {
		bound = maxSettling
	}
	if len(s.attempts) >= bound {
		for key, e := range s.attempts {
			if at.Sub(e.at) > settlingTime {
				delete(s.attempts, key)
			}
		}
		if len(s.attempts) >= bound {
			return
		}
	}
	if s.attempts == nil {
		s.attempts = map[attempt]ended{}
	}
	s.attempts[attemptOf(info)] = ended{span, at}
}

func (s *settling) end(info *jobs.Info) (e ended, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := attemptOf(info)
	e, found = s.attempts[key]
	delete(s.attempts, key)
	return e, found
}

// Observe is for caddis.Config.OnEvent and jobs.ClientConfig.OnEvent: figures of all
// events, and a span for the time from the end of a handler until the store had confirmed
// what became of the job.
func (t *Telemetry) Observe(event jobs.Event) {
	t.settling.listen()
	t.figures.observe(event)
	if event.Job == nil || event.Type == jobs.EventStarted {
		return
	}
	e, found := t.settling.end(event.Job)
	if !found {
		return
	}
	_, span := t.tracer.Start(trace.ContextWithSpanContext(context.Background(), e.span), "settle "+event.Job.Queue,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(e.at),
		trace.WithAttributes(about("settle", semconv.MessagingOperationTypeSettle, event.Job.Queue)...),
		trace.WithAttributes(described(event.Job)...), trace.WithAttributes(eventKey.String(string(event.Type))))
	span.End()
}
