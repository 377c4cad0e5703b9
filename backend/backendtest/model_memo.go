package backendtest

import (
	"fmt"
	"strconv"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/caddis-go/caddis/backend"
)

var modelMemoKeys = []string{"a", "b"}

// write does what WriteMemo is to do; err is the sentinel.
func (m *model) write(w backend.MemoWrite) (after backend.Memo, err error) {
	before, there := m.memos[w.Key]
	version := backend.NoMemo
	if there {
		version = before.Version
	}
	if w.If != "" && w.If != version {
		return after, backend.ErrConflict
	}
	after = backend.Memo{Name: w.Name, Key: w.Key, Value: w.Value, Version: w.Call}
	switch w.Act {
	case backend.MemoDelete:
		delete(m.memos, w.Key)
		return backend.Memo{}, nil
	case backend.MemoAdd:
		n, err := strconv.ParseInt(string(before.Value), 10, 64)
		if there && err != nil {
			return after, backend.ErrRejected
		}
		after.Value = strconv.AppendInt(nil, n+w.Add, 10)
	}
	m.memos[w.Key] = after
	return after, nil
}

// writeMemo makes one write, and often an earlier one again, as after a lost reply. The
// name of the memos is that of the queue.
func (p *player) writeMemo() {
	p.memoCalls++
	w := backend.MemoWrite{
		Name: p.queue, Key: rapid.SampledFrom(modelMemoKeys).Draw(p.T, "key"), Call: fmt.Sprint(p.queue, "-", p.memoCalls),
		Act: rapid.SampledFrom([]backend.MemoAct{backend.MemoSet, backend.MemoAdd, backend.MemoAdd, backend.MemoDelete}).Draw(p.T, "act"),
	}
	switch w.Act {
	case backend.MemoSet:
		w.Value = []byte(rapid.SampledFrom([]string{"", "1", "x"}).Draw(p.T, "value"))
	case backend.MemoAdd:
		w.Add = rapid.Int64Range(-3, 3).Draw(p.T, "add")
	}
	switch rapid.IntRange(0, 3).Draw(p.T, "if") {
	case 1:
		w.If = backend.NoMemo
	case 2:
		w.If = p.model.memos[w.Key].Version
	case 3:
		w.If = fmt.Sprint(p.queue, "-", rapid.IntRange(1, p.memoCalls).Draw(p.T, "version"))
	}
	want, failure := p.model.write(w)
	got, err := p.store.WriteMemo(p.ctx, w)
	if failure != nil {
		require.ErrorIs(p, err, failure)
		return
	}
	require.NoError(p, err)
	require.Equal(p, want, got)
	p.memoWrites = append(p.memoWrites, memoWritten{w, got})
	if rapid.Bool().Draw(p.T, "again") {
		again := rapid.SampledFrom(p.memoWrites).Draw(p.T, "which")
		got, err := p.store.WriteMemo(p.ctx, again.write)
		require.NoError(p, err)
		require.Equal(p, again.answer, got)
	}
}

// memoWritten is a write that succeeded.
type memoWritten struct {
	write  backend.MemoWrite
	answer backend.Memo
}

func (p *player) compareMemos() {
	for _, key := range modelMemoKeys {
		got, err := p.store.Memo(p.ctx, p.queue, key)
		want, there := p.model.memos[key]
		if !there {
			require.ErrorIs(p, err, backend.ErrNotFound)
			continue
		}
		require.NoError(p, err)
		require.Equal(p, want, got)
	}
}
