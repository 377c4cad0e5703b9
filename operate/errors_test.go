package operate_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/operate"
)

// scan reads the errors of all dead jobs, in at most a hundred steps.
func scan(t *testing.T, f *fleet) *operate.ErrorScan {
	t.Helper()
	queues, err := f.client.Queues(t.Context())
	require.NoError(t, err)
	s := operate.NewErrorScan(f.client, queues, backend.StateDead)
	for range 100 {
		more, err := s.Step(t.Context())
		require.NoError(t, err)
		if !more {
			return s
		}
	}
	t.Fatal("the scan does not end")
	return nil
}

func TestErrorsThatDifferInNumbersAndNamesAreOneGroup(t *testing.T) {
	onStores(t, func(t *testing.T, f *fleet) {
		f.enqueue("mail", ids("a", 250)...)
		f.die("mail", func(id string) backend.Failure {
			return backend.Failure{Attempt: 1, At: time.Now(), Error: fmt.Sprintf("user %q not found after %s\nand more", id, id[2:])}
		})
		f.enqueue("mail", "b-1", "b-2")
		f.die("mail", func(id string) backend.Failure {
			return backend.Failure{Attempt: 1, At: time.Now(), Error: "panic: boom", Stack: "main.crash(0x" + id[2:] + ")\n\t/home/x/main.go:7 +0x1" + id[2:]}
		})
		s := scan(t, f)
		groups := s.Groups()
		require.Len(t, groups, 2)
		require.EqualValues(t, 252, s.Looked())
		require.EqualValues(t, 252, s.Of())
		require.Equal(t, `user "…" not found after #`, groups[0].Text)
		require.Equal(t, 250, groups[0].Jobs)
		require.Equal(t, "welcome", groups[0].Kind)
		require.Equal(t, "main.crash main.go:7", groups[1].Frame)
		require.Equal(t, 2, groups[1].Jobs)

		job, err := f.client.Job(t.Context(), "mail", "b-1")
		require.NoError(t, err)
		require.True(t, (&operate.Filter{Group: groups[1].ID}).Matches(job))
		require.False(t, (&operate.Filter{Group: groups[0].ID}).Matches(job))
		require.True(t, (&operate.Filter{Text: "BOOM", Kind: "welcome"}).Matches(job))
		require.False(t, (&operate.Filter{Text: "doom"}).Matches(job))
	})
}

func TestTooManyGroupsAreCountedTogether(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", ids("a", operate.MaxGroups+7)...)
	letters := func(id string) (text string) {
		for _, digit := range id[2:] {
			text += string('a' + digit - '0')
		}
		return text
	}
	f.die("mail", func(id string) backend.Failure { return backend.Failure{At: time.Now(), Error: letters(id)} })
	s := scan(t, f)
	require.Len(t, s.Groups(), operate.MaxGroups)
	require.Equal(t, 7, s.Others())
}

func TestAStepThatFailedMayBeRepeated(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "memory:")
	f.enqueue("mail", ids("a", 3)...)
	f.die("mail", func(string) backend.Failure { return backend.Failure{At: time.Now(), Error: "boom"} })
	queues, err := f.client.Queues(t.Context())
	require.NoError(t, err)
	away := &failing{Backend: f.store, err: backend.ErrUnavailable}
	client, err := jobs.NewClient(away, jobs.ClientConfig{})
	require.NoError(t, err)
	s := operate.NewErrorScan(client, queues, backend.StateDead)
	more, err := s.Step(t.Context())
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.True(t, more)
	away.err = nil
	_, err = s.Step(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, s.Groups()[0].Jobs)
	require.False(t, errors.Is(err, backend.ErrUnavailable))
}
