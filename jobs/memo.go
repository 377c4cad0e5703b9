package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/caddis-go/caddis/backend"
)

// Memo keeps small values that outlive jobs, each under a key: where to go on next time,
// how many there were. It is shared by all who name it; a kind is a good name for what
// its handlers note:
//
//	memo := client.Memo("import.orders")
//	found, err := memo.Get(ctx, "cursor", &cursor)
//	…
//	err = memo.Set(ctx, "cursor", cursor)
//
// Values are encoded by the codec of the registry, into [backend.MaxMemo] bytes at most,
// 64 KiB. A Memo holds nothing that would have to be closed, and is safe for concurrent
// use. After a [backend.ErrUnavailable] it is not known whether a write was carried out.
type Memo struct {
	client *Client
	name   string
}

// Memo returns the memo of a name, which is made of what kinds are made of. It does no
// I/O; a name that is wrong is an error of each call.
func (c *Client) Memo(name string) *Memo { return &Memo{client: c, name: name} }

// PlainMemo is Memo with values that are JSON whatever the codec of the registry is: for
// what programs of different codecs read, and not for secrets.
func (c *Client) PlainMemo(name string) *Memo { return control(c.backend, name) }

// Name is the name of the memo.
func (m *Memo) Name() string { return m.name }

// Get decodes the value of a key into v, a pointer. found is false if there is none; v is
// then unchanged.
func (m *Memo) Get(ctx context.Context, key string, v any) (found bool, err error) {
	stored, err := m.client.backend.Memo(ctx, m.name, key)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		return false, nil
	case err != nil:
		return false, &Error{Op: "memo", Err: err}
	}
	return true, m.decode(stored.Value, v)
}

// Set stores a value, whatever there was.
func (m *Memo) Set(ctx context.Context, key string, v any, options ...MemoOption) error {
	value, err := m.encode(v)
	if err != nil {
		return err
	}
	_, err = m.write(ctx, backend.MemoWrite{Key: key, Act: backend.MemoSet, Value: value}, options)
	return err
}

// Increment adds n, which may be negative, to a number, which begins at 0, and returns the
// sum. [ForgetAfter] counts from when the number begins, so that it counts per hour, say.
// What is no whole number, or was encoded by a codec other than JSON, cannot be
// incremented: [backend.ErrRejected].
//
// It is carried out once, also where a lost reply makes the store's client repeat it. An
// attempt that fails later does not undo it.
func (m *Memo) Increment(ctx context.Context, key string, n int64, options ...MemoOption) (int64, error) {
	written, err := m.write(ctx, backend.MemoWrite{Key: key, Act: backend.MemoAdd, Add: n}, options)
	if err != nil {
		return 0, err
	}
	sum, err := strconv.ParseInt(string(written.Value), 10, 64)
	if err != nil {
		return 0, &Error{Op: "write memo", Err: fmt.Errorf("the store answered an increment with %q: %w", written.Value, err)}
	}
	return sum, nil
}

// Delete deletes the value of a key, if there is one.
func (m *Memo) Delete(ctx context.Context, key string) error {
	_, err := m.write(ctx, backend.MemoWrite{Key: key, Act: backend.MemoDelete}, nil)
	return err
}

// UpdateMemo stores what change makes of the value of a key, unless somebody else has
// written it meanwhile: then it begins again, with the newer value, until ctx ends. change
// gets the zero value if there is none, and may so be called several times; its error ends
// the update and is returned as it is. An update keeps no [ForgetAfter] from before.
func UpdateMemo[T any](ctx context.Context, m *Memo, key string, change func(T) (T, error), options ...MemoOption) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := updateOnce(ctx, m, key, change, options)
		if !errors.Is(err, errOvertaken) {
			return err
		}
		timer := time.NewTimer(rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &Error{Op: "write memo", Err: fmt.Errorf("%w: %w", err, context.Cause(ctx))}
		}
	}
}

// errOvertaken is the conflict of an update; one that change returns is not.
var errOvertaken = errors.New("others were faster")

func updateOnce[T any](ctx context.Context, m *Memo, key string, change func(T) (T, error), options []MemoOption) error {
	var value T
	before, err := m.client.backend.Memo(ctx, m.name, key)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		before.Version = backend.NoMemo
	case err != nil:
		return &Error{Op: "memo", Err: err}
	default:
		if err := m.decode(before.Value, &value); err != nil {
			return err
		}
	}
	if value, err = change(value); err != nil {
		return err
	}
	encoded, err := m.encode(value)
	if err != nil {
		return err
	}
	_, err = m.write(ctx, backend.MemoWrite{Key: key, Act: backend.MemoSet, Value: encoded, If: before.Version}, options)
	if errors.Is(err, backend.ErrConflict) {
		return fmt.Errorf("%w: %w", errOvertaken, err)
	}
	return err
}

// A MemoOption is said of one write of a [Memo].
type MemoOption func(*backend.MemoWrite) error

// ForgetAfter has a value forgotten when a time has passed by the store's clock: positive,
// at most [backend.MaxDelay]. Without it a value stays until it is deleted.
func ForgetAfter(d time.Duration) MemoOption {
	return func(w *backend.MemoWrite) error {
		if d <= 0 || d > backend.MaxDelay {
			return reject("ForgetAfter(%v): give a positive time of at most %v; leave it out to keep the value", d, backend.MaxDelay)
		}
		w.TTL = d
		return nil
	}
}

func (m *Memo) write(ctx context.Context, w backend.MemoWrite, options []MemoOption) (written backend.Memo, err error) {
	w.Name, w.Call = m.name, NewID()
	for i, o := range options {
		if o == nil {
			return written, &Error{Op: "write memo", Err: reject("option %d is nil", i+1)}
		}
		if err := o(&w); err != nil {
			return written, &Error{Op: "write memo", Err: err}
		}
	}
	if written, err = m.client.backend.WriteMemo(ctx, w); err != nil {
		err = &Error{Op: "write memo", Err: err}
	}
	return written, err
}

const memoPart = "memo"

// encode puts the name of the codec before the value unless it is JSON, so that other
// codecs can follow. JSON has no NUL, and a number is JSON.
func (m *Memo) encode(v any) ([]byte, error) {
	codec := m.client.registry.encoding
	data, err := encode(codec, memoPart, m.name, v)
	if err != nil {
		return nil, err
	}
	if codec.Name() != jsonName {
		data = append([]byte("\x00"+codec.Name()+"\x00"), data...)
	}
	if len(data) > backend.MaxMemo {
		return nil, &PayloadError{Op: "encode", Part: memoPart, Kind: m.name, Codec: codec.Name(),
			Detail: fmt.Sprintf("it has %d bytes, %d are allowed", len(data), backend.MaxMemo)}
	}
	return data, nil
}

func (m *Memo) decode(data []byte, v any) error {
	name := jsonName
	if rest, other := bytes.CutPrefix(data, []byte{0}); other {
		before, after, _ := bytes.Cut(rest, []byte{0})
		name, data = string(before), after
	}
	codec := m.client.registry.codec(name)
	if codec == nil {
		return &PayloadError{Op: "decode", Part: memoPart, Kind: m.name, Codec: name,
			Detail: "this client does not know the codec; add it to its registry by WithCodec"}
	}
	return decode(codec, memoPart, m.name, data, v)
}
