//go:build unix

package lab_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/internal/lab"
)

func inFile(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "jobs.db") }

func TestFourProcessesThatAreKilledOneAfterTheOtherShareAFileAndLoseNothing(t *testing.T) {
	t.Parallel()
	r := dice(t)
	const kills = 40
	orders := filepath.Join(t.TempDir(), "orders")
	s := play(t, inFile(t), 2, nil)
	placing := s.settings
	placing.Orders = orders
	producers := []*lab.Worker{lab.StartWorker(t, placing), lab.StartWorker(t, placing)}
	var slowest time.Duration
	for n := range kills {
		pause(time.Duration(50+r.IntN(400)) * time.Millisecond)
		i := r.IntN(2)
		if n%2 == 0 {
			require.True(t, producers[i].Running(), "a producer has ended: %s", producers[i].Log())
			producers[i].Kill()
			producers[i] = lab.StartWorker(t, placing)
			continue
		}
		w := s.workers[i]
		at := time.Now()
		held := s.ledger().Open(w.PID(), at)
		s.kill(w)
		for _, job := range held {
			if !s.ledger().Runs(job)[0].End.IsZero() {
				continue // it ended before the kill took hold
			}
			require.Eventually(t, func() bool { _, again := s.ledger().FirstStart(job, w.PID(), at); return again },
				20*time.Second, 10*time.Millisecond, "job %s of the killed worker does not run again", job)
			again, _ := s.ledger().FirstStart(job, w.PID(), at)
			slowest = max(slowest, again.Sub(at))
		}
	}
	for _, p := range producers {
		p.Kill()
	}
	s.producer.Stop()
	s.quiet()
	for _, w := range s.workers {
		s.dismiss(w)
	}
	s.books.Copy(lab.ReadJournal(t, orders))
	verdict := s.books.Judge(s.ledger(), lab.Stored(t, s.honest))
	verdict.Require(t)
	require.Zero(t, verdict.Lost)
	require.LessOrEqual(t, verdict.Unknown, kills/2+2, "one of each producer that was killed")
	t.Logf("%d kills; the jobs of a killed worker ran again after %v at most", kills, slowest.Round(time.Millisecond))
}

func TestAProcessThatIsPausedHoldsUpNobodyForLongAndItsLateSettlementsAreRefused(t *testing.T) {
	t.Parallel()
	s := play(t, inFile(t), 3, func(s *scene) {
		s.load.Task = func(i int) lab.Task { return lab.Task{Milliseconds: 30} }
	})
	const pauses = 4
	for n := range pauses {
		w := s.workers[n%len(s.workers)]
		began := time.Now()
		w.Pause()
		// If it was stopped within a transaction all wait for it.
		pause(2 * leaseTime)
		w.Continue()
		back := time.Now()
		s.books.Blame(lab.Fault{What: "its worker was paused for longer than its lease", PID: w.PID(), From: began.Add(-settling), To: back.Add(time.Millisecond), Repeats: true})
		s.recovered(began, back)
		s.flow(time.Second)
	}
	s.settle()
	t.Logf("%d pauses; the workers report %d leases as lost", pauses, s.lost)
}

func TestAnIdleProcessWritesNothingToTheFile(t *testing.T) {
	t.Parallel()
	url := inFile(t)
	lab.Fill(t, url, 10, func(int) lab.Task { return lab.Task{Milliseconds: 1} })
	settings := lab.Settings{
		URL: url, Journal: filepath.Join(t.TempDir(), "journal"), Concurrency: 10, Lease: 600 * time.Millisecond, Grace: 5 * time.Second,
	}
	w := lab.StartWorker(t, settings)
	require.Eventually(t, func() bool { return lab.Active(lab.Counts(t, url)) == 0 }, 30*time.Second, 50*time.Millisecond)
	path := strings.TrimPrefix(url, "sqlite:")
	state := func() (all [2]string) {
		for i, name := range []string{path, path + "-wal"} {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			info, err := os.Stat(name)
			require.NoError(t, err)
			sum := sha256.Sum256(text)
			all[i] = fmt.Sprintf("%x at %v", sum[:4], info.ModTime())
		}
		return all
	}
	// What was written is brought to its place for a while.
	before := state()
	require.Eventually(t, func() bool {
		pause(time.Second)
		was := before
		before = state()
		return was == before
	}, 30*time.Second, time.Millisecond, "it goes on writing")
	pause(15 * settings.Lease / 3) // the keeper has its beat every third of a lease
	require.Equal(t, before, state())
	s := &scene{t: t, settings: settings}
	s.dismiss(w)
}
