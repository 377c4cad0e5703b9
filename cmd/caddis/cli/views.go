package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// jobView is a job as it is printed in JSON: as it is stored, but for its token, and for
// what it holds of data, which is there only if it was asked for.
type jobView struct {
	backend.JobInfo
	Payload    json.RawMessage `json:"payload,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Progress   json.RawMessage `json:"progress,omitempty"`
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
	// PayloadError says why data that was asked for cannot be shown.
	PayloadError string `json:"payload_error,omitempty"`
}

// view makes what is printed of a job.
func (t *tool) view(job jobs.JobInfo, payload bool) jobView {
	v := jobView{JobInfo: job.JobInfo}
	v.JobInfo.Payload, v.JobInfo.Result, v.Token = nil, nil, ""
	v.JobInfo.Progress, v.JobInfo.Checkpoint = nil, nil
	logs := v.Logs
	v.Logs = nil
	if !payload {
		return v
	}
	v.Logs = logs
	var wrong []string
	keep := func(part *json.RawMessage, data json.RawMessage, err error) {
		if err != nil {
			wrong = append(wrong, err.Error())
			return
		}
		*part = data
	}
	if job.Payload != nil {
		data, err := t.argsOf(job)
		keep(&v.Payload, data, err)
	}
	if job.Result != nil {
		data, err := operate.ResultJSON(job)
		keep(&v.Result, data, err)
	}
	if job.Progress != nil {
		data, err := operate.ProgressJSON(job)
		keep(&v.Progress, data, err)
	}
	if job.Checkpoint != nil {
		data, err := operate.CheckpointJSON(job)
		keep(&v.Checkpoint, data, err)
	}
	v.PayloadError = strings.Join(wrong, "; ")
	return v
}

// argsOf reads the args of a job, by their type if the registry knows it, as JSON.
func (t *tool) argsOf(job jobs.JobInfo) (json.RawMessage, error) {
	if job.Codec == "" || job.Codec == jobs.JSON.Name() {
		return operate.PayloadJSON(job) // what is stored, without a detour by a type that may lack a field
	}
	if args, ok := t.registry.NewArgs(job.Kind); ok {
		if err := job.DecodeArgs(args); err != nil {
			return nil, err
		}
		return json.Marshal(args)
	}
	return operate.PayloadJSON(job)
}

// about says of a job in a few words what its state makes one ask.
func about(job *backend.JobInfo, now time.Time) string {
	switch job.State {
	case backend.StateScheduled:
		if text := lastFailure(job); text != "" {
			return "due " + ago(job.ScheduledFor, now) + "; " + text
		}
		return "due " + ago(job.ScheduledFor, now)
	case backend.StateBlocked:
		return "waits for " + operate.WaitsFor(job.BlockedOn)
	case backend.StateRunning:
		if job.CancelRequested {
			return "to be cancelled; by " + job.LeasedBy
		}
		return "by " + job.LeasedBy
	case backend.StateCompleted:
		return "finished " + ago(job.FinishedAt, now)
	}
	return lastFailure(job)
}

func lastFailure(job *backend.JobInfo) string {
	return shorten(operate.LastError(job), 80)
}

// attempts tells how many of the attempts of a job were used.
func attempts(job *backend.JobInfo) string {
	if job.MaxAttempts == 0 {
		return fmt.Sprint(job.Attempts)
	}
	return fmt.Sprintf("%d/%d", job.Attempts, job.MaxAttempts)
}
