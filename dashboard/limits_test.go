package dashboard_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/dashboard"
	"github.com/caddis-go/caddis/jobs"
)

// limited fills a limit: one job has the slot, and one is parked.
func (s *site) limited(key string) {
	s.t.Helper()
	one := jobs.Limit("tenant", jobs.Slots(1), jobs.LimitBy(func(Welcome) string { return key }))
	s.enqueue(Welcome{}, jobs.ID("holder"), one)
	s.enqueue(Welcome{}, jobs.ID("parked"), one)
	s.lease()
	_, err := s.store.Lease(s.t.Context(), backend.LeaseRequest{Worker: "w-2", Token: "w-2.1", Queues: []string{"mail"}, Max: 1, Duration: time.Hour})
	require.NoError(s.t, err)
}

func TestLimitsAreListedShownSetAndReset(t *testing.T) {
	onStores(t, dashboard.Config{}, func(t *testing.T, s *site) {
		s.limited("acme")
		for _, path := range []string{"limits", "limits?queue=mail"} {
			require.Contains(t, s.text(path), "tenant for acme mail 1 at a time 1 of 1 1 –", path)
		}
		const path = "limit?key=acme&name=tenant&queue=mail"
		require.Contains(t, s.page("limits"), `href="limit?key=acme&amp;name=tenant&amp;queue=mail"`)
		text := s.text(path)
		require.Contains(t, text, "Rule 1 at a time Slots taken 1 of 1 Parked 1")
		require.Contains(t, text, "Who has a slot holder")
		require.NotContains(t, text, "Reset")

		form := []string{"queue", "mail", "name", "tenant", "back", path}
		require.Equal(t, "The limit tenant of the queue mail is set for the whole fleet: 2 at a time, 10 per 1m0s.",
			s.act("set-limit", append(form, "slots", "2", "rate", "10", "per", "1m", "burst", "")...))
		text = s.text(path)
		require.Contains(t, text, "the programs say 1 at a time")
		require.Contains(t, text, "Slots taken 1 of 2")
		require.Contains(t, text, "Reset to what the programs say")
		require.Equal(t, "For the limit tenant of the queue mail counts again what the programs say.", s.act("reset-limit", form...))
		info, err := s.client.Limit(t.Context(), "mail", "tenant", "acme")
		require.NoError(t, err)
		require.Equal(t, 1, info.Rule.Slots)
		require.Nil(t, info.Fleet)
		require.Equal(t, "Nothing is set: give slots, a rate, or both.", s.act("set-limit", form...))
		require.Contains(t, s.log.String(), `act="set limit" queue=mail limit=tenant rule="2 at a time, 10 per 1m0s"`)
	})
}

func TestALimitIsNotSetByMistake(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.limited("acme")
	for want, forms := range map[int][][]string{
		http.StatusNotFound: {{"queue", "mail", "name", "none", "slots", "1"}, {"queue", "none", "name", "tenant", "slots", "1"}},
		http.StatusBadRequest: {
			{"queue", "mail", "name", "tenant", "slots", "0"}, {"queue", "mail", "name", "tenant", "slots", "x"}, {"queue", "mail", "name", "tenant", "slots", "99999999999"},
			{"queue", "mail", "name", "tenant", "rate", "1", "per", "soon"}, {"queue", "mail", "name", "tenant", "rate", "1", "per", "-1s"}, {"queue", "../mail", "name", "tenant", "slots", "1"},
		},
	} {
		for _, form := range forms {
			require.Equal(t, want, s.post("set-limit", form...).Code, form)
		}
	}
	require.Equal(t, http.StatusNotFound, s.post("reset-limit", "queue", "mail", "name", "none").Code)
	require.Equal(t, http.StatusNotFound, s.get("limit?queue=mail&name=none").Code)
	require.Equal(t, http.StatusNotFound, s.get("limits?queue=none").Code)
	info, err := s.client.Limit(t.Context(), "mail", "tenant", "acme")
	require.NoError(t, err)
	require.Nil(t, info.Fleet)
	_, err = s.client.Queue(t.Context(), "none")
	require.ErrorIs(t, err, backend.ErrNotFound, "an act makes no queue")
}

func TestTheKeyOfALimitIsShownAndNeverObeyed(t *testing.T) {
	t.Parallel()
	s := newSite(t, "memory:", dashboard.Config{})
	s.limited(evil)
	for _, path := range []string{"limits", "limit?" + url.Values{"queue": {"mail"}, "name": {"tenant"}, "key": {evil}}.Encode(), "job?queue=mail&id=parked"} {
		page := s.page(path)
		require.Contains(t, page, "&lt;script&gt;alert", path)
		require.Equal(t, 1, strings.Count(page, "<script"), path)
		require.NotContains(t, page, "<img", path)
	}
	require.GreaterOrEqual(t, s.get("limit?queue=mail&name="+url.QueryEscape(evil)).Code, 400)
}
