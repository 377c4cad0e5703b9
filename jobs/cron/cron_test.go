package cron_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs/cron"
)

func parse(t *testing.T, text, zone string) *cron.Expression {
	t.Helper()
	e, err := cron.Parse(text, zone)
	require.NoError(t, err)
	return e
}

// between lists what is due after one time and not after another, both as the clock
// of the zone shows them.
func between(t *testing.T, text, zone, from, to string) (due []string) {
	t.Helper()
	location, err := time.LoadLocation(zone)
	require.NoError(t, err)
	const layout = "2006-01-02 15:04"
	at, err := time.ParseInLocation(layout, from, location)
	require.NoError(t, err)
	end, err := time.ParseInLocation(layout, to, location)
	require.NoError(t, err)
	e := parse(t, text, zone)
	for at = e.Next(at); !at.IsZero() && !at.After(end); at = e.Next(at) {
		due = append(due, at.Format("02 15:04 MST"))
	}
	return due
}

func TestATimeThatTheClockSkipsCountsAtTheEndOfTheGap(t *testing.T) {
	t.Parallel()
	// lesson: a daily 2:30 runs 364 times a year in New York.
	require.Equal(t, []string{"28 02:30 CET", "29 03:00 CEST", "30 02:30 CEST"},
		between(t, "30 2 * * *", "Europe/Berlin", "2026-03-28 00:00", "2026-03-30 12:00"))
	require.Equal(t, []string{"29 03:00 CEST"},
		between(t, "0,20,40 2 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 12:00"), "once, however many are skipped")
	require.Equal(t, []string{"29 03:00 CEST"},
		between(t, "*/20 2 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 12:00"), "also where it is stepped")
	require.Equal(t, []string{"29 01:30 CET", "29 03:00 CEST", "29 03:30 CEST"},
		between(t, "30 1-3 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 12:00"))
	require.Equal(t, []string{"29 03:00 CEST"},
		between(t, "0 2,3 * * *", "Europe/Berlin", "2026-03-29 00:00", "2026-03-29 12:00"), "not twice at the same instant")
}

func TestAMidnightThatDoesNotExistIsNotDropped(t *testing.T) {
	t.Parallel()
	// lesson: the parsers skip midnights that do not exist, and gaps of half an hour.
	require.Equal(t, []string{"05 00:00 -04", "06 01:00 -03", "07 00:00 -03"},
		between(t, "@daily", "America/Santiago", "2026-09-04 12:00", "2026-09-07 12:00"))
	require.Equal(t, []string{"03 02:15 +1030", "04 02:30 +11", "05 02:15 +11"},
		between(t, "15 2 * * *", "Australia/Lord_Howe", "2026-10-02 12:00", "2026-10-05 12:00"))
}

func TestADayThatDoesNotExistIsNotDropped(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"29 08:00 -10", "31 00:00 +14", "31 08:00 +14"},
		between(t, "0 8 * * *", "Pacific/Apia", "2011-12-28 12:00", "2011-12-31 12:00"))
}

func TestATimeThatTheClockShowsTwiceCountsTheFirstTimeOnly(t *testing.T) {
	t.Parallel()
	// lesson: a daily 1:30 runs 366 times a year in New York.
	require.Equal(t, []string{"31 01:30 EDT", "01 01:30 EDT", "02 01:30 EST"},
		between(t, "30 1 * * *", "America/New_York", "2026-10-31 00:00", "2026-11-02 12:00"))
	require.Equal(t, []string{"01 01:00 EDT", "01 01:45 EDT", "01 02:00 EST", "01 02:45 EST"},
		between(t, "0,45 1-2 * * *", "America/New_York", "2026-11-01 00:00", "2026-11-01 12:00"))
	require.Equal(t, []string{"05 01:45 +11", "06 01:45 +1030"},
		between(t, "45 1 * * *", "Australia/Lord_Howe", "2026-04-05 00:00", "2026-04-06 12:00"), "where it is half an hour")
}

func TestWhatRunsEveryNMinutesRunsThroughBothNights(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"29 01:30 CET", "29 03:00 CEST", "29 03:30 CEST", "29 04:00 CEST"},
		between(t, "*/30 * * * *", "Europe/Berlin", "2026-03-29 01:00", "2026-03-29 04:00"))
	require.Equal(t, []string{"29 01:17 CET", "29 03:17 CEST"},
		between(t, "17 * * * *", "Europe/Berlin", "2026-03-29 01:00", "2026-03-29 04:00"), "nothing at the end of the gap")
	require.Equal(t, []string{"25 01:30 CEST", "25 02:30 CEST", "25 02:30 CET", "25 03:30 CET"},
		between(t, "30 * * * *", "Europe/Berlin", "2026-10-25 01:00", "2026-10-25 04:00"))
	require.Equal(t, []string{"25 02:00 CEST", "25 02:30 CEST", "25 02:00 CET", "25 02:30 CET"},
		between(t, "*/30 2 * * *", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 12:00"))
}

func TestBothDaysRestrictedMeansEither(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"02 06:00 UTC", "09 06:00 UTC", "15 06:00 UTC", "16 06:00 UTC"},
		between(t, "0 6 15 * mon", "UTC", "2026-03-01 12:00", "2026-03-17 12:00"))
}

func TestExpressionsMayHaveSecondsNamesAndSpecialDays(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"*/15 * * * * *":   "2026-01-01T00:00:15Z",
		"0 9 * * THU":      "2026-01-01T09:00:00Z",
		"0 9 * MAR Sun":    "2026-03-01T09:00:00Z",
		"0 9 * * 7":        "2026-01-04T09:00:00Z",
		"0 9 L * *":        "2026-01-31T09:00:00Z",
		"0 9 L-3 * ?":      "2026-01-28T09:00:00Z",
		"0 9 LW * *":       "2026-01-30T09:00:00Z",
		"0 9 17W * *":      "2026-01-16T09:00:00Z",
		"0 9 * * FRI#3":    "2026-01-16T09:00:00Z",
		"0 9 * * fri#L":    "2026-01-30T09:00:00Z",
		"0 22-2 * * *":     "2026-01-01T01:00:00Z",
		" 0   12\t* * * ":  "2026-01-01T12:00:00Z",
		"@hourly":          "2026-01-01T01:00:00Z",
		"@daily":           "2026-01-02T00:00:00Z",
		"@weekly":          "2026-01-04T00:00:00Z",
		"@Monthly":         "2026-02-01T00:00:00Z",
		"@yearly":          "2027-01-01T00:00:00Z",
		"0 0 29 2 *":       "2028-02-29T00:00:00Z",
		"59 59 23 31 12 *": "2026-12-31T23:59:59Z",
		"0 0 29 feb mon#1": "2026-02-02T00:00:00Z",
	} {
		next := parse(t, text, "UTC").Next(from)
		require.Equal(t, want, next.Format(time.RFC3339), "%q", text)
		require.Equal(t, next, parse(t, text, "UTC").Next(next.Add(-time.Nanosecond)), "%q: the instant itself, seen from just before", text)
	}
	require.Equal(t, "2104-02-29", parse(t, "0 0 29 2 *", "UTC").Next(time.Date(2096, 3, 1, 0, 0, 0, 0, time.UTC)).Format(time.DateOnly),
		"2100 is no leap year")
}

func TestWrongExpressionsSayWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, zone, says string }{
		{"", "UTC", "five fields"},
		{"* * * *", "UTC", "it has 4 fields"},
		{"* * * * * * *", "UTC", "it has 7 fields"},
		{"60 * * * *", "UTC", "above maximum"},
		{"* * 0 * *", "UTC", "below minimum"},
		{"*/0 * * * *", "UTC", "step"},
		{"a * * * *", "UTC", `"a"`},
		{"H * * * *", "UTC", "h"},
		{"-1 * * * *", "UTC", ""},
		{"0 0 31 2 *", "UTC", "never comes up"},
		{"0 0 30 feb ?", "UTC", "never comes up"},
		{"@every 5m", "UTC", "use Every"},
		{"@reboot", "UTC", "@reboot"},
		{"TZ=UTC * * * * *", "UTC", "give the zone by itself"},
		{"* * * * *", "", `or "UTC"`},
		{"* * * * *", "Local", "each machine takes for another"},
		{"* * * * *", "Europe/Atlantis", "Europe/Atlantis"},
		{"* * * * *", "../etc/passwd", "zone"},
	} {
		_, err := cron.Parse(c.text, c.zone)
		require.ErrorIs(t, err, backend.ErrRejected, "%q in %q", c.text, c.zone)
		require.ErrorContains(t, err, c.says)
	}
}

func TestAnIntervalIsCountedFromItsAnchor(t *testing.T) {
	t.Parallel()
	anchor := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
	every, err := cron.Every(90*time.Minute, anchor)
	require.NoError(t, err)
	require.Equal(t, "every 1h30m0s", every.String())
	require.Equal(t, anchor, every.Next(anchor.Add(-time.Hour)))
	require.Equal(t, anchor.Add(90*time.Minute), every.Next(anchor))
	require.Equal(t, anchor.Add(180*time.Minute), every.Next(anchor.Add(90*time.Minute+1)))
	hourly, err := cron.Every(time.Hour, time.Time{})
	require.NoError(t, err)
	require.Equal(t, "2026-03-29T01:00:00Z", hourly.Next(anchor).Format(time.RFC3339))
	for _, d := range []time.Duration{0, -time.Hour, time.Second - 1, time.Second + 1, 100 * 365 * 24 * time.Hour} {
		_, err := cron.Every(d, time.Time{})
		require.ErrorIs(t, err, backend.ErrRejected, "%v", d)
	}
}

func FuzzAnExpressionIsRefusedOrGoesOn(f *testing.F) {
	for _, text := range []string{"30 2 * * *", "*/15 * * * * *", "0 9 LW * fri#L", "@daily", "0 0 31 2 *", "1-5/2,7 * * * *"} {
		f.Add(text, int64(1_774_700_000))
	}
	zones := []string{"Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		e, err := cron.Parse(text, zones[len(text)%len(zones)])
		if err != nil {
			require.ErrorIs(t, err, backend.ErrRejected)
			return
		}
		at := time.Unix(unix%4_000_000_000, 0)
		for range 5 {
			next := e.Next(at)
			if next.IsZero() {
				return
			}
			require.True(t, next.After(at), "%q: %v is not after %v", text, next, at)
			require.Equal(t, next, e.Next(next.Add(-1)), fmt.Sprint(text))
			at = next
		}
	})
}
