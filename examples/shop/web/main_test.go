package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

func TestAnOrderThatIsSentTwiceIsOneJob(t *testing.T) {
	t.Parallel()
	store, err := memory.New(memory.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	shop, err := newShop(store)
	require.NoError(t, err)
	post := func(order string) int {
		form := url.Values{"order": {order}, "email": {"ada@example.com"}}
		request := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(form.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		shop.ServeHTTP(answer, request)
		return answer.Code
	}

	require.Equal(t, http.StatusAccepted, post("7"))
	require.Equal(t, http.StatusAccepted, post("7"))
	require.Equal(t, http.StatusBadRequest, post(strings.Repeat("7", 300)))

	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	require.NoError(t, err)
	queue, err := client.Queue(t.Context(), "mail")
	require.NoError(t, err)
	require.EqualValues(t, 1, queue.Counts[backend.StateWaiting])
	_, err = client.Cancel(t.Context(), "mail", "confirm-7")
	require.NoError(t, err)
	require.Equal(t, http.StatusConflict, post("7"))
	require.NoError(t, store.Close())
	require.Equal(t, http.StatusInternalServerError, post("8"))
}
