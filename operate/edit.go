package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// EditAndRetry has a dead or cancelled job run again with another payload, in JSON: as a new
// job of another id, see [jobs.Client.CopyWith]. The old one, with its history, is deleted
// when the new one is accepted, and not before; so after an error there is the old one, or
// both. The receipt is that of the new one, and has an id if that is there.
//
// Who asks once more with the same payload, as by a second click, gets the same new job; with
// another one the error wraps [backend.ErrConflict], and the receipt is that of the first.
//
// A job in another state is refused with [backend.ErrState]: it may run at any moment, or has
// done its work. [jobs.Client.Copy] takes any.
func EditAndRetry(ctx context.Context, client *jobs.Client, queue, id string, payload json.RawMessage) (jobs.Receipt, error) {
	job, err := client.Job(ctx, queue, id)
	if err != nil {
		return jobs.Receipt{}, err
	}
	if !Editable(job.State) {
		return jobs.Receipt{}, fmt.Errorf("edit job %q: it is %s, and only dead and cancelled ones are edited; copy it instead: %w", id, job.State, backend.ErrState)
	}
	receipt, err := client.CopyWith(ctx, queue, id, payload, jobs.CopyOnce("edit "+strconv.FormatInt(job.FinishedAt.UnixNano(), 10)))
	if err != nil {
		return receipt, err
	}
	if receipt.Existing && !hasPayload(ctx, client, &receipt, payload) {
		return receipt, fmt.Errorf("the job %q was edited already, and the job %q was enqueued in its place, with another payload: %w", id, receipt.ID, backend.ErrConflict)
	}
	results, err := client.Delete(ctx, queue, id)
	if err == nil && len(results) == 1 {
		err = results[0].Err
	}
	if err != nil && !errors.Is(err, backend.ErrNotFound) { // else who asked at the same time has deleted it
		return receipt, fmt.Errorf("the job %q was enqueued in place of %q, but that could not be deleted: %w", receipt.ID, id, err)
	}
	return receipt, nil
}

// hasPayload reports whether a job is there, with a payload.
func hasPayload(ctx context.Context, client *jobs.Client, receipt *jobs.Receipt, payload json.RawMessage) bool {
	job, err := client.Job(ctx, receipt.Queue, receipt.ID)
	if err != nil {
		return false
	}
	stored, err := PayloadJSON(job)
	var wanted, there bytes.Buffer
	return err == nil && json.Compact(&wanted, payload) == nil && json.Compact(&there, stored) == nil && bytes.Equal(wanted.Bytes(), there.Bytes())
}

// PayloadFault says what is wrong with a payload that [EditAndRetry] has rejected. It may show
// pieces of it, so it is for who wrote it, and for no log; the error itself shows none. It is
// empty if that is about something else.
func PayloadFault(err error) string {
	var p *jobs.PayloadError
	if !errors.Is(err, backend.ErrRejected) || !errors.As(err, &p) || p.Err == nil {
		return ""
	}
	return fmt.Sprintf("%s: %v", p.Detail, p.Err)
}

// Editable reports whether a job in a state can be edited.
func Editable(state backend.State) bool {
	return state == backend.StateDead || state == backend.StateCancelled
}
