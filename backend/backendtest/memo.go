package backendtest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

// set describes a write of a memo under the key "a", of the name "memo".
func set(call, value string, options ...func(*backend.MemoWrite)) backend.MemoWrite {
	w := backend.MemoWrite{Name: "memo", Key: "a", Act: backend.MemoSet, Call: call, Value: []byte(value)}
	for _, option := range options {
		option(&w)
	}
	return w
}

func add(call string, n int64, options ...func(*backend.MemoWrite)) backend.MemoWrite {
	return set(call, "", append(options, func(w *backend.MemoWrite) { w.Act, w.Value, w.Add = backend.MemoAdd, nil, n })...)
}

func forget(call string, options ...func(*backend.MemoWrite)) backend.MemoWrite {
	return set(call, "", append(options, func(w *backend.MemoWrite) { w.Act, w.Value = backend.MemoDelete, nil })...)
}

func ifVersion(version string) func(*backend.MemoWrite) {
	return func(w *backend.MemoWrite) { w.If = version }
}

func ttl(d time.Duration) func(*backend.MemoWrite) {
	return func(w *backend.MemoWrite) { w.TTL = d }
}

// write makes a write that must succeed.
func (k *kit) write(w backend.MemoWrite) backend.Memo {
	k.Helper()
	m, err := k.WriteMemo(k.ctx, w)
	require.NoError(k, err)
	return m
}

// memo reads the memo "a", which must be there.
func (k *kit) memo() backend.Memo {
	k.Helper()
	m, err := k.Memo(k.ctx, "memo", "a")
	require.NoError(k, err)
	return m
}

func (k *kit) requireNoMemo() {
	k.Helper()
	_, err := k.Memo(k.ctx, "memo", "a")
	require.ErrorIs(k, err, backend.ErrNotFound)
}

var memoTests = []test{
	{"a memo comes out as it was written", func(k *kit) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for i, value := range [][]byte{[]byte("value"), {}, all, []byte("007"), slices.Repeat([]byte("x"), backend.MaxMemo)} {
			for _, key := range []string{"a", "a}{b", "ключ"} {
				w := set(fmt.Sprintf("call-%d-%d", i, len(key)), "")
				w.Key, w.Value = key, value
				want := backend.Memo{Name: "memo", Key: key, Value: value, Version: w.Call}
				require.Equal(k, want, k.write(w))
				got, err := k.Memo(k.ctx, "memo", key)
				require.NoError(k, err)
				require.Equal(k, want, got)
			}
		}
		_, err := k.Memo(k.ctx, "other", "a")
		require.ErrorIs(k, err, backend.ErrNotFound, "of another name")
		_, err = k.Memo(k.ctx, "memo", "b")
		require.ErrorIs(k, err, backend.ErrNotFound, "of another key")
	}},
	{"what goes in and out of a memo is not shared", func(k *kit) {
		w := set("one", "value")
		written := k.write(w)
		w.Value[0], written.Value[0] = 'x', 'y'
		k.memo().Value[0] = 'z'
		require.Equal(k, "value", string(k.memo().Value))
	}},
	{"numbers are added up, from nothing", func(k *kit) {
		require.Equal(k, "5", string(k.write(add("one", 5)).Value))
		require.Equal(k, "3", string(k.write(add("two", -2)).Value))
		m := k.write(add("three", math.MaxInt64-3))
		require.Equal(k, strconv.Itoa(math.MaxInt64), string(m.Value))
		require.Equal(k, "three", m.Version)
		require.Equal(k, m, k.memo())
		_, err := k.WriteMemo(k.ctx, add("four", 1))
		require.ErrorIs(k, err, backend.ErrRejected, "too large a sum")
		require.Equal(k, m, k.memo())
		k.write(set("five", "-9223372036854775807"))
		require.Equal(k, strconv.Itoa(math.MinInt64), string(k.write(add("six", -1)).Value))
		_, err = k.WriteMemo(k.ctx, add("seven", -1))
		require.ErrorIs(k, err, backend.ErrRejected)
		for i, value := range []string{"", "x", "1.5", "+1", "007", "1 ", "-0", "9223372036854775808"} {
			k.write(set(fmt.Sprint("set-", i), value))
			_, err := k.WriteMemo(k.ctx, add(fmt.Sprint("add-", i), 1))
			require.ErrorIs(k, err, backend.ErrRejected, "%q is no number", value)
			require.Equal(k, value, string(k.memo().Value))
		}
	}},
	{"a write that is repeated changes nothing more and answers the same", func(k *kit) {
		one := k.write(add("one", 5, ttl(never)))
		two := k.write(add("two", 1))
		require.Equal(k, one, k.write(add("one", 5, ttl(never))))
		require.Equal(k, two, k.write(add("two", 1)))
		require.Equal(k, "6", string(k.memo().Value))

		first := k.write(set("three", "value"))
		last := k.write(set("four", "newer"))
		require.Equal(k, first, k.write(set("three", "value")), "and does not undo what came after")
		require.Equal(k, last, k.memo())
		k.write(forget("five"))
		k.write(set("six", "new"))
		k.write(forget("five"))
		require.Equal(k, "new", string(k.memo().Value))
		k.write(set("seven", "newer", ifVersion("six")))
		k.write(set("eight", "newest"))
		require.Equal(k, "seven", k.write(set("seven", "newer", ifVersion("six"))).Version, "it has succeeded, whatever came after")
	}},
	{"a write that asks for a version changes no other", func(k *kit) {
		for _, w := range []backend.MemoWrite{set("x", "value", ifVersion("one")), add("x", 1, ifVersion("one")), forget("x", ifVersion("one"))} {
			_, err := k.WriteMemo(k.ctx, w)
			require.ErrorIs(k, err, backend.ErrConflict)
			k.requireNoMemo()
		}
		k.write(set("one", "1", ifVersion(backend.NoMemo)))
		_, err := k.WriteMemo(k.ctx, set("x", "2", ifVersion(backend.NoMemo)))
		require.ErrorIs(k, err, backend.ErrConflict)
		k.write(add("two", 1, ifVersion("one")))
		for _, w := range []backend.MemoWrite{set("y", "value", ifVersion("one")), add("y", 1, ifVersion("one")), forget("y", ifVersion("one"))} {
			_, err := k.WriteMemo(k.ctx, w)
			require.ErrorIs(k, err, backend.ErrConflict)
			require.Equal(k, "2", string(k.memo().Value))
		}
		k.write(forget("three", ifVersion("two")))
		k.requireNoMemo()
		k.write(forget("four"))
		k.write(forget("five", ifVersion(backend.NoMemo)))
		k.write(set("x", "again", ifVersion(backend.NoMemo)))
	}},
	{"a memo is forgotten when its time is up", func(k *kit) {
		before := time.Now()
		kept := k.write(set("one", "kept", ttl(never)))
		require.WithinDuration(k, before.Add(never), kept.ExpiresAt, patience)
		require.Equal(k, kept, k.memo())
		require.Zero(k, k.write(set("two", "for ever")).ExpiresAt, "the newer write decides")
		require.Zero(k, k.memo().ExpiresAt)

		gone := k.write(set("three", "soon gone", ttl(short)))
		require.NotZero(k, gone.ExpiresAt)
		k.eventually("the memo is forgotten", func() bool {
			_, err := k.Memo(k.ctx, "memo", "a")
			return err != nil
		})
		k.requireNoMemo()
		_, err := k.WriteMemo(k.ctx, set("x", "value", ifVersion("three")))
		require.ErrorIs(k, err, backend.ErrConflict)
		require.Equal(k, "1", string(k.write(add("four", 1, ifVersion(backend.NoMemo))).Value))
		k.sweep(long)
		require.Equal(k, "1", string(k.memo().Value))
	}},
	{"a counter counts for the time with which it began", func(k *kit) {
		first := k.write(add("one", 1, ttl(never)))
		require.NotZero(k, first.ExpiresAt)
		require.Equal(k, first.ExpiresAt, k.write(add("two", 1)).ExpiresAt)
		require.Equal(k, first.ExpiresAt, k.write(add("three", 1, ttl(2*never))).ExpiresAt)
		require.Equal(k, first.ExpiresAt, k.memo().ExpiresAt)
		k.write(forget("four"))
		k.write(add("five", 1))
		require.Zero(k, k.write(add("six", 1, ttl(never))).ExpiresAt)

		k.write(forget("seven"))
		k.write(add("eight", 1, ttl(short)))
		calls := 0
		k.eventually("it begins anew", func() bool {
			calls++
			m := k.write(add(fmt.Sprint("more-", calls), 1, ttl(never)))
			return string(m.Value) == "1"
		})
	}},
	{"of those who ask for the same version one succeeds, and no addition is lost", func(k *kit) {
		k.write(set("begin", "0"))
		const n = 20
		var won sync.Map
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				w := set(fmt.Sprint("set-", i), "x", ifVersion("begin"))
				w.Key = "b"
				w.If = backend.NoMemo
				if _, err := k.WriteMemo(k.ctx, w); err == nil {
					won.Store(i, true)
				}
				_, _ = k.WriteMemo(k.ctx, add(fmt.Sprint("add-", i), 1))
			})
		}
		all.Wait()
		winners := 0
		won.Range(func(any, any) bool { winners++; return true })
		require.Equal(k, 1, winners)
		require.Equal(k, fmt.Sprint(n), string(k.memo().Value))
	}},
	{"Listen tells at once of a memo by which workers are told what to do, and of no other", func(k *kit) {
		heard := make(chan backend.Command, 1000)
		ctx, cancel := context.WithCancel(k.ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = k.Listen(ctx, func(c backend.Command) { heard <- c }) }()
		n := 0
		k.eventually("the write is heard of", func() bool {
			n++
			k.write(set(fmt.Sprint("other-", n), "value"))
			w := set(fmt.Sprint("control-", n), "value")
			w.Name = backend.ControlMemo
			k.write(w)
			select {
			case c := <-heard:
				require.Equal(k, backend.Command{Verb: backend.CommandControl}, c)
				return true
			case <-time.After(20 * time.Millisecond):
				return false
			}
		})
		cancel()
		<-done
		require.LessOrEqual(k, len(heard), n)
	}},
	{"what cannot be a memo is rejected", func(k *kit) {
		for reason, change := range map[string]func(*backend.MemoWrite){
			"no name":            func(w *backend.MemoWrite) { w.Name = "" },
			"a long name":        func(w *backend.MemoWrite) { w.Name = strings.Repeat("x", backend.MaxNameLength+1) },
			"a name with braces": func(w *backend.MemoWrite) { w.Name = "a}b" },
			"no key":             func(w *backend.MemoWrite) { w.Key = "" },
			"a long key":         func(w *backend.MemoWrite) { w.Key = strings.Repeat("x", backend.MaxIDLength+1) },
			"a key with a NUL":   func(w *backend.MemoWrite) { w.Key = "a\x00b" },
			"a key of no UTF-8":  func(w *backend.MemoWrite) { w.Key = "\xff" },
			"no call":            func(w *backend.MemoWrite) { w.Call = "" },
			"a call as no memo":  func(w *backend.MemoWrite) { w.Call = backend.NoMemo },
			"a long call":        func(w *backend.MemoWrite) { w.Call = strings.Repeat("x", 65) },
			"a call with spaces": func(w *backend.MemoWrite) { w.Call = "a b" },
			"no version":         func(w *backend.MemoWrite) { w.If = "a b" },
			"no act":             func(w *backend.MemoWrite) { w.Act = 0 },
			"a large value":      func(w *backend.MemoWrite) { w.Value = make([]byte, backend.MaxMemo+1) },
			"a negative time":    func(w *backend.MemoWrite) { w.TTL = -1 },
			"too long a time":    func(w *backend.MemoWrite) { w.TTL = backend.MaxDelay + 1 },
		} {
			w := set("call", "value", change)
			_, err := k.WriteMemo(k.ctx, w)
			require.ErrorIs(k, err, backend.ErrRejected, reason)
		}
		_, err := k.Memo(k.ctx, "", "a")
		require.ErrorIs(k, err, backend.ErrRejected)
		_, err = k.Memo(k.ctx, "memo", "")
		require.ErrorIs(k, err, backend.ErrRejected)
		k.requireNoMemo()
	}},
}
