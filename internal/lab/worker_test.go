//go:build unix

package lab_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
)

func TestTheLateSettlementsOfAWorkerThatWasPausedAreRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := play(t, "redis://"+server.Addr, 2, func(s *scene) {
		s.load.Task = func(i int) lab.Task { return lab.Task{Milliseconds: 30} }
	})
	const pauses = 3
	kept := 0
	for range pauses {
		w := s.workers[0]
		began := time.Now()
		w.Pause()
		held := s.ledger().Open(w.PID(), time.Now())
		s.flow(leaseTime * 2)
		w.Continue()
		back := time.Now()
		s.books.Blame(lab.Fault{What: "its worker was paused for longer than its lease", PID: w.PID(), From: began.Add(-settling), To: back.Add(time.Millisecond), Repeats: true})
		s.recovered(began, back)
		n := s.ledger().StartedBy(w.PID())
		require.Eventually(t, func() bool { return s.ledger().StartedBy(w.PID()) > n }, hung, 10*time.Millisecond,
			"the worker goes on")
		for _, job := range held {
			if run := s.ledger().Runs(job)[0]; run.PID == w.PID() && !run.End.IsZero() && run.End.Before(back) {
				continue // it ended before the pause took hold
			}
			if _, again := s.ledger().FirstStart(job, w.PID(), began); again {
				continue
			}
			// The other worker had other things to do, so the lease was still there.
			runs := s.ledger().Runs(job)
			last := runs[len(runs)-1]
			require.True(t, last.PID == w.PID() && !last.End.IsZero(), "job %s of the paused worker did not end anywhere: %v", job, s.ledger()[job])
			kept++
		}
	}
	verdict := s.settle()
	require.Positive(t, verdict.Twice+len(verdict.Notes))
	require.Positive(t, s.lost, "the late settlements were refused, and the workers know")
	t.Logf("%d pauses; the workers report %d leases as lost, and %d were there again in time", pauses, s.lost, kept)
}
