package jobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddis-go/caddis/backend"
)

// A CopyOption is said of one [Client.Copy].
type CopyOption func(*copying)

type copying struct{ key string }

// CopyOnce makes the id of a copy of the job, of when that was enqueued, and of a key, which
// is not empty. While the queue holds that copy, in whatever state, another one with the same
// key stores nothing, and its receipt says Existing: for who may ask twice, as by a second click.
func CopyOnce(key string) CopyOption { return func(c *copying) { c.key = key } }

// Copy enqueues a stored job once more, whatever its state, as a new one that is due now:
// with another id, and with the queue, kind, payload, options, limits, tags and headers of
// the first. Its payload is not decoded, so that its codec need not be known. A unique key is
// not taken over: a copy is wanted beside the first. The middleware around enqueues is asked
// as for any job.
//
// The error is [backend.ErrNotFound] if there is no such job, and wraps
// [backend.ErrRejected] if the copy could not run, as its deadline has passed. After
// [backend.ErrUnavailable] it may or may not have been stored.
func (c *Client) Copy(ctx context.Context, queue, id string, options ...CopyOption) (Receipt, error) {
	return c.copy(ctx, "copy", queue, id, options, nil)
}

// CopyWith is [Client.Copy] with another payload, in JSON. It is encoded by the codec of the
// job, which the client's registry has to know and which has to go by JSON, and has to fit
// the type of the args without a field too many, if the registry knows the kind: else the
// error wraps [backend.ErrRejected], with a [PayloadError] that shows none of it, or
// [ErrPayload]. Keys that were taken from the args, such as those of limits, stay as they were.
func (c *Client) CopyWith(ctx context.Context, queue, id string, payload json.RawMessage, options ...CopyOption) (Receipt, error) {
	return c.copy(ctx, "copy with another payload", queue, id, options, func(info *backend.JobInfo) ([]byte, error) {
		var value json.RawMessage
		var compact bytes.Buffer
		err := decode(JSON, "payload", info.Kind, payload, &value)
		if err == nil {
			err = json.Compact(&compact, value)
		}
		if err != nil {
			return nil, reject("%w", err)
		}
		codec := c.registry.codec(info.Codec)
		if codec == nil {
			return nil, reject("the codec %q of the job is not known here; give it to the registry by WithCodec", info.Codec)
		}
		if args, known := c.registry.NewArgs(info.Kind); known {
			if err := decode(strictJSON{}, "payload", info.Kind, payload, args); err != nil {
				return nil, reject("%w", err)
			}
		}
		return encode(codec, "payload", info.Kind, json.RawMessage(compact.Bytes()))
	})
}

func (c *Client) copy(ctx context.Context, op, queue, id string, options []CopyOption, change func(*backend.JobInfo) ([]byte, error)) (Receipt, error) {
	if err := checkAct(op, queue, id); err != nil {
		return Receipt{}, err
	}
	info, err := c.backend.Job(ctx, queue, id)
	if err != nil {
		return Receipt{}, err
	}
	fail := func(err error) (Receipt, error) {
		err = &Error{Op: op, Kind: info.Kind, Err: err}
		return Receipt{Queue: queue, Err: err}, err
	}
	var asked copying
	for i, o := range options {
		if o == nil {
			return fail(reject("option %d is nil", i+1))
		}
		o(&asked)
	}
	now := time.Now()
	job := backend.NewJob{Job: info.Job, Fresh: c.plain}
	job.EnqueuedAt, job.DueAt = time.Time{}, time.Time{}
	job.MaxAttempts = cmp.Or(job.MaxAttempts, info.AttemptLimit)
	if job.ID = newID(now); asked.key != "" {
		job.ID, job.Fresh = copyID(&info.Job, asked.key), false
	}
	if len(job.Limits) > 0 && job.Limits[0].Key != "" {
		job.ID = backend.KeyedID(job.ID, backend.LimitKey(job.Limits[0].Key))
	}
	if change != nil {
		if job.Payload, err = change(&info); err != nil {
			return fail(err)
		}
	}
	if err := checkWhole(&job, now); err != nil {
		return fail(err)
	}
	receipts, err := c.store(ctx, []backend.NewJob{job})
	if err == nil && len(receipts) != 1 {
		err = fmt.Errorf("%d receipts came back for one job", len(receipts))
	}
	if errors.Is(err, ErrFinished) && asked.key != "" {
		receipts[0].Err, err = nil, nil // it is the copy of before
	}
	if err != nil {
		return fail(err)
	}
	return receipts[0], nil
}

// copyID is a ULID as other ids are, of the time of the first job.
func copyID(job *backend.Job, key string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %q", job.Queue, job.ID, job.EnqueuedAt.UnixNano(), key))
	id := ulid.ULID(sum[:16])
	_ = id.SetTime(ulid.Timestamp(job.EnqueuedAt)) // fails from the year 10889 on
	return id.String()
}
