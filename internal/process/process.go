// Package process knows what the surroundings of a process say: which signals it
// may get, and how long it is given to stop.
package process

import (
	"fmt"
	"os"
	"time"
)

// GraceVariable is the environment variable that tells how long the process is
// given between TERM and KILL, less what a preStop hook uses up, as a Go duration
// such as "30s". Kubernetes does not tell its terminationGracePeriodSeconds to a
// pod, so the manifest has to.
const GraceVariable = "CADDIS_TERMINATION_GRACE"

// kubernetesGrace is the terminationGracePeriodSeconds that a pod has unless its
// manifest says otherwise.
const kubernetesGrace = 30 * time.Second

// GraceWarning returns a sentence if a stop with this grace may be cut short by a
// KILL, and "" if it is not or if that cannot be known.
func GraceWarning(grace time.Duration, getenv func(string) string) string {
	if text := getenv(GraceVariable); text != "" {
		limit, err := time.ParseDuration(text)
		switch {
		case err != nil:
			return fmt.Sprintf("%s is %q, which is no duration such as 30s; whether the grace of %v fits is not known", GraceVariable, text, grace)
		case grace > limit:
			return fmt.Sprintf("the grace of %v is longer than the %v that %s allows: a stop may end in a KILL; lower Config.Grace or raise terminationGracePeriodSeconds", grace, limit, GraceVariable)
		}
		return ""
	}
	if getenv("KUBERNETES_SERVICE_HOST") != "" && grace > kubernetesGrace {
		return fmt.Sprintf("the grace of %v is longer than the %v that Kubernetes gives by default: a stop may end in a KILL; raise terminationGracePeriodSeconds and tell it in %s", grace, kubernetesGrace, GraceVariable)
	}
	return ""
}

// StopSignals ask for a stop.
var StopSignals = stopSignals

// QuietSignal asks for quiet; nil where there is none.
var QuietSignal os.Signal = quietSignal
