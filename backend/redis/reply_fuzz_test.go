package redis_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/backend/redis"
)

// puppet is a server that answers every request with the same bytes, but for what
// a client asks when it connects and when it enters a queue. After a few answers
// it hangs up.
type puppet struct{ reply []byte }

func (p *puppet) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go p.serve(server)
	return client, nil
}

func (p *puppet) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	requests := bufio.NewReader(conn)
	for answers := 0; answers < 3; {
		words, err := readWords(requests)
		if err != nil {
			return
		}
		reply := p.reply
		switch strings.ToLower(words[0]) {
		case "hsetnx":
			reply = []byte(":1\r\n")
		case "hmget":
			reply = []byte("*1\r\n$1\r\n1\r\n")
		case "hget":
			reply = []byte("$1\r\n1\r\n")
		case "client", "hello", "select":
			reply = []byte("+OK\r\n")
		default:
			answers++
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
	}
}

func readWords(r *bufio.Reader) ([]string, error) {
	number := func() (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	var words []string
	for i := 0; i < n && err == nil; i++ {
		var size int
		if size, err = number(); err == nil {
			word := make([]byte, size+2)
			_, err = io.ReadFull(r, word)
			words = append(words, string(word[:size]))
		}
	}
	if len(words) == 0 && err == nil {
		err = io.ErrUnexpectedEOF
	}
	return words, err
}

// resp writes a value as a server does.
func resp(v any) string {
	switch v := v.(type) {
	case int:
		return fmt.Sprintf(":%d\r\n", v)
	case string:
		return fmt.Sprintf("$%d\r\n%s\r\n", len(v), v)
	case []any:
		text := fmt.Sprintf("*%d\r\n", len(v))
		for _, one := range v {
			text += resp(one)
		}
		return text
	}
	return "$-1\r\n"
}

// FuzzReplies gives any bytes to every verb for an answer. None may panic or hang,
// and every error is one of the contract's.
func FuzzReplies(f *testing.F) {
	body := "\x41\x9f\x00\x00\x00\x00\x0a\x04kind\x12\x02{}"
	lease := []any{1_790_000_000_000, 0, 1, 0, 0, 0, 1_790_000_001_000, []any{"kind:x"}, []any{"a"}, []any{body}, []any{""}}
	info := func(state, record string) []any {
		return []any{"a", state, 5, record, body, "\x01\x00\x00\x00\x02\x00\x00\x00\x01p{}"}
	}
	for _, reply := range []any{
		lease, append(append([]any{}, lease[:10]...), []any{"short", nil}), lease[:5], []any{},
		"w", "wW", "-", ".", "c", "", "\xff", nil, 7,
		[]any{-1, -1, []any{info("running", "10w.1\x00half"), info("blocked", "2key"), info("dead", ""), info("", ""), info("running", "1")}},
		[]any{4, 0, []any{}}, []any{info("scheduled", "")}, []any{[]any{}}, []any{[]any{nil, nil, nil, nil, nil, nil}},
		[]any{0, 5, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6}, []any{3, 4, 1, []any{"k", nil, 7}},
		[]any{"w", `1790000000000:{"id":"w","queues":["q"]}`, "x", "no record", "y"},
	} {
		f.Add([]byte(resp(reply)))
	}
	for _, text := range []string{
		"-WRONGTYPE x\r\n", "-OOM command not allowed\r\n", "-MOVED 1 :0\r\n", "-\r\n", "*-1\r\n", "*1\r\n*1\r\n", "$5\r\nab", "", "\r\n", "+OK\r\n", ":\r\n", "*2\r\n-ERR x\r\n:1\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		if bytes.Contains(reply, []byte("*")) && len(reply) > 1<<12 {
			t.Skip() // nested beyond what a script of ours answers
		}
		p := &puppet{reply}
		client := goredis.NewClient(&goredis.Options{Addr: "puppet", Dialer: p.dial, Protocol: 2})
		defer func() { _ = client.Close() }()
		store, err := redis.New(client, redis.Config{Timeout: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		ctx := context.Background()
		held := []backend.Held{{Queue: "q", ID: "a", Token: "w.1"}}
		settlement := []backend.Settlement{{Queue: "q", ID: "a", Token: "w.1", Outcome: backend.OutcomeCompleted}}
		calls := map[string]func() error{
			"enqueue": func() error {
				receipts, err := store.Enqueue(ctx, []backend.NewJob{{Job: backend.Job{ID: "a", Queue: "q", Kind: "k"}}})
				if err == nil {
					require.Len(t, receipts, 1)
				}
				return err
			},
			"lease": func() error {
				r, err := store.Lease(ctx, backend.LeaseRequest{Worker: "w", Token: "w.1", Queues: []string{"q"}, Max: 1, Duration: time.Second})
				for _, l := range r.Leases {
					require.Equal(t, "w.1", l.Token)
				}
				return err
			},
			"settle": func() error {
				results, err := store.Settle(ctx, backend.SettleRequest{Worker: "w", Call: 1, Settlements: settlement})
				if err == nil {
					require.Len(t, results, 1)
				}
				return err
			},
			"renew": func() error {
				results, err := store.Renew(ctx, backend.RenewRequest{Worker: "w", Duration: time.Second, Leases: held})
				if err == nil {
					require.Len(t, results, 1)
				}
				return err
			},
			"sweep": func() error {
				_, err := store.Sweep(ctx, backend.SweepRequest{Queues: []string{"q"}, Duration: time.Second})
				return err
			},
			"job": func() error { _, err := store.Job(ctx, "q", "a"); return err },
			"jobs": func() error {
				_, err := store.Jobs(ctx, backend.JobsQuery{Queue: "q", State: backend.StateRunning})
				return err
			},
			"queue":    func() error { _, err := store.Queue(ctx, "q"); return err },
			"queues":   func() error { _, err := store.Queues(ctx); return err },
			"workers":  func() error { _, err := store.Workers(ctx); return err },
			"cancel":   func() error { _, err := store.Cancel(ctx, "q", []string{"a"}); return err },
			"announce": func() error { _, err := store.Announce(ctx, backend.WorkerInfo{ID: "w"}, time.Second); return err },
			"check":    func() error { _, err := store.Check(ctx); return err },
		}
		for verb, call := range calls {
			if err := call(); err != nil {
				require.True(t, errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrRejected) ||
					errors.Is(err, backend.ErrFull) || errors.Is(err, backend.ErrNotFound), "%s: %v", verb, err)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	for _, raw := range []string{
		"redis://localhost", "redis://u:p@h:6379/0?namespace=n&shards=mail:3&timeout=2s&tls=true", "rediss://[::1]:6380",
		"redis+sentinel://h:26379,i/master/1?sentinel_password=x", "redis+cluster://a,b:1", "memory:", "redis:", "://", "redis://%zz@h?shards=0",
		"redis://h?shards=%00:1", "redis://h/99999999999999999999", "redis+cluster://,", "redis://h?namespace={}",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		store, err := backend.Open(raw)
		if err != nil {
			require.Nil(t, store)
			return
		}
		require.NoError(t, store.Close())
	})
}
