//go:build unix

package caddis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis"
	"github.com/caddis-go/caddis/actors"
	"github.com/caddis-go/caddis/jobs"
)

func init() { helper = signalled }

// signalled is a program that runs one job, of the kind that mode says, and tells on
// stdout what happens.
func signalled(mode string) int {
	if mode == "paused" {
		return paused()
	}
	registry := jobs.NewRegistry()
	gate := make(chan struct{})
	jobs.Handle(registry, func(ctx context.Context, _ *jobs.Job[task]) error {
		fmt.Println("job")
		switch mode {
		case "polite":
			return polite(ctx, nil)
		case "obstinate":
			select {}
		case "crash":
			<-gate
			panic("at the disco")
		}
		<-gate
		return nil
	})
	system, err := caddis.New(caddis.Config{
		Registry: registry, Logger: slog.New(slog.DiscardHandler), Strategy: actors.Always(actor.EscalateDirective),
		Grace: time.Hour, CancelTime: 20 * time.Minute, HandBackTime: 20 * time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return 3
	}
	system.Subscribe(func(c actors.StateChanged) {
		fmt.Println("state", c.To)
		if c.To == actors.StateQuiet || c.To == actors.StateDraining && mode == "short" || mode == "crash" {
			close(gate)
		}
	})
	_, _ = system.Client().Enqueue(context.Background(), task{})
	report, err := system.Run(context.Background())
	fmt.Println("report", report.Completed, report.Interrupted, report.Abandoned)
	if err != nil {
		return 1
	}
	return 0
}

type program struct {
	t       *testing.T
	command *exec.Cmd
	out     *bufio.Scanner
}

func startProgram(t *testing.T, mode string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	p := &program{t: t, command: exec.CommandContext(ctx, os.Args[0])}
	p.command.Env = append(os.Environ(), helperVariable+"="+mode)
	p.command.Stderr = os.Stderr
	out, err := p.command.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(out)
	require.NoError(t, p.command.Start())
	return p
}

// until reads on until the program has said all of this, in any order.
func (p *program) until(lines ...string) {
	p.t.Helper()
	missing := map[string]bool{}
	for _, line := range lines {
		missing[line] = true
	}
	for len(missing) > 0 && p.out.Scan() {
		delete(missing, p.out.Text())
	}
	require.Empty(p.t, missing, "the program ended without saying this")
}

func (p *program) send(signal os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.command.Process.Signal(signal))
}

// end returns what the program still says, and its exit code.
func (p *program) end() (rest []string, code int) {
	for p.out.Scan() {
		rest = append(rest, p.out.Text())
	}
	err := p.command.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(p.t, err)
	}
	return rest, p.command.ProcessState.ExitCode()
}

func TestASignalDrains(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := startProgram(t, "short")
		p.until("state running", "job")
		p.send(signal)
		rest, code := p.end()
		require.Equal(t, []string{"state draining", "state stopped", "report 1 0 0"}, rest)
		require.Zero(t, code)
	}
}

func TestASecondSignalCancelsAndAThirdHandsBack(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "obstinate")
	p.until("state running", "job")
	p.send(syscall.SIGTERM)
	p.until("state draining")
	p.send(os.Interrupt)
	p.until("state cancelling")
	p.send(syscall.SIGTERM)
	rest, code := p.end()
	require.Equal(t, []string{"state handing-back", "state stopped", "report 0 0 1"}, rest)
	require.Zero(t, code)
}

func TestAPoliteJobEndsAtTheSecondSignal(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "polite")
	p.until("state running", "job")
	p.send(syscall.SIGTERM)
	p.until("state draining")
	p.send(syscall.SIGTERM)
	rest, code := p.end()
	require.Equal(t, "report 0 1 0", rest[len(rest)-1])
	require.Zero(t, code)
}

func TestTheQuietSignalQuiets(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "long")
	p.until("state running", "job")
	p.send(syscall.SIGTSTP)
	p.until("state quiet")
	p.send(syscall.SIGTERM)
	rest, code := p.end()
	require.Equal(t, "report 1 0 0", rest[len(rest)-1], "the running job went on: %s", strings.Join(rest, "; "))
	require.Zero(t, code)
}

func TestAProgramThatCrashedTellsSoByItsExitCode(t *testing.T) {
	t.Parallel()
	p := startProgram(t, "crash")
	rest, code := p.end()
	require.Contains(t, rest, "state crashed")
	require.Equal(t, 1, code)
}
