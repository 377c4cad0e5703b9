package jobs

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var errClosing = errors.New("the books are being closed")

func notForAnn(_ context.Context, job *backend.NewJob) error {
	switch job.Headers["user"] {
	case "ann":
		return errClosing
	case "panic":
		panic("no such user")
	}
	return nil
}

func TestAVetoIsAnErrorThatCallersRecognise(t *testing.T) {
	t.Parallel()
	for name, middleware := range map[string]EnqueueMiddleware{
		"of single jobs": VetoIf(notForAnn),
		"of the call": func(next EnqueueFunc) EnqueueFunc {
			return func(ctx context.Context, batch []backend.NewJob) ([]Receipt, error) {
				if notForAnn(ctx, &batch[0]) != nil {
					return nil, Veto(errClosing)
				}
				return next(ctx, batch)
			}
		},
	} {
		store := &fakeStore{}
		client := newClient(t, store, NewRegistry(WithEnqueueMiddleware(middleware)))
		receipt, err := client.Enqueue(t.Context(), welcome{}, Header("user", "ann"))
		require.ErrorIs(t, err, ErrVetoed, name)
		require.ErrorIs(t, err, errClosing, name)
		require.NotErrorIs(t, err, backend.ErrUnavailable, name)
		require.ErrorContains(t, err, "the enqueue was vetoed: the books are being closed")
		require.ErrorIs(t, receipt.Err, ErrVetoed, name)
		require.NotEmpty(t, receipt.ID)
		require.Empty(t, store.stored, name)

		_, err = client.Enqueue(t.Context(), welcome{}, Header("user", "bob"))
		require.NoError(t, err, name)
		require.Len(t, store.stored, 1, name)
	}
	require.Equal(t, ErrVetoed, Veto(nil))
}

func TestAVetoOfOneJobLetsTheOthersOfItsCallPass(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	client := newClient(t, store, NewRegistry(WithEnqueueMiddleware(VetoIf(notForAnn))))
	receipts, err := client.EnqueueMany(t.Context(),
		New(welcome{}, Header("user", "bob"), ID("1")), New(welcome{}, Header("user", "ann"), ID("2")),
		New(welcome{}, Header("user", "panic"), ID("3")), New(welcome{}, ID("4")))
	require.ErrorIs(t, err, ErrVetoed)
	require.Len(t, receipts, 4)
	for i, vetoed := range []bool{false, true, true, false} {
		require.Equal(t, vetoed, errors.Is(receipts[i].Err, ErrVetoed), "receipt %d", i)
	}
	require.Equal(t, []string{"1", "2", "3", "4"}, []string{receipts[0].ID, receipts[1].ID, receipts[2].ID, receipts[3].ID})
	var fault *Panic
	require.ErrorAs(t, receipts[2].Err, &fault)
	require.Len(t, store.stored, 2)

	store.enqueue = func(context.Context, []backend.NewJob) ([]Receipt, error) { return nil, backend.ErrUnavailable }
	receipts, err = client.EnqueueMany(t.Context(), New(welcome{}), New(welcome{}, Header("user", "ann")))
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.ErrorIs(t, receipts[0].Err, backend.ErrUnavailable)
	require.ErrorIs(t, receipts[1].Err, ErrVetoed)
}

// Mosquito retried an error of a hook before the job without a pause, 2,109 times in 6 s.
func TestLessonAVetoIsNotTriedAgainByTheClient(t *testing.T) {
	t.Parallel()
	asked := 0
	client := newClient(t, &fakeStore{}, NewRegistry(WithEnqueueMiddleware(VetoIf(func(context.Context, *backend.NewJob) error {
		asked++
		return errClosing
	}))))
	_, err := client.Enqueue(t.Context(), welcome{})
	require.ErrorIs(t, err, ErrVetoed)
	require.Equal(t, 1, asked)
}
