package jobs_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// pair has two texts, whose border shows in a key only if it is encoded.
type pair struct{ A, B string }

func (pair) Kind() string { return "pair" }

// shaky is encoded differently each time.
type shaky struct{}

func (shaky) Kind() string { return "shaky" }

func (shaky) MarshalJSON() ([]byte, error) {
	return []byte(strconv.Itoa(rand.Int())), nil
}

func uniqueClient(t *testing.T, options ...jobs.KindOption) *jobs.Client {
	t.Helper()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	registry := jobs.NewRegistry()
	jobs.Declare[pair](registry, options...)
	jobs.Declare[shaky](registry)
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	require.NoError(t, err)
	return client
}

// duplicate reports whether an enqueue met a holder.
func duplicate(t *testing.T, client *jobs.Client, args jobs.Args, options ...jobs.EnqueueOption) bool {
	t.Helper()
	receipt, err := client.Enqueue(context.Background(), args, options...)
	require.NoError(t, err)
	return receipt.Duplicate()
}

// lesson: keys made from unescaped values collide, and show personal data.
func TestKeysOfDifferentArgsNeverCollideAndShowNothing(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.Unique())
	require.False(t, duplicate(t, client, pair{"a", "b,c"}))
	require.False(t, duplicate(t, client, pair{"a,b", "c"}))
	require.True(t, duplicate(t, client, pair{"a", "b,c"}))
	require.False(t, duplicate(t, client, pair{"a", "b,c"}, jobs.Queue("other")))
	job, err := client.Build(pair{"secret", "text"})
	require.NoError(t, err)
	require.NotContains(t, job.Unique.Key.String()+job.ID, "secret")
}

func TestChosenFieldsAndPeriodsMakeTheKey(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.Unique(jobs.By(func(p pair) any { return p.A })))
	require.False(t, duplicate(t, client, pair{"a", "b"}))
	require.True(t, duplicate(t, client, pair{"a", "other"}))
	require.False(t, duplicate(t, client, pair{"b", "other"}))

	keys := map[backend.Key]bool{}
	for _, period := range []time.Duration{time.Millisecond, 10 * 365 * 24 * time.Hour} {
		job, err := client.Build(pair{"a", "b"}, jobs.Unique(jobs.Per(period)))
		require.NoError(t, err)
		keys[job.Unique.Key] = true
	}
	require.Len(t, keys, 2)
}

func TestWhatIsSaidOfOneJobCountsMoreThanItsKind(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t, jobs.Unique())
	job, err := client.Build(pair{}, jobs.Unique(jobs.HoldFor(time.Hour), jobs.Replace()))
	require.NoError(t, err)
	require.Equal(t, backend.HoldForTime, job.Unique.Hold)
	require.Equal(t, time.Hour, job.Unique.For)
	require.Equal(t, backend.ConflictReplace, job.Unique.Conflict)
	job, err = client.Build(pair{})
	require.NoError(t, err)
	require.Equal(t, backend.HoldUntilFinished, job.Unique.Hold)
}

func TestWhatCannotMakeAKeyIsRejectedWithTheReason(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t)
	for want, option := range map[string]jobs.UniqueOption{
		"another each time":     jobs.Replace(),
		"HoldFor(0s)":           jobs.HoldFor(0),
		"Per(-1s)":              jobs.Per(-time.Second),
		"the function is nil":   jobs.By[shaky](nil),
		"takes args of type":    jobs.By(func(p pair) any { return p }),
		"cannot be encoded":     jobs.By(func(shaky) any { return make(chan int) }),
		"Unique: option 1 is n": nil,
	} {
		_, err := client.Enqueue(context.Background(), shaky{}, jobs.Unique(option))
		require.ErrorIs(t, err, backend.ErrRejected, want)
		require.ErrorContains(t, err, want)
	}
}

// The command line, for one, enqueues by pointer.
func TestWhatIsTakenFromArgsIsTakenFromPointersToo(t *testing.T) {
	t.Parallel()
	byValue, byPointer := func(p pair) string { return p.A }, func(p *pair) string { return p.A }
	for name, options := range map[string][]jobs.EnqueueOption{
		"by value": {jobs.FairBy(byValue), jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(byValue)),
			jobs.Unique(jobs.By(func(p pair) any { return p.A }))},
		"by pointer": {jobs.FairBy(byPointer), jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(byPointer)),
			jobs.Unique(jobs.By(func(p *pair) any { return p.A }))},
	} {
		client := uniqueClient(t)
		keys := map[backend.Key]bool{}
		for _, args := range []jobs.Args{pair{"a", "b"}, &pair{"a", "b"}} {
			job, err := client.Build(args, options...)
			require.NoError(t, err, name)
			require.Equal(t, "a", job.Lane.Key)
			require.Equal(t, "a", job.Limits[0].Key)
			keys[job.Unique.Key] = true
		}
		require.Len(t, keys, 1, name)
	}
}

// order has its key in some fields, one of them embedded.
type order struct {
	Shop   string `json:"shop" caddis:"unique"`
	Amount int    `json:"amount"`
	*Customer
}

type Customer struct {
	ID   int `caddis:"unique"`
	Name string
}

func (order) Kind() string { return "order" }

func TestFieldsWithTheTagMakeTheKey(t *testing.T) {
	t.Parallel()
	client := uniqueClient(t)
	unique := jobs.Unique()
	enqueue := func(o order) bool { return duplicate(t, client, o, unique, jobs.Queue("orders")) }
	require.False(t, enqueue(order{"a", 1, &Customer{7, "Ada"}}))
	require.True(t, enqueue(order{"a", 2, &Customer{7, "Grace"}}))
	require.False(t, enqueue(order{"b", 1, &Customer{7, "Ada"}}))
	require.False(t, enqueue(order{"a", 1, &Customer{8, "Ada"}}))
	require.False(t, enqueue(order{Shop: "a"}))
	require.True(t, enqueue(order{Shop: "a", Amount: 3}))
	require.False(t, duplicate(t, client, order{Shop: "a"}, jobs.Queue("orders"), jobs.Unique(jobs.By(func(o order) any { return o.Amount }))))
}

type mistagged struct {
	A string `caddis:"uniqe"`
}

func (mistagged) Kind() string { return "mistagged" }

type concealed struct {
	a string `caddis:"unique"`
}

func (c concealed) Kind() string { return "concealed" + c.a }

func TestAWrongTagIsToldOfWhenTheKindIsMadeKnown(t *testing.T) {
	t.Parallel()
	want := `jobs: Declare of kind "mistagged": rejected: the field A of jobs_test.mistagged has the tag caddis:"uniqe"; the only one is caddis:"unique"`
	require.PanicsWithValue(t, want, func() { jobs.Declare[mistagged](jobs.NewRegistry()) })
	require.Panics(t, func() { jobs.Declare[concealed](jobs.NewRegistry()) })
	_, err := uniqueClient(t).Enqueue(context.Background(), mistagged{}, jobs.Unique(), jobs.Queue("q"))
	require.ErrorIs(t, err, backend.ErrRejected)
}
