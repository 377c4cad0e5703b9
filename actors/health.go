package actors

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// Health answers the probes of an orchestrator:
//
//	/livez   200 while the worker's actors make progress, 503 when they do not:
//	         restart the process. A store that is away is no reason to.
//	/readyz  200 while the worker takes jobs, 503 from quiet on.
//
// Both tell as JSON the state, the counts, and the time that a stop has left.
// status is Worker.Status or one that says the same; lease is the worker's lease.
func Health(status func() Status, lease time.Duration) http.Handler {
	mux := http.NewServeMux()
	answer := func(good func(Status) bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			s := status()
			body := healthBody{OK: good(s), Status: s}
			if s.BackendError != "" { // strangers are not to learn where the store is
				body.BackendError = "the job store is unavailable or refuses a call; the log says more"
			}
			body.Gates = slices.Clone(s.Gates)
			for i := range body.Gates { // what a check said is for the log, too
				body.Gates[i].Reason = ""
			}
			if s.State.Stopping() {
				body.TimeLeft = max(0, time.Until(s.StopBy)).Round(time.Millisecond).String()
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			if !body.OK {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			_ = json.NewEncoder(w).Encode(body) // whoever asked may have gone
		}
	}
	mux.HandleFunc("GET /livez", answer(func(s Status) bool { return s.Live(lease) }))
	mux.HandleFunc("GET /readyz", answer(func(s Status) bool { return s.State == StateRunning }))
	return mux
}

type healthBody struct {
	OK       bool   `json:"ok"`
	TimeLeft string `json:"time_left,omitempty"`
	Status
}

// Live reports whether the actors make progress: they have gone round within two
// leases and some seconds, and no call to the store is stuck.
func (s Status) Live(lease time.Duration) bool {
	if s.State.Final() {
		return s.State == StateStopped
	}
	return s.StuckCalls == 0 && time.Since(s.LastProgress) < 2*lease+2*callTimeout
}
