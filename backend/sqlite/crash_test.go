package sqlite

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// A crash of the machine leaves of the write-ahead log what the disk has taken. It is
// played by cutting the log of a recorded run at every page.
func TestWhereverTheLogIsCutTheFileOpensAndHasEveryConfirmedJob(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "jobs.db")
	store, err := Open("sqlite:" + path)
	require.NoError(t, err)
	_, err = store.Check(t.Context())
	require.NoError(t, err)
	// What is before the recording is in its place in the file, and the log begins
	// anew. Nothing is copied from it while somebody reads what was before.
	size := func() int64 {
		info, err := os.Stat(path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	require.Eventually(t, func() bool { // unless somebody reads just then
		require.NoError(t, store.writer.beside(func(c *connection) error { return c.pragma("wal_checkpoint(TRUNCATE)") }))
		return size() == 0
	}, 20*time.Second, time.Millisecond)
	before, err := store.readers.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var queues int
	require.NoError(t, before.QueryRowContext(t.Context(), `SELECT count(*) FROM caddis_queue`).Scan(&queues))
	base, err := os.ReadFile(path)
	require.NoError(t, err)

	// confirmed says which jobs were to be there, and which were done, when the log had
	// so many bytes.
	type moment struct {
		size           int64
		enqueued, done int
	}
	var confirmed []moment
	const jobs = 40
	done := 0
	for i := range jobs {
		n := newJob(fmt.Sprintf("job-%03d", i))
		if i%5 == 0 {
			n.Payload = make([]byte, 3*largePayload)
		}
		_, err := store.Enqueue(t.Context(), []backend.NewJob{n})
		require.NoError(t, err)
		confirmed = append(confirmed, moment{size(), i + 1, done})
		if i%4 == 3 {
			reply, err := store.Lease(t.Context(), backend.LeaseRequest{Worker: "w", Token: fmt.Sprint("w.", i), Queues: []string{"q"}, Max: 2, Duration: time.Hour})
			require.NoError(t, err)
			request := backend.SettleRequest{Worker: "w", Call: uint64(i)}
			for _, l := range reply.Leases {
				request.Settlements = append(request.Settlements, backend.Settlement{Queue: "q", ID: l.Job.ID, Token: l.Token, Outcome: backend.OutcomeCompleted})
			}
			_, err = store.Settle(t.Context(), request)
			require.NoError(t, err)
			done += len(reply.Leases)
			confirmed = append(confirmed, moment{size(), i + 1, done})
		}
	}
	whole, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(base, now), "nothing was copied from the log meanwhile")
	require.NoError(t, before.Rollback())
	require.NoError(t, store.Close())

	page := int(binary.BigEndian.Uint32(whole[8:]))
	const header, frame = 32, 24
	cuts := 0
	for cut := 0; cut <= len(whole); cut = next(cut, header, frame+page) {
		for _, torn := range []int{0, page / 2} { // the last page may be half there
			if cut+torn > len(whole) || torn > 0 && cuts%8 != 0 {
				continue
			}
			crashed := filepath.Join(folder, "crashed.db")
			for _, suffix := range []string{"", "-wal", "-shm"} {
				_ = os.Remove(crashed + suffix)
			}
			require.NoError(t, os.WriteFile(crashed, base, 0o600))
			require.NoError(t, os.WriteFile(crashed+"-wal", whole[:cut+torn], 0o600))
			var want moment
			for _, m := range confirmed {
				if m.size <= int64(cut) {
					want = m
				}
			}
			requireThere(t, crashed, want.enqueued, want.done)
		}
		cuts++
	}
	require.Greater(t, cuts, jobs)
	t.Logf("%d cuts of a log of %d pages", cuts, (len(whole)-header)/(frame+page))
}

func next(cut, header, step int) int {
	if cut == 0 {
		return header
	}
	return cut + step
}

// requireThere requires that a file is whole, and has at least the jobs that were
// confirmed: those enqueued but for those done.
func requireThere(t *testing.T, path string, enqueued, done int) {
	t.Helper()
	store, err := newBackend(source{path: path}, Config{Relaxed: true, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	var verdict string
	_, err = store.Check(t.Context())
	require.NoError(t, err)
	require.NoError(t, store.writer.beside(func(c *connection) error {
		_, err := one(c, `PRAGMA quick_check`, nil, &verdict)
		return err
	}))
	require.Equal(t, "ok", verdict)
	if enqueued == 0 {
		return
	}
	q, err := store.Queue(t.Context(), "q")
	require.NoError(t, err)
	require.GreaterOrEqual(t, q.Completed, int64(done))
	there := q.Completed
	for _, n := range q.Counts {
		there += n
	}
	require.GreaterOrEqual(t, there, int64(enqueued))
	for i := int(q.Completed); i < enqueued; i++ {
		_, err := store.Job(t.Context(), "q", fmt.Sprintf("job-%03d", i))
		require.NoError(t, err, "job %d of %d", i, enqueued)
	}
}
