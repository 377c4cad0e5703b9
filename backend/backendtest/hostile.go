package backendtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

var hostileTests = []test{
	{"hostile ids are ids like any other", func(k *kit) {
		ids := []string{
			"{q}", "a:b:c", "*", "?", "[a-z]", `\`, `"`, "'", " ", "  a  ", "0", "-1", "nil", "false", "%s%d",
			"a|b,c;d", "日本語", "é", "e\u0301", "\u202e", "EVAL return 1", "../../etc/passwd",
			strings.Repeat("x", backend.MaxIDLength),
		}
		k.enqueueAll(ids...)
		for _, id := range ids {
			require.Equal(k, "payload of "+id, string(k.get(id).Payload))
		}
		require.ElementsMatch(k, ids, k.page(backend.StateWaiting, 2))
		w := k.worker("w")
		request := w.request(100)
		leases := w.send(request).Leases
		require.Equal(k, ids, leased(leases))
		require.Equal(k, ids, leased(w.send(request).Leases))
		w.settle(settlements(leases, backend.OutcomeReleased)...)
		leases = w.lease(100)
		require.Equal(k, ids, leased(leases))
		for i, l := range leases {
			w.settled(l, []backend.Outcome{backend.OutcomeDead, backend.OutcomeCancelled}[i%2],
				[]backend.State{backend.StateDead, backend.StateCancelled}[i%2])
			k.acted(k.Retry, l.Job.ID, backend.StateWaiting)
		}
		require.Equal(k, ids, leased(w.lease(100)))
	}},
	{"payloads of any bytes come out as they went in", func(k *kit) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		random := make([]byte, 5000)
		source := rand.NewChaCha8([32]byte{1})
		_, _ = source.Read(random)
		payloads := [][]byte{
			nil, {}, {0}, {0, 0, 0}, all, random, []byte("\r\n$5\r\nhello\r\n"), []byte(`{"a":1}`), []byte("\xff\xfe"),
			bytes.Repeat([]byte{0xff}, 70_000),
		}
		for i, p := range payloads {
			n := job(fmt.Sprint("job-", i))
			n.Payload = p
			k.enqueue(n)
		}
		for i, l := range k.worker("w").lease(100) {
			require.True(k, bytes.Equal(payloads[i], l.Job.Payload), "payload %d", i)
		}
	}},
	{"hostile headers, tags, codecs and keys come out as they went in", func(k *kit) {
		n := job("a")
		n.Codec = "c\x00d\xff"
		n.Tags = []string{"", "a,b", "\x00", "\xff", "ü"}
		n.Headers = map[string]string{"": "empty", "nul\x00": "\x00", "bytes\xff": "\xfe\xff", "line\n": "\r\n", "none": "", "{q}": "日本"}
		k.enqueue(n)
		require.Equal(k, described(n.Job), described(k.get("a").Job))
		require.Equal(k, described(n.Job), described(k.worker("w").leaseOne("a").Job))
	}},
	{"a payload of 1 MB and a batch of them pass", func(k *kit) {
		payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		jobs := make([]backend.NewJob, 8)
		for i, id := range named("a", len(jobs)) {
			jobs[i] = job(id)
			jobs[i].Payload = payload
		}
		k.enqueue(jobs...)
		leases := k.worker("w").lease(100)
		require.Len(k, leases, len(jobs))
		for _, l := range leases {
			require.True(k, bytes.Equal(payload, l.Job.Payload))
		}
	}},
	{"the largest payload passes", func(k *kit) {
		n := job("a")
		n.Payload = bytes.Repeat([]byte{0xff}, backend.MaxPayload)
		k.enqueue(n)
		require.True(k, bytes.Equal(n.Payload, k.worker("w").leaseOne("a").Job.Payload))
	}},
}
