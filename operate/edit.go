package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// EditAndRetry has a dead or cancelled job run again with another payload, in JSON: as a new
// job of another id, see [jobs.Client.CopyWith]. The old one, with its history, is deleted
// when the new one is accepted, and not before; so after an error there is the old one, or
// both. The receipt is that of the new one.
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
	receipt, err := client.CopyWith(ctx, queue, id, payload)
	if err != nil {
		return receipt, err
	}
	results, err := client.Delete(ctx, queue, id)
	if err == nil && len(results) == 1 {
		err = results[0].Err
	}
	if err != nil {
		return receipt, fmt.Errorf("the job %q was enqueued in place of %q, but that could not be deleted: %w", receipt.ID, id, err)
	}
	return receipt, nil
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
