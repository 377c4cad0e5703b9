package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"

	"github.com/caddis-go/caddis/backend"
)

// Memo implements backend.Memos.
func (b *Backend) Memo(ctx context.Context, name, key string) (backend.Memo, error) {
	wrap := func(err error) error { return fmt.Errorf("memo %q of %q: %w", key, name, err) }
	if err := backend.CheckMemo(name, key); err != nil {
		return backend.Memo{}, &backend.Error{Op: "memo", Err: wrap(err)}
	}
	var stored *backend.Memo
	err := b.read(ctx, "memo", "", func(x executor) error {
		now, err := b.readNow(x)
		if err == nil {
			stored, err = memoOf(x, name, key, now)
		}
		if err == nil && stored == nil {
			err = wrap(backend.ErrNotFound)
		}
		return err
	})
	if err != nil {
		return backend.Memo{}, err
	}
	return *stored, nil
}

// memoOf returns a memo, or nil.
func memoOf(x executor, name, key string, now int64) (*backend.Memo, error) {
	m := &backend.Memo{Name: name, Key: key}
	var expires int64
	found, err := one(x, `SELECT value, version, expires FROM caddis_memo WHERE name = ? AND key = ? AND (expires = 0 OR expires > ?)`,
		[]any{name, key, now}, &m.Value, &m.Version, &expires)
	if !found || err != nil {
		return nil, err
	}
	m.Value = append([]byte{}, m.Value...) // the driver makes nil of an empty one
	m.ExpiresAt = instant(expires)
	return m, nil
}

// WriteMemo implements backend.Memos.
func (b *Backend) WriteMemo(ctx context.Context, w backend.MemoWrite) (written backend.Memo, err error) {
	wrap := func(err error) error { return fmt.Errorf("memo %q of %q: %w", w.Key, w.Name, err) }
	if err := w.Check(); err != nil {
		return backend.Memo{}, &backend.Error{Op: "write memo", Err: wrap(err)}
	}
	err = b.write(ctx, "write memo", "", 1, func(t *txn) (err error) {
		if written, err = t.writeMemo(&w); err != nil {
			return wrap(err)
		}
		if w.Name == backend.ControlMemo {
			t.commands = append(t.commands, backend.Command{Verb: backend.CommandControl})
		}
		return nil
	})
	if err != nil {
		return backend.Memo{}, err
	}
	return written, nil
}

func (t *txn) writeMemo(w *backend.MemoWrite) (after backend.Memo, err error) {
	after = backend.Memo{Name: w.Name, Key: w.Key, Value: append([]byte{}, w.Value...), Version: w.Call}
	var expires int64
	var sum sql.NullInt64
	answer := func() (backend.Memo, error) {
		if w.Act == backend.MemoDelete {
			return backend.Memo{}, nil
		}
		if after.ExpiresAt = instant(expires); sum.Valid {
			after.Value = strconv.AppendInt(nil, sum.Int64, 10)
		}
		return after, nil
	}
	repeated, err := one(t, `SELECT sum, expires FROM caddis_memo_call WHERE call = ? AND until > ?`, []any{w.Call, t.now}, &sum, &expires)
	if err != nil {
		return after, err
	}
	if repeated {
		return answer()
	}

	before, err := memoOf(t, w.Name, w.Key, t.now)
	if err != nil {
		return after, err
	}
	version := backend.NoMemo
	if before != nil {
		version = before.Version
	}
	if w.If != "" && w.If != version {
		return after, backend.ErrConflict
	}
	if w.TTL > 0 {
		expires = t.now + millis(w.TTL)
	}
	if w.Act == backend.MemoAdd {
		sum = sql.NullInt64{Int64: w.Add, Valid: true}
		if before != nil {
			if sum.Int64, err = backend.AddToMemo(before.Value, w.Add); err != nil {
				return after, err
			}
			if expires = 0; !before.ExpiresAt.IsZero() {
				expires = before.ExpiresAt.UnixMilli()
			}
		}
	}
	after, _ = answer()
	if w.Act == backend.MemoDelete {
		_, err = t.exec(`DELETE FROM caddis_memo WHERE name = ? AND key = ?`, w.Name, w.Key)
	} else {
		_, err = t.exec(`INSERT OR REPLACE INTO caddis_memo (name, key, value, version, expires) VALUES (?, ?, ?, ?, ?)`,
			w.Name, w.Key, after.Value, w.Call, expires)
	}
	if err != nil {
		return after, err
	}
	_, err = t.exec(`INSERT OR REPLACE INTO caddis_memo_call (call, until, sum, expires) VALUES (?, ?, ?, ?)`,
		w.Call, t.now+millis(backend.MemoRemembered), sum, expires)
	return after, err
}

// forgetMemos deletes memos and calls whose time is up, so many of each at most.
func (t *txn) forgetMemos() error {
	for _, text := range []string{
		`DELETE FROM caddis_memo WHERE (name, key) IN (SELECT name, key FROM caddis_memo WHERE expires > 0 AND expires <= ? LIMIT 1000)`,
		`DELETE FROM caddis_memo_call WHERE call IN (SELECT call FROM caddis_memo_call WHERE until <= ? LIMIT 1000)`,
	} {
		if _, err := t.exec(text, t.now); err != nil {
			return err
		}
	}
	return nil
}
