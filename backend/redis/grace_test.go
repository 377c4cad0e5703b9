package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
)

// holding has a worker of another process lease a job in a queue that nobody visits
// then, and returns the lease.
func holding(t *testing.T, store *redis.Backend, length time.Duration) backend.Lease {
	t.Helper()
	_, err := store.Enqueue(t.Context(), jobIn("queue-9", "a"))
	require.NoError(t, err)
	request := asking("queue-9")
	request.Worker, request.Token, request.Duration = "holder", "holder.1", length
	reply, err := store.Lease(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, reply.Leases, 1)
	return reply.Leases[0]
}

func announce(t *testing.T, store *redis.Backend, ttl time.Duration) {
	t.Helper()
	_, err := store.Announce(t.Context(), backend.WorkerInfo{ID: "sweeper"}, ttl)
	require.NoError(t, err)
}

// renewed has the holder renew its lease, and reports whether it still had it.
func renewed(t *testing.T, store *redis.Backend, lease backend.Lease) bool {
	t.Helper()
	results, err := store.Renew(t.Context(), backend.RenewRequest{Worker: "holder", Duration: graceLease, Leases: []backend.Held{
		{Queue: lease.Job.Queue, ID: lease.Job.ID, Token: lease.Token},
	}})
	require.NoError(t, err)
	return !results[0].Lost
}

// sweepNine sweeps the queue of holding.
func sweepNine(t *testing.T, store *redis.Backend, length time.Duration) backend.SweepReply {
	t.Helper()
	reply, err := store.Sweep(t.Context(), backend.SweepRequest{Queues: []string{"queue-9"}, Duration: length})
	require.NoError(t, err)
	return reply
}

func sleepPast(lease backend.Lease) { <-time.After(time.Until(lease.ExpiresAt) + 20*time.Millisecond) }

const graceLease = 3 * time.Second

func TestWhoWasThereAllTheTimeTakesBackAtOnceWhatExpiresInAQueueThatNobodyVisited(t *testing.T) {
	t.Parallel()
	here, there, _, _ := two(t)
	announce(t, here, graceLease)
	lease := holding(t, there, graceLease)
	for away := true; away; { // again where the machine itself stood still
		require.True(t, renewed(t, there, lease))
		away = false
		last := time.Now()
		for end := last.Add(graceLease + 20*time.Millisecond); time.Now().Before(end); {
			<-time.After(graceLease / 10)
			announce(t, here, graceLease)
			away, last = away || time.Since(last) > graceLease/3, time.Now()
		}
	}
	require.Equal(t, 1, sweepNine(t, here, graceLease).Reclaimed)
}

func TestWhoWasNotThereGivesTheHoldersTimeToRenew(t *testing.T) {
	t.Parallel()
	here, there, server, client := two(t)
	lease := holding(t, there, graceLease)
	sleepPast(lease)
	first := sweepNine(t, here, graceLease)
	require.Zero(t, first.Reclaimed, "it has never announced itself")
	require.NotZero(t, first.Next, "it is told when to come back")
	require.True(t, renewed(t, there, lease))

	for what, away := range map[string]func(){
		"the server stood still": func() {
			server.Pause()
			<-time.After(graceLease + graceLease/10)
			server.Continue()
		},
		"the sweeper stood still": func() { <-time.After(graceLease + graceLease/10) },
		"the server has lost what was announced, as after a restore": func() {
			for end := time.Now().Add(graceLease + graceLease/10); time.Now().Before(end); {
				<-time.After(graceLease / 10)
				announce(t, here, graceLease)
			}
			require.EqualValues(t, 1, client.HDel(t.Context(), "many:{*}:workers", "sweeper").Val())
		},
	} {
		for range 5 { // it is there for a while
			<-time.After(graceLease / 10)
			announce(t, here, graceLease)
		}
		require.True(t, renewed(t, there, lease), what)
		away()
		announce(t, here, graceLease)
		require.Zero(t, sweepNine(t, here, graceLease).Reclaimed, what)
		require.True(t, renewed(t, there, lease), what)
	}
}

// What is on its way while the server stands still arrives with a proof that holds no
// longer.
func TestAProofThatIsOldProvesNothing(t *testing.T) {
	t.Parallel()
	here, there, server, _ := two(t)
	announce(t, here, graceLease)
	for range 5 {
		<-time.After(graceLease / 10)
		announce(t, here, graceLease)
	}
	lease := holding(t, there, graceLease)
	server.Pause()
	swept := make(chan backend.SweepReply, 1)
	go func() {
		reply, _ := here.Sweep(t.Context(), backend.SweepRequest{Queues: []string{"queue-9"}, Duration: graceLease})
		swept <- reply
	}()
	sleepPast(lease)
	server.Continue()
	require.Zero(t, (<-swept).Reclaimed)
}
