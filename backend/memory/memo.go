package memory

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/caddis-go/caddis/backend"
)

// memos are those of the store, and the writes that are remembered.
type memos struct {
	stored map[memoPlace]*memo
	calls  map[string]backend.Memo
	// order has the calls as they came, and so as they are forgotten.
	order []memoCall
}

type memoPlace struct{ name, key string }

type memo struct {
	backend.Memo
	until int64 // 0 for ever
}

type memoCall struct {
	call  string
	until int64
}

// Memo returns a memo.
func (b *Backend) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	fail := func(err error) (backend.Memo, error) {
		return backend.Memo{}, &backend.Error{Op: "memo", Err: fmt.Errorf("memo %q of %q: %w", key, name, err)}
	}
	if err := backend.CheckMemo(name, key); err != nil {
		return fail(err)
	}
	if err := b.lock(ctx, "memo"); err != nil {
		return backend.Memo{}, err
	}
	defer b.mu.Unlock()
	m := b.memos.find(memoPlace{name, key}, b.now())
	if m == nil {
		return fail(backend.ErrNotFound)
	}
	return m.clone(), nil
}

// WriteMemo changes a memo.
func (b *Backend) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	fail := func(err error) (backend.Memo, error) {
		return backend.Memo{}, &backend.Error{Op: "write memo", Err: fmt.Errorf("memo %q of %q: %w", write.Key, write.Name, err)}
	}
	if err := write.Check(); err != nil {
		return fail(err)
	}
	if err := b.lock(ctx, "write memo"); err != nil {
		return backend.Memo{}, err
	}
	defer b.mu.Unlock()
	written, err := b.memos.write(&write, b.now())
	if err != nil {
		return fail(err)
	}
	if write.Name == backend.ControlMemo {
		b.publish(backend.Command{Verb: backend.CommandControl})
	}
	return written, nil
}

func (all *memos) write(w *backend.MemoWrite, now int64) (backend.Memo, error) {
	all.forget(now, 10)
	if done, repeated := all.calls[w.Call]; repeated {
		if w.Act == backend.MemoSet {
			done.Value = w.Value
		}
		done.Value = bytes.Clone(done.Value)
		return done, nil
	}
	place := memoPlace{w.Name, w.Key}
	before := all.find(place, now)
	after := &memo{Memo: backend.Memo{Name: w.Name, Key: w.Key, Version: w.Call}}
	if w.If != "" && w.If != before.version() {
		return backend.Memo{}, backend.ErrConflict
	}
	switch {
	case w.Act == backend.MemoAdd && before != nil:
		sum, err := backend.AddToMemo(before.Value, w.Add)
		if err != nil {
			return backend.Memo{}, err
		}
		after.Value, after.until = strconv.AppendInt(nil, sum, 10), before.until
	case w.Act == backend.MemoAdd:
		after.Value = strconv.AppendInt(nil, w.Add, 10)
	default:
		after.Value = append([]byte{}, w.Value...)
	}
	if w.TTL > 0 && (w.Act == backend.MemoSet || before == nil) {
		after.until = dueAt(now, w.TTL)
	}
	after.ExpiresAt = instant(after.until)
	if all.stored == nil {
		all.stored, all.calls = map[memoPlace]*memo{}, map[string]backend.Memo{}
	}
	if w.Act == backend.MemoDelete {
		after = &memo{}
		delete(all.stored, place)
	} else {
		all.stored[place] = after
	}
	done := after.clone()
	if w.Act == backend.MemoSet {
		done.Value = nil // whoever repeats the write has it
	}
	all.calls[w.Call] = done
	all.order = append(all.order, memoCall{w.Call, later(now, backend.MemoRemembered)})
	return after.clone(), nil
}

func (m *memo) version() string {
	if m == nil {
		return backend.NoMemo
	}
	return m.Version
}

func (m *memo) clone() backend.Memo {
	c := m.Memo
	c.Value = bytes.Clone(c.Value)
	return c
}

// find returns a memo, or nil.
func (all *memos) find(place memoPlace, now int64) *memo {
	m := all.stored[place]
	if m != nil && m.until != 0 && m.until <= now {
		delete(all.stored, place)
		return nil
	}
	return m
}

// forget lets go of calls, and of memos as far as a look at some shows any: the map
// begins each time elsewhere, so in the end all are seen.
func (all *memos) forget(now int64, some int) {
	for len(all.order) > 0 && all.order[0].until <= now {
		delete(all.calls, all.order[0].call)
		all.order = all.order[1:]
	}
	for place := range all.stored {
		if some--; some < 0 {
			return
		}
		all.find(place, now)
	}
}
