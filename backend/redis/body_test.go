package redis

import (
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// header is what the script puts before an envelope.
func header(level byte, at time.Time) string {
	ms := at.UnixMilli()
	return string([]byte{level<<5 | byte(ms>>40), byte(ms >> 32), byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)})
}

func fullJob() backend.NewJob {
	return backend.NewJob{
		Delay: time.Minute,
		Job: backend.Job{
			Kind: "welcome", Payload: []byte("\x00\xffpayload"), Codec: "msgpack", Priority: 1, MaxAttempts: 3, MaxCrashes: 2,
			Timeout: 1500 * time.Microsecond, Deadline: time.Unix(1_900_000_000, 12345), ExpireAfter: time.Hour, Retention: -time.Second,
			Tags: []string{"a", "", "b"}, Headers: map[string]string{"trace": "1", "": "empty", "x": ""},
		},
	}
}

func TestABodyIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	job := fullJob()
	now := time.UnixMilli(1_790_000_000_123)
	var read backend.Job
	require.NoError(t, decodeBody(header(3, now)+string(envelope(&job, 0)), &read))
	want := job.Job
	want.EnqueuedAt, want.DueAt = now, now.Add(time.Minute)
	require.Equal(t, want, read)
}

func TestASmallBodyFitsItsSizeClass(t *testing.T) {
	t.Parallel()
	job := backend.NewJob{Job: backend.Job{Kind: "send-welcome", Payload: []byte(strings.Repeat("x", 100))}}
	require.LessOrEqual(t, headerSize+len(envelope(&job, 0)), 124)
}

func FuzzBody(f *testing.F) {
	job := fullJob()
	f.Add(header(2, time.Now()) + string(envelope(&job, 0)))
	f.Add("")
	f.Add("\xff\xff\xff\xff\xff\xff\x0a\xff")
	f.Fuzz(func(t *testing.T, body string) {
		var job backend.Job
		if err := decodeBody(body, &job); err != nil {
			require.ErrorIs(t, err, errBody)
			return
		}
		again := backend.NewJob{Job: job}
		var second backend.Job
		require.NoError(t, decodeBody(body[:headerSize]+string(envelope(&again, 0)), &second))
		require.Equal(t, job.Kind, second.Kind)
		require.Equal(t, string(job.Payload), string(second.Payload))
	})
}

func FuzzHistory(f *testing.F) {
	blob, err := encodeHistory(&backend.History{Attempts: 2, Progress: []byte("50%"), Failures: []backend.Failure{{Attempt: 1, Error: "x"}}})
	require.NoError(f, err)
	f.Add(blob)
	f.Add("\x01\x00\x00\x00\x00\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, blob string) {
		if _, _, err := decodeHistory(blob); err != nil {
			require.ErrorIs(t, err, errHistory)
		}
	})
}

func FuzzURL(f *testing.F) {
	f.Add("redis://user:hidden@host:6379/0?namespace=x")
	f.Add("redis+sentinel://:hidden@a:1,b:2/master/3?shards=mail:4")
	f.Add("redis+cluster://a,b")
	f.Add("redis://u:hid/den?@host")
	f.Fuzz(func(t *testing.T, raw string) {
		target, _, err := parseURL(raw)
		if err == nil {
			require.NotEmpty(t, target.hosts)
		}
	})
}

func TestTheBodyOfAPlainJobIsOneAllocation(t *testing.T) {
	job := backend.NewJob{Job: backend.Job{Kind: "welcome", Payload: make([]byte, 100)}}
	require.Equal(t, 1.0, testing.AllocsPerRun(100, func() { envelope(&job, 1) }))
}

func TestABodyIsNotSpelledOutInATrace(t *testing.T) {
	t.Parallel()
	call := goredis.NewCmd(t.Context(), "evalsha", &freight{id: "1", body: []byte("abcdef")})
	require.Contains(t, call.String(), "job of 6 bytes")
}

func TestNoErrorAboutAURLTellsThePassword(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"redis://u:hidden@host:port/0", "redis://u:hidden@host/db", "redis://u:hidden%zz@host", "redis://u:hidden?x@host",
		"redis+cluster://u:hidden@a,,b", "redis+cluster://u:hidden@a/3", "redis+sentinel://u:hidden@a", "redis://u:hidden@a,b",
		"redis://u:hidden@host?nonsense=1", "redis://u:hid/hidden@host:x", "redis://u:hidden@host?shards=0", "redis:u:hidden@host",
	} {
		_, err := Open(raw)
		require.Error(t, err, raw)
		require.NotContains(t, err.Error(), "hidden", raw)
	}
	_, err := Open("redis://host?nonsense=1")
	require.ErrorContains(t, err, "known are namespace, shards, timeout, tls")
}

func TestEveryScriptDeclaresTheKeysThatItUses(t *testing.T) {
	t.Parallel()
	known := []string{
		"JOBS", "SCHEDULED", "LEASES", "RUNNING", "HISTORY", "BLOCKED", "BLOCKEDON", "COMPLETED", "CANCELLED",
		"DEAD", "GHOSTS", "META", "BELL", "LAST", "W", "WORKERS", "EXPIRE",
	}
	for _, s := range scripts {
		words := strings.FieldsFunc(s.source, func(r rune) bool { return (r < 'A' || r > 'Z') && r != '_' && (r < 'a' || r > 'z') })
		declared := map[string]bool{}
		for i, w := range words {
			if i > 0 && words[i-1] == "local" {
				declared[w] = true
			}
		}
		for _, w := range words {
			for _, k := range known {
				if w == k {
					require.True(t, declared[k], "%s uses %s", s.name, k)
				}
			}
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	safe := map[string]string{"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
	require.Empty(t, judge(nil, safe, false))
	for name, settings := range map[string]map[string]string{
		"maxmemory-policy": {"maxmemory-policy": "allkeys-lru", "appendonly": "yes", "appendfsync": "always"},
		"appendfsync":      {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"},
		"appendonly":       {"maxmemory-policy": "noeviction", "appendonly": "no", "save": "3600 1"},
	} {
		warnings := judge(nil, settings, false)
		require.Len(t, warnings, 1)
		require.Equal(t, name, warnings[0].Setting)
	}
	require.Len(t, judge(map[string]string{}, nil, true), 2, "a server that lets nothing be asked")
	require.ErrorIs(t, checkVersion("6.0.16"), backend.ErrRejected)
	require.NoError(t, checkVersion("6.2.0"))
}
