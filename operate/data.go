package operate

import (
	"encoding/json"

	"github.com/caddis-go/caddis/jobs"
)

// anything takes what a codec decodes that goes by JSON.
type anything struct{ json json.RawMessage }

func (a *anything) UnmarshalJSON(data []byte) error {
	a.json = append(a.json[:0], data...)
	return nil
}

// PayloadJSON is the payload of a job as it is in JSON, decoded by a codec that the client
// knows and that goes by JSON. [backend.ErrNotFound] says that there is none.
func PayloadJSON(job jobs.JobInfo) (json.RawMessage, error) {
	var data anything
	err := job.DecodeArgs(&data)
	return data.json, err
}

// ResultJSON is what the handler left, as [PayloadJSON].
func ResultJSON(job jobs.JobInfo) (json.RawMessage, error) {
	data, err := jobs.ResultOf[anything](job)
	return data.json, err
}

// ProgressJSON is the last progress that was published, as [PayloadJSON].
func ProgressJSON(job jobs.JobInfo) (json.RawMessage, error) {
	data, err := jobs.ProgressOf[anything](job)
	return data.json, err
}

// CheckpointJSON is ResultJSON for the checkpoint that the job saved last.
func CheckpointJSON(job jobs.JobInfo) (json.RawMessage, error) {
	data, err := jobs.CheckpointOf[anything](job)
	return data.json, err
}
