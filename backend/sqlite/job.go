package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// job is a row of caddis_job.
type job struct {
	seq      int64
	queue    int64
	id       string
	state    state
	level    int64
	rank, at int64
	key      string

	token, worker       string
	process             int64
	ahead, cancel, done bool
	crashes             int64
	enqueued, due       int64
	bytes               int64
	kind                string
	options             string
	history             string
	payload             []byte
	// limited is set until the job has finished, if it has limits; parked is its number
	// among those that were parked, until it is leased.
	limited bool
	parked  int64
	// lane is that of the job, lined is set while it waits there.
	lane  string
	lined bool
	// apart is set if the payload is in caddis_payload.
	apart bool
}

// largePayload is from where on a payload is kept apart from its job, in bytes.
const largePayload = 2048

const jobColumns = leanColumns + `, payload IS NULL,
	ifnull(payload, (SELECT data FROM caddis_payload WHERE caddis_payload.seq = caddis_job.seq))`

// leanColumns are those of a job without its payload.
const leanColumns = `seq, queue, id, state, level, rank, at, ifnull(key, ''), ifnull(token, ''), ifnull(worker, ''),
	ifnull(process, 0), ahead, cancel, done, crashes, enqueued, due, bytes, kind, ifnull(options, ''), ifnull(history, ''),
	limited IS NOT NULL, ifnull(parked, 0), ifnull(lane, '')`

func (j *job) fields() []any {
	return []any{
		&j.seq, &j.queue, &j.id, &j.state, &j.level, &j.rank, &j.at, &j.key, &j.token, &j.worker,
		&j.process, &j.ahead, &j.cancel, &j.done, &j.crashes, &j.enqueued, &j.due, &j.bytes, &j.kind, &j.options, &j.history,
		&j.limited, &j.parked, &j.lane,
	}
}

// scanned tells the level of a job that waits in its lane from the place of its row.
func (j *job) scanned() {
	if j.level >= inLane {
		j.level, j.lined = j.level-inLane, true
	}
}

// whole returns the rows of a query for jobColumns.
func whole(x executor, query string, args ...any) (all []*job, err error) {
	err = each(x, query, args, func(rows *sql.Rows) error {
		j := &job{}
		err := rows.Scan(append(j.fields(), &j.apart, &j.payload)...)
		j.scanned()
		all = append(all, j)
		return err
	})
	return all, err
}

// lean returns the rows of a query for leanColumns.
func lean(x executor, query string, args ...any) (all []*job, err error) {
	err = each(x, query, args, func(rows *sql.Rows) error {
		j := &job{}
		all = append(all, j)
		err := rows.Scan(j.fields()...)
		j.scanned()
		return err
	})
	return all, err
}

// options is what a producer may say of a job besides, as JSON. What may be no UTF-8
// is kept as bytes.
type options struct {
	Codec       []byte        `json:"codec,omitempty"`
	MaxAttempts int           `json:"max_attempts,omitempty"`
	MaxCrashes  int           `json:"max_crashes,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`
	Deadline    time.Time     `json:"deadline,omitzero"`
	ExpireAfter time.Duration `json:"expire_after,omitempty"`
	Retention   time.Duration `json:"retention,omitempty"`
	Tags        [][]byte      `json:"tags,omitempty"`
	Headers     []header      `json:"headers,omitempty"`

	Limits []backend.Limit `json:"limits,omitempty"`
	Lane   *backend.Lane   `json:"lane,omitempty"`
}

type header struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// encodeOptions returns nil for none.
func encodeOptions(j *backend.Job) (any, error) {
	if j.Codec == "" && j.MaxAttempts == 0 && j.MaxCrashes == 0 && j.Timeout == 0 && j.Deadline.IsZero() &&
		j.ExpireAfter == 0 && j.Retention == 0 && len(j.Tags) == 0 && len(j.Headers) == 0 && len(j.Limits) == 0 && j.Lane.Key == "" {
		return nil, nil
	}
	o := options{
		Codec: []byte(j.Codec), MaxAttempts: j.MaxAttempts, MaxCrashes: j.MaxCrashes, Timeout: j.Timeout,
		Deadline: j.Deadline.UTC(), ExpireAfter: j.ExpireAfter, Retention: j.Retention, Limits: j.Limits,
	}
	if j.Lane.Key != "" {
		o.Lane = &j.Lane
	}
	for _, tag := range j.Tags {
		o.Tags = append(o.Tags, []byte(tag))
	}
	for _, key := range slices.Sorted(maps.Keys(j.Headers)) {
		o.Headers = append(o.Headers, header{[]byte(key), []byte(j.Headers[key])})
	}
	text, err := json.Marshal(&o)
	if err != nil {
		return nil, reject("the options of the job cannot be stored: %w", err)
	}
	return string(text), nil
}

// errStored means that the file holds something that the store did not write.
var errStored = errors.New("what is stored of the job cannot be read")

// public is the job as its producer described it.
func (j *job) public(queue string) (backend.Job, error) {
	job := backend.Job{
		ID: j.id, Queue: queue, Kind: j.kind, Payload: j.payload, Priority: backend.PriorityHighest - int(j.level),
		EnqueuedAt: instant(j.enqueued), DueAt: instant(j.due),
	}
	if j.apart && len(j.payload) == 0 {
		return backend.Job{ID: j.id, Queue: queue}, fmt.Errorf("%w: its payload is gone", errStored)
	}
	if j.options == "" {
		return job, nil
	}
	var o options
	if err := json.Unmarshal([]byte(j.options), &o); err != nil {
		return backend.Job{ID: j.id, Queue: queue}, fmt.Errorf("%w: its options: %w", errStored, err)
	}
	job.Codec, job.MaxAttempts, job.MaxCrashes, job.Timeout = string(o.Codec), o.MaxAttempts, o.MaxCrashes, o.Timeout
	job.Deadline, job.ExpireAfter, job.Retention = o.Deadline, o.ExpireAfter, o.Retention
	job.Limits = o.Limits
	if o.Lane != nil {
		job.Lane = *o.Lane
	}
	for _, tag := range o.Tags {
		job.Tags = append(job.Tags, string(tag))
	}
	if len(o.Headers) > 0 {
		job.Headers = make(map[string]string, len(o.Headers))
		for _, h := range o.Headers {
			job.Headers[string(h.Key)] = string(h.Value)
		}
	}
	return job, nil
}

// retention is how long the job asks to be kept once completed.
func (j *job) retention() time.Duration {
	var o options
	if j.options != "" && json.Unmarshal([]byte(j.options), &o) != nil {
		return 0
	}
	return o.Retention
}

// past is the history.
func (j *job) past() (h backend.History, err error) {
	if j.history == "" {
		return h, nil
	}
	if err := json.Unmarshal([]byte(j.history), &h); err != nil {
		return backend.History{}, fmt.Errorf("%w: its history: %w", errStored, err)
	}
	return h, nil
}

func encodeHistory(h *backend.History) (string, error) {
	kept := *h
	kept.StartedAt, kept.FinishedAt = kept.StartedAt.UTC(), kept.FinishedAt.UTC()
	kept.Failures = slices.Clone(kept.Failures[max(0, len(kept.Failures)-backend.MaxFailures):])
	for i := range kept.Failures {
		// Not every zone can be written.
		kept.Failures[i].At = kept.Failures[i].At.UTC()
	}
	kept.Logs = slices.Clone(kept.Logs)
	for i := range kept.Logs {
		kept.Logs[i].At = kept.Logs[i].At.UTC()
	}
	text, err := json.Marshal(&kept)
	if err != nil {
		return "", reject("the history cannot be stored: %w", err)
	}
	return string(text), nil
}

// lease is what a worker gets of a running job.
func (j *job) lease(queue string) backend.Lease {
	l := backend.Lease{Token: j.token, Crashes: int(j.crashes), ExpiresAt: instant(j.at)}
	l.Job, l.Err = j.public(queue)
	if l.Err == nil {
		l.History, l.Err = j.past()
	}
	if l.Err != nil {
		l.Job = backend.Job{ID: j.id, Queue: queue}
	}
	return l
}

// info is what an inspector gets. Of a job that cannot be read it has what can.
func (j *job) info(queue string) backend.JobInfo {
	info := backend.JobInfo{State: j.state.public(), Crashes: int(j.crashes)}
	var err error
	if info.Job, err = j.public(queue); err != nil {
		info.Failures = append(info.Failures, backend.Failure{Error: err.Error()})
	} else if info.History, err = j.past(); err != nil {
		info.Failures = append(info.Failures, backend.Failure{Error: err.Error()})
	}
	switch j.state {
	case scheduled:
		info.ScheduledFor = instant(j.at)
	case blocked:
		info.BlockedOn = j.key
	case running:
		info.LeasedBy, info.Token, info.LeaseExpiresAt, info.CancelRequested = j.worker, j.token, instant(j.at), j.cancel
	case completed, cancelled, dead:
		info.KeptUntil = instant(j.at)
	}
	return info
}

// weigh is the size of a new job in bytes.
func weigh(j *backend.Job) int64 {
	n := len(j.ID) + len(j.Kind) + len(j.Codec) + len(j.Payload)
	for _, tag := range j.Tags {
		n += len(tag)
	}
	for k, v := range j.Headers {
		n += len(k) + len(v)
	}
	return int64(n)
}
