package jobs

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func TestWhatIsSaidAtTheEnqueueIsStored(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	client := newClient(t, store, nil)
	due := time.Now().Round(0).Add(time.Minute)
	deadline := due.Add(time.Hour)
	receipt, err := client.Enqueue(t.Context(), welcome{UserID: 7},
		ID("mine"), Queue("mail"), Priority(-1), At(due), Deadline(deadline),
		MaxAttempts(4), MaxCrashes(5), Timeout(time.Second), Retention(time.Minute), ExpireAfter(time.Hour),
		Tags("a"), Tags("b", "c"), Header("k", "v"), Header("empty", ""))
	require.NoError(t, err)
	require.Equal(t, Receipt{Queue: "mail", ID: "mine", State: backend.StateWaiting}, receipt)
	require.Equal(t, []backend.NewJob{{At: due, Job: backend.Job{
		ID: "mine", Queue: "mail", Kind: "welcome", Payload: []byte(`{"user_id":7}`), Priority: -1,
		MaxAttempts: 4, MaxCrashes: 5, Timeout: time.Second, Deadline: deadline, ExpireAfter: time.Hour, Retention: time.Minute,
		Tags: []string{"a", "b", "c"}, Headers: map[string]string{"k": "v", "empty": ""},
	}}}, store.stored)
}

func TestWhatIsNotSaidAtTheEnqueueIsLeftToTheWorkerButForQueueAndPriority(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	r := NewRegistry()
	Declare[welcome](r, Queue("mail"), Priority(2), MaxAttempts(4), MaxCrashes(5),
		Timeout(time.Second), Retention(time.Minute), ExpireAfter(time.Hour), Backoff(Exponential{}))
	_, err := newClient(t, store, r).Enqueue(t.Context(), welcome{UserID: 7}, ID("1"))
	require.NoError(t, err)
	require.Equal(t, backend.NewJob{Job: backend.Job{
		ID: "1", Queue: "mail", Kind: "welcome", Payload: []byte(`{"user_id":7}`), Priority: 2,
	}}, store.stored[0])

	_, err = newClient(t, store, r).Enqueue(t.Context(), welcome{}, ID("2"), Queue("bulk"), Priority(0), In(time.Minute))
	require.NoError(t, err)
	require.Equal(t, "bulk", store.stored[1].Queue)
	require.Equal(t, 0, store.stored[1].Priority, "a priority of 0 can be said")
	require.Equal(t, time.Minute, store.stored[1].Delay)

	_, err = newClient(t, store, nil).Enqueue(t.Context(), welcome{}, ID("3"))
	require.NoError(t, err)
	require.Equal(t, DefaultQueue, store.stored[2].Queue)
}

func TestOptionsOfAKindAndOfAJobAreRefusedWithAPreciseError(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Option{
		`Queue(""): rejected: the queue has no name`:                                                Queue(""),
		`Queue("a b"): rejected: queue name "a b" has ' ' at byte 1`:                                Queue("a b"),
		`Priority(3): give a number from -2 to 2`:                                                   Priority(3),
		`Priority(-3): give a number from -2 to 2`:                                                  Priority(-3),
		`MaxAttempts(0): give a number from 1 to 2147483647`:                                        MaxAttempts(0),
		`MaxAttempts(-1): give a number from 1`:                                                     MaxAttempts(-1),
		`MaxAttempts(9223372036854775807): give a number from 1`:                                    MaxAttempts(math.MaxInt),
		`MaxCrashes(0): give a number from 1`:                                                       MaxCrashes(0),
		`Timeout(0s): give a positive duration, or leave it out for none`:                           Timeout(0),
		`Timeout(-1s): give a positive duration`:                                                    Timeout(-time.Second),
		`Timeout(500µs): the shortest is 1ms`:                                                       Timeout(500 * time.Microsecond),
		`Retention(0s): give a positive duration, or leave it out for the backend's policy`:         Retention(0),
		`Retention(87600h0m0.000000001s): the longest is 87600h0m0s`:                                Retention(backend.MaxDelay + 1),
		`ExpireAfter(-1ns): give a positive duration, or leave it out to let the job wait for ever`: ExpireAfter(-1),
	} {
		requireRefused(t, want, o)
		r := NewRegistry()
		text := recoverText(t, func() { Declare[welcome](r, o) })
		require.Contains(t, text, want)
		require.True(t, strings.HasPrefix(text, `jobs: Declare of kind "welcome": `), text)
	}
}

func TestOptionsOfAJobAreRefusedWithAPreciseError(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]EnqueueOption{
		`In(-1s): give a delay from 0 to 87600h0m0s`:                            In(-time.Second),
		`In(87600h0m0.000000001s): give a delay from 0 to 87600h0m0s`:           In(backend.MaxDelay + 1),
		`At: the instant is zero; leave At out to run the job now`:              At(time.Time{}),
		`Deadline: the instant is zero; leave Deadline out for none`:            Deadline(time.Time{}),
		`ID(""): rejected: the job has no id`:                                   ID(""),
		`the id has 201 bytes, 200 are allowed`:                                 ID(strings.Repeat("x", 201)),
		`ID("a\nb"): rejected: the id "a\nb" has a control character at byte 1`: ID("a\nb"),
		`Tags(""): give a tag of 1 to 200 bytes of UTF-8`:                       Tags("fine", ""),
		`Tags("\xff"): give a tag of 1 to 200 bytes of UTF-8`:                   Tags("\xff"),
		`Header("", …): give a key that is not empty, and both in UTF-8`:        Header("", "x"),
		`Header("k", …): give a key that is not empty, and both in UTF-8`:       Header("k", "\xff"),
		`option 1 is nil`: nil,
	} {
		requireRefused(t, want, o)
	}
	requireRefused(t, "both In(1s) and At(2026-03-01 12:00:00 +0000 UTC) are given; give one", In(time.Second), At(instant))
	ahead := time.Now().Add(time.Hour)
	requireRefused(t, "which is not before its deadline", In(2*time.Hour), Deadline(ahead))
	requireRefused(t, "has passed", Deadline(instant))
	requireRefused(t, "has passed", Deadline(time.Unix(0, 0)))
	requireRefused(t, "which is not before its deadline", At(ahead), Deadline(ahead))
	requireRefused(t, "tags and headers have 65537 bytes, 65536 are allowed", Header("k", strings.Repeat("v", 65536)))
	requireRefused(t, "at most 87600h0m0s ahead are allowed", At(time.Now().Add(backend.MaxDelay+time.Hour)))
}

// Lesson: silently ignored configuration. Reject, and say what would be right.
func TestLesson_ImpossibleValuesAreRejectedAndNothingIsStored(t *testing.T) {
	t.Parallel()
	requireRefused(t, "give a number from 1", MaxAttempts(0), MaxAttempts(-1))
	text := recoverText(t, func() { Declare[welcome](NewRegistry(), Backoff(nil)) })
	require.Equal(t, `jobs: Declare of kind "welcome": rejected: Backoff(nil): give a policy, or leave it out for the default`, text)
	text = recoverText(t, func() { Declare[welcome](NewRegistry(), Backoff(Exponential{Initial: -1})) })
	require.Equal(t, `jobs: Declare of kind "welcome": rejected: Backoff: Exponential.Initial is -1ns; give a positive duration, or 0 for 1s`, text)
	text = recoverText(t, func() { Declare[welcome](NewRegistry(), nil) })
	require.Equal(t, `jobs: Declare of kind "welcome": option 1 is nil`, text)
}

func requireRefused(t *testing.T, want string, options ...EnqueueOption) {
	t.Helper()
	store := &fakeStore{}
	client := newClient(t, store, nil)
	receipt, err := client.Enqueue(t.Context(), welcome{}, options...)
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, want)
	require.Equal(t, err, receipt.Err)
	var typed *Error
	require.ErrorAs(t, err, &typed)
	require.Equal(t, "enqueue", typed.Op)
	require.Equal(t, "welcome", typed.Kind)
	require.True(t, strings.HasPrefix(err.Error(), `jobs: enqueue of kind "welcome": `), err.Error())

	_, err = client.EnqueueMany(t.Context(), New(welcome{}), New(welcome{}, options...))
	require.ErrorIs(t, err, backend.ErrRejected)
	require.ErrorContains(t, err, `jobs: enqueue of kind "welcome": item 2 of 2: `)
	require.ErrorContains(t, err, want)
	require.Empty(t, store.stored)
}

// Lesson: options that are ignored in silence. What makes no sense in a place
// does not compile there.
func TestLesson_OptionsThatMakeNoSenseInAPlaceDoNotCompileThere(t *testing.T) {
	t.Parallel()
	for _, o := range []EnqueueOption{In(1), At(instant), ID("1"), Deadline(instant), Tags("a"), Header("k", "v")} {
		_, ok := o.(KindOption)
		require.False(t, ok)
	}
	_, ok := Backoff(Exponential{}).(EnqueueOption)
	require.False(t, ok)
}
