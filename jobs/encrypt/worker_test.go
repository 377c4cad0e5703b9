package encrypt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/compress"
	"github.com/caddis-go/caddis/jobs/encrypt"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

// bothCodecs compresses and encrypts.
func bothCodecs(t *testing.T, current encrypt.Key, older ...encrypt.Key) jobs.Codec {
	t.Helper()
	compressed, err := compress.New(jobs.JSON, compress.Config{})
	require.NoError(t, err)
	codec, err := encrypt.New(compressed, current, older...)
	require.NoError(t, err)
	return codec
}

// secret is so long that it would be compressed.
var secret = strings.Repeat("DE02 1203 ", 50)

func handle(codecs ...jobs.Codec) *jobs.Registry {
	var options []jobs.RegistryOption
	for _, codec := range codecs {
		options = append(options, jobs.WithCodec(codec))
	}
	registry := jobs.NewRegistry(options...)
	jobs.Declare[Refund](registry)
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[Payout]) error {
		if err := job.Progress("half of " + job.Args.IBAN); err != nil {
			return err
		}
		return job.SetResult("all of " + job.Args.IBAN)
	})
	return registry
}

func TestArgsResultAndProgressAreSecretWhereverPeopleLook(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(bothCodecs(t, newKey("2026-03"))))

	attempt := store.Run(t.Context(), Payout{IBAN: secret})

	attempt.Require(t, backend.OutcomeCompleted)
	result, err := jobs.ResultOf[string](attempt.Job)
	require.NoError(t, err)
	require.Equal(t, "all of "+secret, result)
	progress, err := jobs.ProgressOf[string](attempt.Job)
	require.NoError(t, err)
	require.Equal(t, "half of "+secret, progress)
	asJSON, err := json.Marshal(attempt.Job)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("job", "job", attempt.Job)
	all := fmt.Sprintf("%v %+v %s %s %q %q %q", attempt.Job, attempt.Job, asJSON, log.String(),
		attempt.Job.Payload, attempt.Job.Result, attempt.Job.Progress)
	require.NotContains(t, all, "DE02")
	require.Less(t, len(attempt.Job.Payload), len(secret)/2, "compressed too")
}

func TestAJobThatCannotBeDecryptedIsDeadUntilTheKeyIsThere(t *testing.T) {
	t.Parallel()
	old, next := newKey("2026-03"), newKey("2026-04")
	var keys struct{ jobs.Codec } // as a deployment changes them
	keys.Codec = bothCodecs(t, old)
	store := jobstest.New(t, handle(&keys))
	receipt, err := store.Client().Enqueue(t.Context(), Payout{IBAN: secret})
	require.NoError(t, err)

	keys.Codec = bothCodecs(t, next)
	report := store.Drain(t.Context())

	require.Len(t, report.Attempts, 1)
	report.Attempts[0].Require(t, backend.OutcomeDead)
	require.ErrorIs(t, report.Attempts[0].Err, jobs.ErrPayload)
	require.ErrorIs(t, report.Attempts[0].Err, encrypt.ErrUnknownKey)
	require.Equal(t, `cannot decode the payload of a job of kind "payout" with codec "xaes256gcm+zstd+json": `+
		`it was encrypted with the key "2026-03", and there are "2026-04"`, report.Attempts[0].Job.Failures[0].Error)

	keys.Codec = bothCodecs(t, next, old)
	_, err = store.Client().Retry(t.Context(), receipt.Queue, receipt.ID)
	require.NoError(t, err)
	store.Drain(t.Context()).RequireCompleted(t)
}

func TestJobsFromBeforeTheEncryptionStillRun(t *testing.T) {
	t.Parallel()
	store := jobstest.New(t, handle(bothCodecs(t, newKey("2026-03"))))
	before, err := jobs.NewClient(store, jobs.ClientConfig{Registry: handle()})
	require.NoError(t, err)
	_, err = before.Enqueue(t.Context(), Payout{IBAN: secret})
	require.NoError(t, err)
	_, err = store.Client().Enqueue(t.Context(), Payout{IBAN: secret})
	require.NoError(t, err)

	report := store.Drain(t.Context())

	report.RequireCompleted(t)
	require.Len(t, jobstest.Enqueued[Payout](store), 2)
	require.Empty(t, report.Attempts[0].Job.Codec)
	require.Equal(t, "xaes256gcm+zstd+json", report.Attempts[1].Job.Codec)
}

func TestAPayloadThatWasPutIntoAnotherKindIsRefused(t *testing.T) {
	t.Parallel()
	codec := bothCodecs(t, newKey("2026-03"))
	store := jobstest.New(t, handle(codec))
	job, err := store.Client().Build(Payout{IBAN: secret})
	require.NoError(t, err)
	moved, err := store.Client().Build(Refund{IBAN: "mine"})
	require.NoError(t, err)
	job.Payload = moved.Payload
	_, err = store.Enqueue(t.Context(), []backend.NewJob{job})
	require.NoError(t, err)

	report := store.Drain(t.Context())

	require.Len(t, report.Attempts, 1)
	report.Attempts[0].Require(t, backend.OutcomeDead)
	require.ErrorIs(t, report.Attempts[0].Err, encrypt.ErrNotAuthentic)
}

type Refund struct {
	IBAN string `json:"iban"`
}

func (Refund) Kind() string { return "refund" }
