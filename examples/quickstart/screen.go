package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/lmittmann/tint"

	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/backend"
)

// screen shows logs and, on a terminal, a line of progress below them.
type screen struct {
	terminal bool

	mu    sync.Mutex
	w     io.Writer
	quiet bool
	line  bool
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w}
	if file, ok := w.(*os.File); ok {
		info, err := file.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

// hideProgress leaves only the logs.
func (s *screen) hideProgress() { s.quiet = true }

// logger logs what is worth a warning; the table tells the rest.
func (s *screen) logger() *slog.Logger {
	return slog.New(tint.NewTextHandler(s, &tint.Options{Level: slog.LevelWarn, NoColor: !s.terminal}))
}

// Write puts text above the line of progress, which the next show restores.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	return s.w.Write(text)
}

func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal || s.quiet {
		return
	}
	s.erase()
	fmt.Fprint(s.w, line)
	s.line = true
}

// say writes a line that stays.
func (s *screen) say(line string) { fmt.Fprintln(s, line) }

func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
}

func (s *screen) erase() {
	if s.line {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.line = false
	}
}

// progressLine says in one short line how far the work is.
func progressLine(s *state, err error, own actors.Status, bytes int64) string {
	line := fmt.Sprintf("%s done, %s failed, %s left, %s MB read",
		thousands(s.files[backend.StateCompleted]), thousands(s.files[backend.StateDead]),
		thousands(s.left()), thousands(bytes>>20))
	switch {
	case err != nil:
		line = "waiting for the job store"
	case !s.scan.Final():
		line += ", looking for more"
	}
	if own.State != actors.StateRunning {
		line += " (" + string(own.State) + ")"
	}
	return line
}
