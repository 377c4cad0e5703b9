package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// child is a worker process: this program, started again.
type child struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	events chan event
	seen   []event // all that were taken from events so far
	log    bytes.Buffer
	done   chan struct{} // closed when it has ended
	ended  time.Time
}

func startChild(c childConfig) (*child, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &child{cmd: exec.Command(binary), events: make(chan event, 10_000), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	p.cmd.Stderr = &p.log
	p.cmd.SysProcAttr = dieWithParent()
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := json.NewDecoder(output)
		for {
			var e event
			if err := lines.Decode(&e); err != nil {
				break
			}
			p.events <- e
		}
		p.ended = time.Now() // its output is closed when it ends
		_ = p.cmd.Wait()     // its exit code is looked at by those who care
		close(p.events)
		close(p.done)
	}()
	return p, nil
}

// patience is how long a worker process may take to do what it should.
const patience = 30 * time.Second

// next waits for the next event of a kind.
func (p *child) next(ctx context.Context, what string) (event, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-p.events:
			if !ok {
				return e, fmt.Errorf("the worker process has ended: %s", p.log.String())
			}
			p.seen = append(p.seen, e)
			if e.What == what {
				return e, nil
			}
		case <-timer.C:
			return event{}, fmt.Errorf("the worker process has not said %q within %v", what, patience)
		case <-ctx.Done():
			return event{}, context.Cause(ctx)
		}
	}
}

// ask asks the process for what it has used.
func (p *child) ask(ctx context.Context, what string) (event, error) {
	if _, err := fmt.Fprintln(p.input, what); err != nil {
		return event{}, err
	}
	return p.next(ctx, what)
}

// terminate sends TERM, waits for the end and answers how long that took.
func (p *child) terminate(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case e, ok := <-p.events:
			if ok {
				p.seen = append(p.seen, e)
				continue
			}
			<-p.done
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				return 0, fmt.Errorf("the worker process ended with %d: %s", code, p.log.String())
			}
			return p.ended.Sub(began), nil
		case <-timer.C:
			return 0, fmt.Errorf("the worker process has not ended %v after TERM", patience)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// kill ends the process at once, if it has not ended.
func (p *child) kill() {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	for range p.events {
	}
	<-p.done
}
