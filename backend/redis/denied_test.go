package redis_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
	"github.com/caddis-go/caddis/backend/redis/redistest"
)

// userOf is a client of a user with these rights.
func userOf(t *testing.T, server *redistest.Server, name string, rights ...string) *goredis.Client {
	t.Helper()
	admin := server.Client()
	defer func() { require.NoError(t, admin.Close()) }()
	require.NoError(t, admin.ACLSetUser(context.Background(), name, append([]string{"reset", "on", ">secret"}, rights...)...).Err())
	options := server.Options()
	options.Username, options.Password = name, "secret"
	client := goredis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestAPasswordThatIsChangedIsNotTakenForWrongInput(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, admin := standalone(t, redistest.Options{})
	store := open(t, userOf(t, server, "app", "~*", "&*", "+@all"), unhurried)
	calls := verbs(t, store)
	for verb, call := range calls {
		if !strings.HasPrefix(verb, "wait") {
			require.NoError(t, call(), verb)
		}
	}
	for name, change := range map[string]func() error{
		"changed":   func() error { return admin.ACLSetUser(ctx, "app", "resetpass", ">other").Err() },
		"disabled":  func() error { return admin.ACLSetUser(ctx, "app", "resetpass", ">secret", "off").Err() },
		"forbidden": func() error { return admin.ACLSetUser(ctx, "app", "on", "-@all").Err() },
		"kept away": func() error { return admin.ACLSetUser(ctx, "app", "on", "+@all", "resetkeys", "~other:*").Err() },
	} {
		require.NoError(t, change())
		require.NoError(t, admin.ClientKillByFilter(ctx, "user", "app").Err())
		for verb, call := range calls {
			err := call()
			require.ErrorIs(t, err, backend.ErrDenied, "%s, %s", name, verb)
			require.ErrorIs(t, err, backend.ErrUnavailable, "%s, %s", name, verb)
			require.NotErrorIs(t, err, backend.ErrRejected, "%s, %s", name, verb)
		}
		require.NoError(t, admin.ACLSetUser(ctx, "app", "reset", "on", ">secret", "~*", "&*", "+@all").Err())
		require.NoError(t, admin.ClientKillByFilter(ctx, "user", "app").Err())
		for verb, call := range calls {
			if !strings.HasPrefix(verb, "wait") {
				require.NoError(t, call(), "%s, %s", name, verb)
			}
		}
	}
}

func TestAServerThatWantsAPasswordDeniesWhoHasNone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server := redistest.Start(t, redistest.Options{})
	admin := server.Client()
	defer func() { _ = admin.Close() }()
	require.NoError(t, admin.ConfigSet(ctx, "requirepass", "secret").Err())
	bare := server.Client()
	t.Cleanup(func() { _ = bare.Close() })
	for verb, call := range verbs(t, open(t, bare, unhurried)) {
		require.ErrorIs(t, call(), backend.ErrDenied, verb)
	}
}

// lesson: who may not wait asked the server thousands of times a second, without a
// word.
func TestAWaiterThatMayNotWaitSaysSoAndStillLeases(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	server, _ := standalone(t, redistest.Options{})
	for _, queues := range [][]string{{"mail"}, {"mail", "other"}} {
		store := open(t, userOf(t, server, "app", "~*", "&*", "+@all", "-blpop"), unhurried)
		waiter, err := store.Waiter(queues)
		require.NoError(t, err)
		_, err = waiter.Lease(ctx, asking(queues...), time.Hour)
		require.ErrorIs(t, err, backend.ErrDenied)
		require.ErrorContains(t, err, "blpop")
		_, err = store.Enqueue(ctx, ids("a-", 0, 1))
		require.NoError(t, err)
		reply, err := store.Lease(ctx, asking(queues...))
		require.NoError(t, err)
		require.Len(t, reply.Leases, 1)
	}
}

// A bell of a wrong type is cured by the next lease, and is no reason to ask without
// end.
func TestAWaitThatTheServerRefusesIsAnError(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	_, client := standalone(t, redistest.Options{})
	store := open(t, client, redis.Config{Namespace: "bell"})
	waiter, err := store.Waiter([]string{"mail"})
	require.NoError(t, err)
	_, err = waiter.Lease(ctx, asking("mail"), time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, client.HSet(ctx, "bell:{mail}:bell", "a", "b").Err())
	_, err = waiter.Lease(ctx, asking("mail"), time.Hour)
	require.ErrorContains(t, err, "WRONGTYPE")
	_, err = waiter.Lease(ctx, asking("mail"), time.Millisecond)
	require.NoError(t, err)
}

func TestAReplicaIsNoStore(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	group := redistest.StartSentinel(t, redistest.Options{})
	client := group.Replica.Client()
	t.Cleanup(func() { _ = client.Close() })
	store := open(t, client, redis.Config{})
	_, err := store.Check(ctx)
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorContains(t, err, "read-only replica")
	require.ErrorContains(t, err, "address of the primary")

	require.NoError(t, client.ConfigSet(ctx, "replica-read-only", "no").Err())
	warnings, err := store.Check(ctx)
	require.NoError(t, err)
	settings := map[string]string{}
	for _, w := range warnings {
		settings[w.Setting] = w.Problem
	}
	require.Contains(t, settings["replica-read-only"], "all jobs are lost")
}

// lesson: after a night calls failed one after the other, each on a connection that the
// server had closed.
func TestConnectionsThatTheServerClosedWhileTheyWereIdleFailNoCall(t *testing.T) {
	each(t, func(t *testing.T, kind kind) {
		ctx := context.Background()
		store, s, server := fallible(t, kind)
		_, err := store.Enqueue(ctx, ids("a-", 0, 40))
		require.NoError(t, err)
		leases := lease(t, store, "w", 20)
		require.Len(t, leases, 20)
		for n := range 2 {
			fill(t, store, s, server, pool)
			admin := server.Client()
			require.NoError(t, admin.ClientKillByFilter(ctx, "type", "normal", "skipme", "yes").Err())
			require.NoError(t, admin.Close())
			if n == 0 {
				for i := range 20 {
					_, err := store.Enqueue(ctx, ids("b-", i, 1))
					require.NoError(t, err)
					require.NoError(t, ask(store))
				}
				finish(t, store, "w", leases[:10], backend.OutcomeCompleted)
				continue
			}
			var calls sync.WaitGroup
			errs := make([]error, 40)
			for i := range errs {
				calls.Go(func() { errs[i] = ask(store) })
			}
			calls.Wait()
			for _, err := range errs {
				require.NoError(t, err)
			}
		}
		results, err := store.Settle(ctx, backend.SettleRequest{Worker: "w", Call: 2, Settlements: settlementsOf(leases[10:], backend.OutcomeCompleted)})
		require.NoError(t, err)
		for _, r := range results {
			require.False(t, r.Stale)
		}
	})
}
