package dashboard_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

// record notes what happened in a queue some minutes ago.
func (s *site) record(queue, kind string, ago time.Duration, figures backend.Figures) {
	s.t.Helper()
	s.calls++
	require.NoError(s.t, s.store.Record(s.t.Context(), backend.Record{Worker: "w-1", Call: s.calls, Figures: []backend.Figure{
		{Queue: queue, Kind: kind, Minute: time.Now().Add(-ago).Truncate(time.Minute), Figures: figures},
	}}))
}

func (s *site) recordSome() {
	s.enqueue(Welcome{}, jobs.ID("waiting-1"))
	s.enqueue(Report{}, jobs.ID("other-1"), jobs.Queue("other"))
	for i := range 10 {
		f := backend.Figures{Started: 10, Completed: 8, Retried: 1, Died: 1}
		for range 10 {
			f.Waiting.Observe(3 * time.Millisecond)
			f.Running.Observe(2 * time.Second)
		}
		s.record("mail", "welcome", time.Duration(i+1)*time.Minute, f)
	}
	s.record("other", "report", 30*time.Minute, backend.Figures{Started: 100, Completed: 100})
}

func TestFiguresAreDrawnAndStandInATable(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.recordSome()
		text := s.text("figures")
		require.Contains(t, text, "180 jobs completed, 20 attempts failed; at most 100 in a step of 1m.")
		require.Regexp(t, `How long jobs waited for their first attempt In all, half took at most \d\.\dms`, text)
		require.Regexp(t, `How long attempts ran In all, half took at most \d`, text)
		require.Contains(t, text, "As a table Minute (UTC) Completed Failed")
		page := s.page("figures")
		require.Equal(t, 11, strings.Count(page, `<rect class="c-done" x=`))
		require.Equal(t, 10, strings.Count(page, `<rect class="c-failed" x=`))
		require.Equal(t, 4, strings.Count(page, "<polyline"), "of half and of most, of waiting and of running")
		require.NotRegexp(t, `(?i)\sstyle=|<style|NaN|Inf`, page)
		for _, coordinate := range regexp.MustCompile(` (?:y|height)="(-?[\d.]+)"`).FindAllStringSubmatch(page, -1) {
			require.NotContains(t, coordinate[1], "-", "it is within the picture")
		}

		text = s.text("figures?queue=mail&span=day")
		require.Contains(t, text, "80 jobs completed, 20 attempts failed")
		require.Contains(t, text, "Hour (UTC)")
		require.Contains(t, s.text("figures?queue=other&span=week"), "100 jobs completed, 0 attempts failed")
		require.Contains(t, s.text("figures?queue=mail&kind=welcome"), "80 jobs completed")
		require.Contains(t, s.text("figures?queue=mail&kind=none"), "Nothing happened in the last hour")
		require.Equal(t, http.StatusBadRequest, s.get("figures?span=year").Code)
		require.Equal(t, http.StatusNotFound, s.get("figures?queue=none").Code)
		require.Equal(t, http.StatusBadRequest, s.get("figures?kind=%3Cscript%3E").Code)

		require.Contains(t, s.text(""), "The last hour Completed and failed 180 jobs completed")
		text = s.text("queue?name=mail")
		require.Regexp(t, `Forecast drained in \d+s, at [89]\.\d a minute, if no more come`, text)
		require.Contains(t, text, "The last hour Completed and failed 80 jobs completed")
	})
}

func TestFiguresOfNothingSayIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	require.Contains(t, s.text("figures"), "Nothing happened in the last hour")
	s.enqueue(Welcome{})
	s = onStore(t, s.store, dashboard.Config{}) // which has not looked yet
	require.Contains(t, s.text("queue?name=mail"), "Forecast nothing was done in the last ten minutes")
	require.Contains(t, s.text("figures?span=week"), "Nothing happened in the last week")
}
