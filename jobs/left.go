package jobs

import (
	"sync"

	"github.com/caddis-go/caddis/backend"
)

// unled guards the making of runs for jobs that no worker runs.
var unled sync.RWMutex

// attempt is the run that keeps what the handler leaves. A job that no worker runs, as
// in a test of a handler, gets one when it is needed.
func (i *Info) attempt() *Run {
	unled.RLock()
	run := i.run
	unled.RUnlock()
	if run != nil {
		return run
	}
	unled.Lock()
	defer unled.Unlock()
	if i.run == nil {
		i.run = &Run{codec: JSON, lease: &backend.Lease{}}
	}
	return i.run
}

func (r *Run) lastResult(kind string, v any) (found bool, err error) {
	r.mu.Lock()
	data := r.result
	r.mu.Unlock()
	return r.read("result", kind, data, v)
}

func (r *Run) lastProgress(kind string, v any) (found bool, err error) {
	r.mu.Lock()
	data := r.progress
	r.mu.Unlock()
	if data == nil {
		data = r.lease.History.Progress
	}
	return r.read("progress", kind, data, v)
}

func (r *Run) read(part, kind string, data []byte, v any) (found bool, err error) {
	switch {
	case data == nil:
		return false, nil
	case r.codec == nil:
		return true, r.unknownCodec("decode", part, kind)
	}
	return true, decode(r.codec, part, kind, data, v)
}

func (r *Run) unknownCodec(op, part, kind string) error {
	return &PayloadError{
		Op: op, Part: part, Kind: kind, Codec: r.lease.Job.Codec,
		Detail: "this worker does not know the codec; add it by WithCodec",
	}
}
