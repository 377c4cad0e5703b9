package backend

import (
	"context"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits of memos.
const (
	// MaxMemo is the largest value of a memo in bytes.
	MaxMemo = 64 << 10
	// MemoRemembered is how long a store remembers the call of a write.
	MemoRemembered = time.Minute
	// maxMemoCall is the longest name of a call in bytes.
	maxMemoCall = 64
)

// Memos keeps small values that outlive jobs, such as cursors and counters, each under a
// name and a key. All memos of a name are one atom: in a Cluster they lie together. How
// many there are is not bounded; those that are given a time are forgotten after it.
type Memos interface {
	// Memo returns a memo, or ErrNotFound.
	Memo(ctx context.Context, name, key string) (Memo, error)

	// WriteMemo sets a memo, adds to it or deletes it, and answers it as it is
	// afterwards. ErrConflict says that it is not of the version that the write asks
	// for, and nothing has changed.
	//
	// A write that is repeated with the same Call within MemoRemembered changes nothing
	// more and answers what it answered.
	WriteMemo(ctx context.Context, write MemoWrite) (Memo, error)
}

// Memo is one small value.
type Memo struct {
	// Name is made of what kinds are made of, Key of what ids are made of.
	Name string `json:"name"`
	Key  string `json:"key"`
	// Value is opaque to the store, unless something is added to it: then it is a whole
	// number in decimal.
	Value []byte `json:"value,omitempty"`
	// Version is the Call of the write that made it what it is.
	Version string `json:"version"`
	// ExpiresAt is when it is forgotten, by the store's clock and to the millisecond;
	// zero if it is not.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// MemoAct is what a write does.
type MemoAct uint8

const (
	// MemoSet sets the value, whatever there was.
	MemoSet MemoAct = iota + 1
	// MemoAdd adds a number to the value, which is a number or not there, and then 0.
	MemoAdd
	// MemoDelete deletes the memo, if there is one.
	MemoDelete
)

var memoActs = [...]string{"", "set", "add", "delete"}

func (a MemoAct) String() string {
	if int(a) < len(memoActs) && a > 0 {
		return memoActs[a]
	}
	return "invalid"
}

// ControlMemo is the name of memos whose writes are told to those who Listen, by
// CommandControl: what the workers are to do.
const ControlMemo = "caddis:control"

// NoMemo is the version of a memo that is not there.
const NoMemo = "-"

// MemoWrite says what is to become of a memo.
type MemoWrite struct {
	Name, Key string
	Act       MemoAct
	// Call is chosen by the caller, another one for each write, and becomes the version.
	Call string
	// If is the version that the memo must have, NoMemo if there must be none; empty for
	// any.
	If string
	// Value is for MemoSet, at most MaxMemo bytes.
	Value []byte
	// Add is for MemoAdd. A sum beyond 64 bits is rejected, and so is a value that is no
	// number.
	Add int64
	// TTL is how long the memo is kept, from now on by the store's clock; 0 is for ever.
	// MemoAdd sets it only where it makes the memo, so that a counter counts for that
	// time.
	TTL time.Duration
}

// AddToMemo adds a number to the value of a memo, for stores that cannot do so
// themselves.
func AddToMemo(value []byte, add int64) (int64, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != string(value) {
		return 0, reject("the memo holds no number to which one could be added")
	}
	sum := n + add
	if (sum > n) != (add > 0) && add != 0 {
		return 0, reject("%d and %d are more than a number of 64 bits holds", n, add)
	}
	return sum, nil
}

// CheckMemo says what is wrong with the name or the key of a memo.
func CheckMemo(name, key string) error {
	if err := checkName("memo", name); err != nil {
		return err
	}
	if err := checkLetters("the name of the memo", name, "_-.:/"); err != nil {
		return err
	}
	if key == "" {
		return reject("the memo has no key")
	}
	return checkText("key", key)
}

// Check says what is wrong with a write.
func (w *MemoWrite) Check() error {
	if err := CheckMemo(w.Name, w.Key); err != nil {
		return err
	}
	for _, call := range []string{w.Call, w.If} {
		if len(call) > maxMemoCall || !isWord(call) {
			return reject("the call or version %q of %d bytes is none; it has up to %d letters from a to z, digits, - and _",
				head(call), len(call), maxMemoCall)
		}
	}
	switch {
	case w.Act.String() == "invalid":
		return reject("act %d on a memo is none", w.Act)
	case w.Call == "" || w.Call == NoMemo:
		return reject("the write has the call %q; choose one at random", w.Call)
	case len(w.Value) > MaxMemo:
		return reject("the memo has %d bytes, %d are allowed; store large data elsewhere and note where it is", len(w.Value), MaxMemo)
	case w.TTL < 0 || w.TTL > MaxDelay:
		return reject("a memo for %v; give a time of up to %v, or 0 to keep it", w.TTL, MaxDelay)
	}
	return nil
}

func isWord(text string) bool {
	for _, c := range text {
		if !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// checkText says what is wrong with a text that names something: its length, its
// encoding, or a control character.
func checkText(what, text string) error {
	if len(text) > MaxIDLength {
		return reject("the %s has %d bytes, %d are allowed", what, len(text), MaxIDLength)
	}
	if isPlain(text) {
		return nil
	}
	if !utf8.ValidString(text) {
		return reject("the %s %q is not UTF-8", what, text)
	}
	for i, r := range text {
		if r < ' ' || r == 0x7f {
			return reject("the %s %q has a control character at byte %d", what, text, i)
		}
	}
	return nil
}
