package backendtest

import (
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var enqueueTests = []test{
	{"what is enqueued comes out as it went in", func(k *kit) {
		n := job("a", priority(1))
		n.Codec, n.MaxAttempts, n.MaxCrashes = "cbor", 7, 2
		n.Timeout, n.ExpireAfter, n.Retention = 1500*time.Millisecond, time.Minute, 3*time.Hour
		n.Deadline = time.Now().Add(time.Hour).Truncate(time.Millisecond)
		n.Tags = []string{"blue", "green"}
		n.Headers = map[string]string{"traceparent": "00-1-2-3", "tenant": "acme"}
		before := time.Now().Add(-soon)
		receipt := k.enqueue(n)[0]
		require.Equal(k, backend.Receipt{Queue: "q", ID: "a", State: backend.StateWaiting}, receipt)
		info := k.get("a")
		require.Equal(k, described(n.Job), described(info.Job))
		require.Equal(k, backend.StateWaiting, info.State)
		require.Zero(k, past(info.History))
		require.Zero(k, info.Crashes)
		require.WithinRange(k, info.EnqueuedAt, before, time.Now().Add(soon))
		require.Zero(k, info.EnqueuedAt.Nanosecond()%int(time.Millisecond), "EnqueuedAt is to the millisecond")
		require.True(k, info.DueAt.Equal(info.EnqueuedAt), "due when enqueued")
		lease := k.worker("w").leaseOne("a")
		require.Equal(k, stored(info.Job), stored(lease.Job))
		require.Equal(k, 1, lease.Attempt())
	}},
	{"jobs whose ids are fresh are stored as others are", func(k *kit) {
		before := time.Now().Add(-50 * time.Millisecond)
		var want []string
		for round, group := range [][]string{named("a", 3), named("b", 1100), named("c", 2)} {
			jobs := make([]backend.NewJob, len(group))
			for i, id := range group {
				jobs[i] = job(id, priority(i%5-2), func(j *backend.NewJob) { j.Fresh = true })
			}
			switch round {
			case 0:
				jobs[1].Delay = never
			case 2:
				jobs[0].Fresh = false // the order is kept all the same
				jobs[1].Priority = jobs[0].Priority
			}
			for i, r := range k.enqueue(jobs...) {
				state := backend.StateWaiting
				if jobs[i].Delay > 0 {
					state = backend.StateScheduled
				}
				require.Equal(k, state, r.State)
				require.False(k, r.Existing)
			}
			want = append(want, group...)
		}
		for _, id := range []string{"a00000", "b00007", "c00001"} {
			info := k.get(id)
			require.WithinRange(k, info.EnqueuedAt, before, time.Now().Add(50*time.Millisecond))
			require.True(k, info.DueAt.Equal(info.EnqueuedAt))
			require.Equal(k, "payload of "+id, string(info.Payload))
		}
		got := leased(k.worker("w").lease(2000))
		require.Len(k, got, len(want)-1)
		require.Less(k, slices.Index(got, "c00000"), slices.Index(got, "c00001"))
		require.Equal(k, "b00004", got[0], "the highest priority comes first")
		k.requireState(backend.StateScheduled, "a00001")
	}},
	{"EnqueuedAt and DueAt of the caller are not believed", func(k *kit) {
		n := job("a")
		n.EnqueuedAt, n.DueAt = time.Unix(1, 0), time.Unix(2, 0)
		k.enqueue(n)
		info := k.get("a")
		require.Less(k, time.Since(info.EnqueuedAt), time.Minute)
		require.Less(k, time.Since(info.DueAt), time.Minute)
	}},
	{"a payload that the caller changes afterwards is not changed in the store", func(k *kit) {
		n := job("a")
		n.Payload = []byte("before")
		n.Headers = map[string]string{"k": "before"}
		k.enqueue(n)
		copy(n.Payload, "AFTER!")
		n.Headers["k"] = "after"
		lease := k.worker("w").leaseOne("a")
		require.Equal(k, "before", string(lease.Job.Payload))
		require.Equal(k, "before", lease.Job.Headers["k"])
		copy(lease.Job.Payload, "AFTER!")
		require.Equal(k, "before", string(k.get("a").Payload))
	}},
	{"bad input is rejected and nothing of its batch is stored", func(k *kit) {
		for what, spoil := range map[string]func(*backend.NewJob){
			"no id":                     func(j *backend.NewJob) { j.ID = "" },
			"long id":                   func(j *backend.NewJob) { j.ID = strings.Repeat("x", backend.MaxIDLength+1) },
			"id not UTF-8":              func(j *backend.NewJob) { j.ID = "\xff" },
			"id with NUL":               func(j *backend.NewJob) { j.ID = "a\x00b" },
			"id with newline":           func(j *backend.NewJob) { j.ID = "a\nb" },
			"no queue":                  func(j *backend.NewJob) { j.Queue = "" },
			"queue with brace":          func(j *backend.NewJob) { j.Queue = "{q}" },
			"queue with space":          func(j *backend.NewJob) { j.Queue = "a b" },
			"long queue":                func(j *backend.NewJob) { j.Queue = strings.Repeat("x", backend.MaxNameLength+1) },
			"no kind":                   func(j *backend.NewJob) { j.Kind = "" },
			"bad kind":                  func(j *backend.NewJob) { j.Kind = "a\x00" },
			"large payload":             func(j *backend.NewJob) { j.Payload = make([]byte, backend.MaxPayload+1) },
			"priority too high":         func(j *backend.NewJob) { j.Priority = backend.PriorityHighest + 1 },
			"priority too low":          func(j *backend.NewJob) { j.Priority = backend.PriorityLowest - 1 },
			"negative delay":            func(j *backend.NewJob) { j.Delay = -1 },
			"delay too long":            func(j *backend.NewJob) { j.Delay = backend.MaxDelay + 1 },
			"delay and instant":         func(j *backend.NewJob) { j.Delay = 1; j.At = time.Now() },
			"instant too far":           func(j *backend.NewJob) { j.At = time.Now().Add(backend.MaxDelay + time.Hour) },
			"negative attempts":         func(j *backend.NewJob) { j.MaxAttempts = -1 },
			"negative crashes":          func(j *backend.NewJob) { j.MaxCrashes = -1 },
			"negative timeout":          func(j *backend.NewJob) { j.Timeout = -1 },
			"negative waiting lifetime": func(j *backend.NewJob) { j.ExpireAfter = -1 },
		} {
			bad := job("bad")
			spoil(&bad)
			_, err := k.Enqueue(k.ctx, []backend.NewJob{job("good"), bad, job("fine")})
			require.ErrorIs(k, err, backend.ErrRejected, what)
			k.requireGone("good", "fine", "bad")
		}
	}},
	{"too many jobs or too many bytes in one call are rejected", func(k *kit) {
		many := make([]backend.NewJob, backend.MaxBatch+1)
		for i, id := range named("j", len(many)) {
			many[i] = job(id)
		}
		_, err := k.Enqueue(k.ctx, many)
		require.ErrorIs(k, err, backend.ErrRejected)
		payload := make([]byte, backend.MaxPayload)
		fat := many[:backend.MaxBatchBytes/backend.MaxPayload+1]
		for i := range fat {
			fat[i].Payload = payload
		}
		_, err = k.Enqueue(k.ctx, fat)
		require.ErrorIs(k, err, backend.ErrRejected)
		k.requireGone(many[0].ID, many[1].ID)
	}},
	{"an empty batch does nothing", func(k *kit) {
		receipts, err := k.Enqueue(k.ctx, nil)
		require.NoError(k, err)
		require.Empty(k, receipts)
	}},
	{"an id that is there already is Existing and unchanged in every state", func(k *kit) {
		// lesson: a repeated enqueue must not report a failure for one that
		// succeeded.
		w := k.worker("w")
		again := func(want backend.State) {
			k.Helper()
			n := job("a", priority(2), delay(never))
			n.Payload = []byte("other")
			receipt := k.enqueue(n)[0]
			require.True(k, receipt.Existing)
			require.Equal(k, want, receipt.State)
			info := k.get("a")
			require.Equal(k, want, info.State)
			require.Equal(k, "payload of a", string(info.Payload))
			require.Zero(k, info.Priority)
		}
		k.enqueue(job("a", delay(never)))
		again(backend.StateScheduled)
		k.acted(k.RunNow, "a", backend.StateWaiting)
		again(backend.StateWaiting)
		lease := w.leaseOne("a")
		again(backend.StateRunning)
		w.settled(lease, backend.OutcomeBlocked, backend.StateBlocked)
		again(backend.StateBlocked)
		k.acted(k.Cancel, "a", backend.StateCancelled)
		again(backend.StateCancelled)
		k.acted(k.Retry, "a", backend.StateWaiting)
		w.settled(w.leaseOne("a"), backend.OutcomeDead, backend.StateDead)
		again(backend.StateDead)
		k.acted(k.Retry, "a", backend.StateWaiting)
		w.settled(w.leaseOne("a"), backend.OutcomeCompleted, backend.StateCompleted, keep(never))
		again(backend.StateCompleted)
		require.Empty(k, w.lease(10))
	}},
	{"the second of one id in a batch is Existing", func(k *kit) {
		receipts := k.enqueue(job("a", delay(never)), job("b"), job("a"), job("b", delay(never)))
		for i, want := range []backend.Receipt{
			{Queue: "q", ID: "a", State: backend.StateScheduled},
			{Queue: "q", ID: "b", State: backend.StateWaiting},
			{Queue: "q", ID: "a", State: backend.StateScheduled, Existing: true},
			{Queue: "q", ID: "b", State: backend.StateWaiting, Existing: true},
		} {
			require.Equal(k, want, receipts[i])
		}
		k.requireCounts(map[backend.State]int64{backend.StateScheduled: 1, backend.StateWaiting: 1})
	}},
	{"an id is unique within its queue only", func(k *kit) {
		receipts := k.enqueue(job("a"), job("a", in("other")), job("a", in("third")))
		for _, r := range receipts {
			require.False(k, r.Existing)
		}
		request := k.worker("w").request(10)
		request.Queues = []string{"third", "q", "other"}
		leases := k.worker("w").send(request).Leases
		require.Len(k, leases, 3)
		require.Equal(k, []string{"third", "q", "other"}, []string{leases[0].Job.Queue, leases[1].Job.Queue, leases[2].Job.Queue})
	}},
	{"a delayed job is scheduled and its times are the store's", func(k *kit) {
		receipt := k.enqueue(job("a", delay(never)))[0]
		require.Equal(k, backend.StateScheduled, receipt.State)
		info := k.get("a")
		require.Equal(k, backend.StateScheduled, info.State)
		require.WithinDuration(k, info.EnqueuedAt.Add(never), info.DueAt, 2*time.Millisecond)
		require.WithinDuration(k, info.DueAt, info.ScheduledFor, 2*time.Millisecond)
		require.Empty(k, k.worker("w").lease(10))
	}},
	{"an instant ahead schedules and one in the past does not", func(k *kit) {
		at := time.Now().Add(never).Truncate(time.Millisecond)
		receipts := k.enqueue(
			job("ahead", func(j *backend.NewJob) { j.At = at }),
			job("past", func(j *backend.NewJob) { j.At = at.Add(-3 * never) }),
		)
		require.Equal(k, backend.StateScheduled, receipts[0].State)
		require.Equal(k, backend.StateWaiting, receipts[1].State)
		require.WithinDuration(k, at, k.get("ahead").ScheduledFor, 2*time.Millisecond)
		info := k.get("past")
		require.True(k, info.DueAt.Equal(info.EnqueuedAt), "one in the past is due when enqueued")
		require.Equal(k, []string{"past"}, leased(k.worker("w").lease(10)))
	}},
}
