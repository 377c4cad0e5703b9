package actors_test

import (
	"log/slog"
	"time"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// pause lets a random time pass: the moment is what is tested.
func pause(d time.Duration) { <-time.After(d) }
