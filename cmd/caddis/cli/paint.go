package cli

import (
	"os"
	"strings"

	"github.com/mattn/go-isatty"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// paint colours what is written to a terminal; the zero paint colours nothing.
type paint struct{ on bool }

// paint is that of the standard output.
func (t *tool) paint() paint { return paint{t.coloured(t.stdout)} }

// coloured reports whether colours are wanted: on a terminal, unless NO_COLOR is set.
func (t *tool) coloured(w any) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd()) && t.getenv("NO_COLOR") == "" && t.getenv("TERM") != "dumb"
}

// The colours of terminals, by their codes.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (p paint) colour(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p paint) faint(text string) string { return p.colour(faint, text) }

// states has the colours of the states of jobs, workers, queues, schedules and findings, and
// of events.
var states = map[string]string{
	string(backend.StateScheduled): cyan,
	string(backend.StateBlocked):   yellow,
	string(backend.StateRunning):   green,
	string(backend.StateCompleted): faint,
	string(backend.StateCancelled): faint,
	string(backend.StateDead):      red,

	string(actors.StateQuiet):       yellow,
	string(actors.StateDraining):    yellow,
	string(actors.StateCancelling):  yellow,
	string(actors.StateHandingBack): yellow,
	string(actors.StateCrashed):     red,

	string(jobs.EventRetried): yellow,
	string(jobs.EventDied):    red,
	string(jobs.EventLeftOut): yellow,

	statePaused: yellow,

	string(operate.LevelOK):      green,
	string(operate.LevelNote):    cyan,
	string(operate.LevelWarning): yellow,
	string(operate.LevelError):   red,
}

// state colours a state, which may have more words behind it.
func (p paint) state(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return p.colour(states[word], text)
}
