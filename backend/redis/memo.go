package redis

import (
	"context"
	"fmt"
	"strconv"

	"github.com/caddis-go/caddis/backend"
)

// memoCall makes a call about a memo. All memos of a name share a tag, which is no
// queue's, as the name of a queue has no colon.
func (b *Backend) memoCall(s *script, name, key, write string) *call {
	base := b.config.Namespace + ":{memo:" + name + "}:"
	return &call{script: s, args: s.head(func(what string) string {
		if what == "memo" {
			return base + "memo:" + key
		}
		return base + "done:" + write
	})}
}

// Memo implements backend.Memos.
func (b *Backend) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	fail := func(err error) (backend.Memo, error) {
		return backend.Memo{}, b.fail("memo", "", fmt.Errorf("memo %q of %q: %w", key, name, classify(err)))
	}
	if err := backend.CheckMemo(name, key); err != nil {
		return fail(err)
	}
	c := b.memoCall(memoScript, name, key, "")
	if err := b.run(ctx, c); err != nil {
		return fail(err)
	}
	reply, err := c.result()
	fields, ok := reply.([]any)
	switch {
	case err != nil:
		return fail(err)
	case ok && len(fields) == 0:
		return backend.Memo{}, &backend.Error{Op: "memo", Err: fmt.Errorf("memo %q of %q: %w", key, name, backend.ErrNotFound)}
	case len(fields) != 3:
		return fail(fmt.Errorf("%w: a memo was answered by %T", backend.ErrUnavailable, reply))
	}
	return backend.Memo{
		Name: name, Key: key, Value: []byte(asString(fields[0])), Version: asString(fields[1]), ExpiresAt: instantOf(asInt(fields[2])),
	}, nil
}

// WriteMemo implements backend.Memos.
func (b *Backend) WriteMemo(ctx context.Context, write backend.MemoWrite) (backend.Memo, error) {
	fail := func(err error) (backend.Memo, error) {
		return backend.Memo{}, b.fail("write memo", "", fmt.Errorf("memo %q of %q: %w", write.Key, write.Name, classify(err)))
	}
	if err := write.Check(); err != nil {
		return fail(err)
	}
	value := string(write.Value)
	if write.Act == backend.MemoAdd {
		value = strconv.FormatInt(write.Add, 10)
	}
	c := b.memoCall(writeMemoScript, write.Name, write.Key, write.Call)
	c.add(write.Act.String(), write.Call, write.If, value, millis(write.TTL), backend.MemoRemembered.Milliseconds())
	reply, err := b.list(ctx, c)
	switch {
	case err != nil:
		return fail(err)
	case asInt(reply[0]) == 0:
		return backend.Memo{}, &backend.Error{Op: "write memo", Err: fmt.Errorf("memo %q of %q: %w", write.Key, write.Name, backend.ErrConflict)}
	case len(reply) != 3:
		return fail(fmt.Errorf("%w: a write was answered by %d fields", backend.ErrUnavailable, len(reply)))
	}
	if write.Name == backend.ControlMemo {
		b.tell(ctx, backend.CommandControl, "", []string{""})
	}
	switch {
	case write.Act == backend.MemoDelete:
		return backend.Memo{}, nil
	case write.Act == backend.MemoAdd:
		value = asString(reply[1])
	}
	return backend.Memo{
		Name: write.Name, Key: write.Key, Value: []byte(value), Version: write.Call, ExpiresAt: instantOf(asInt(reply[2])),
	}, nil
}
