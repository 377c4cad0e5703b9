package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Log tells the run who gets what is to be said while it runs.
func (r *Run) Log(log *slog.Logger) { r.log = log }

func (r *Run) logger() *slog.Logger {
	if r.log == nil {
		return slog.Default()
	}
	return r.log
}

func (r *Run) saveCheckpoint(ctx context.Context, kind string, v any) error {
	data, err := r.encode("checkpoint", kind, v, backend.MaxCheckpoint)
	if err != nil {
		return err
	}
	aside := r.beside()
	aside.saving.Lock()
	defer aside.saving.Unlock()
	if r.store != nil {
		if err := r.record(ctx, data); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return errEnded
	}
	aside.checkpoint = data
	return nil
}

const (
	// A checkpoint that is not stored is tried again after a pause that grows.
	minSavePause = 50 * time.Millisecond
	maxSavePause = 500 * time.Millisecond
)

// record stores a checkpoint, again and again while the store is away.
func (r *Run) record(ctx context.Context, checkpoint []byte) error {
	job := &r.lease.Job
	held := backend.Held{Queue: job.Queue, ID: job.ID, Token: r.lease.Token}
	history := r.lease.History
	history.Checkpoint = checkpoint
	for pause := minSavePause; ; pause = min(2*pause, maxSavePause) {
		r.mu.Lock()
		ended := r.ended
		r.mu.Unlock()
		if ended {
			return errEnded
		}
		err := r.store.SaveHistory(ctx, held, history)
		switch {
		case errors.Is(err, backend.ErrState):
			return fmt.Errorf("%w: %w", ErrLeaseLost, err)
		case err == nil || !errors.Is(err, backend.ErrUnavailable):
			return err
		case ctx.Err() != nil:
			return unsaved(ctx, err)
		case pause == minSavePause:
			r.logger().Warn("a checkpoint cannot be saved; it is tried again", "queue", job.Queue, "id", job.ID, "kind", job.Kind, "error", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return unsaved(ctx, err)
		}
	}
}

// unsaved is the error of a checkpoint that its context did not let be stored.
func unsaved(ctx context.Context, err error) error {
	return fmt.Errorf("the context has ended (%w) before it was stored: %w", context.Cause(ctx), err)
}

func (r *Run) lastCheckpoint(kind string, v any) (found bool, err error) {
	r.mu.Lock()
	data := r.leftover().checkpoint
	r.mu.Unlock()
	if data == nil {
		data = r.lease.History.Checkpoint
	}
	return r.read("checkpoint", kind, data, v)
}
