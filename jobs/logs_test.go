package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func texts(h *backend.History) (all []string) {
	for _, r := range h.Logs {
		all = append(all, r.Level+" "+r.Text)
	}
	return all
}

// chatty logs while it is logged.
type chatty struct{ log *slog.Logger }

func (c chatty) LogValue() slog.Value {
	c.log.Info("asked")
	return slog.StringValue("told")
}

func TestWhatAHandlerLogsIsKeptWithTheJobAndGoesToTheWorkersLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	result := runWith(t, nil, aLease(), slog.New(slog.NewTextHandler(&log, nil)), func(ctx context.Context, job *Job[welcome]) error {
		l := job.Logger().With("user", job.Args.UserID)
		l.Debug("not kept")
		l.InfoContext(ctx, "begun", "a b", 1)
		l.WithGroup("mail").Warn("slow", "by", "1 s", "time", "later")
		job.Logger().Error("chatty", "value", chatty{job.Logger()})
		return errors.New("failed")
	})
	require.Equal(t, []string{
		`INFO msg=begun user=42 "a b"=1`,
		`WARN msg=slow user=42 mail.by="1 s" mail.time=later`,
		`INFO msg=asked`,
		`ERROR msg=chatty value=told`,
		`INFO msg=asked`, // for the worker's log
	}, texts(result.Settlement.History))
	require.NoError(t, result.Settlement.Check())
	require.NotZero(t, result.Settlement.History.Logs[0].At)
	require.Contains(t, log.String(), `msg=begun job.id=job-1 job.kind=welcome job.queue=mail job.attempt=1`)
	require.Contains(t, log.String(), `user=42 "a b"=1`)
	require.NotContains(t, log.String(), "not kept")
}

func TestOfManyAndOfLongRecordsTheLastAreKeptAndAreFitToBeStored(t *testing.T) {
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	many := runWith(t, nil, aLease(), quiet, func(_ context.Context, job *Job[welcome]) error {
		for i := range 3 * backend.MaxLogs {
			job.Logger().Info(fmt.Sprint("line ", i))
		}
		return Snooze(0)
	}).Settlement
	require.NoError(t, many.Check())
	all := texts(many.History)
	require.Len(t, all, backend.MaxLogs)
	require.Equal(t, `INFO msg="line 299"`, all[len(all)-1])
	long := runWith(t, nil, aLease(), quiet, func(_ context.Context, job *Job[welcome]) error {
		for i := range 9 {
			job.Logger().Info(strings.Repeat("x\xff", backend.MaxLogBytes), "i", i)
		}
		job.Logger().Info("last")
		return Snooze(0)
	}).Settlement
	require.NoError(t, long.Check())
	all = texts(long.History)
	require.Greater(t, len(all), 2)
	require.Equal(t, "INFO msg=last", all[len(all)-1])
}

func TestTheLogIsThatOfTheLastAttempt(t *testing.T) {
	t.Parallel()
	lease := aLease(func(l *backend.Lease) { l.History.Logs = []backend.LogRecord{{Text: "msg=old"}} })
	result := runWith(t, nil, lease, slog.New(slog.DiscardHandler), func(context.Context, *Job[welcome]) error { return errors.New("failed") })
	require.Empty(t, result.Settlement.History.Logs)
	job := &Job[welcome]{}
	job.Logger().Debug("a handler that is tested alone can log")
}
