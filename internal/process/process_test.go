package process

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// terminationGracePeriodSeconds shorter than the drain: warn at start.
func TestLessonAGraceThatTheEnvironmentCutsShortIsWarnedOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grace time.Duration
		env   map[string]string
		want  []string // nothing: no warning
	}{
		"nothing is known":               {time.Hour, nil, nil},
		"kubernetes, fits":               {30 * time.Second, map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, nil},
		"kubernetes, too long":           {31 * time.Second, map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, []string{"31s", "30s that Kubernetes", GraceVariable}},
		"said, fits":                     {30 * time.Second, map[string]string{GraceVariable: "30s"}, nil},
		"said, too long":                 {30 * time.Second, map[string]string{GraceVariable: "29.9s"}, []string{"the grace of 30s", "29.9s", "lower Config.Grace"}},
		"said, and stronger than a hint": {time.Minute, map[string]string{GraceVariable: "90s", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}, nil},
		"not a duration":                 {time.Second, map[string]string{GraceVariable: "30"}, []string{`"30"`, "no duration"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := GraceWarning(c.grace, func(key string) string { return c.env[key] })
			if c.want == nil {
				require.Empty(t, text)
			}
			for _, want := range c.want {
				require.Contains(t, text, want)
			}
		})
	}
}

func TestTermAndInterruptAskForAStop(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, []os.Signal{syscall.SIGTERM, os.Interrupt}, StopSignals)
}
