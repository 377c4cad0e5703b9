package backend

import (
	"encoding/hex"
	"strings"
	"time"
)

// Key is what at most one job of a queue holds: a hash, so that nothing can be read off
// it. The zero Key is none.
type Key [16]byte

// String is the key in hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Unique says that a job holds a key, for how long, and what becomes of the job if
// another one holds that key already. The zero Unique is a job without a key, to which
// nothing of this applies.
//
// A hold begins with the enqueue and is ended by the very step that Hold names. The store
// looks whether the holder is still there: a key whose job is gone is free, but for one
// that is held for a time.
type Unique struct {
	Key Key
	// For is how long, by the store's clock, with HoldForTime; else 0.
	For time.Duration
	// Hold is how long the key is held.
	Hold Hold
	// Conflict is what happens if another job holds the key.
	Conflict Conflict
}

// Hold is how long a job holds its key.
type Hold uint8

const (
	// HoldUntilFinished ends when the job is completed, cancelled or dead, or is
	// deleted. A job that comes back, because it is tried again, was put off, handed
	// back, or its worker vanished, keeps its key. One that an operator retries after
	// its end has none any more.
	HoldUntilFinished Hold = iota + 1
	// HoldUntilStarted ends when the job is first leased, or else as the one above. A
	// job that comes back does not take its key again, as another job may hold it.
	HoldUntilStarted
	// HoldForTime ends when the time of the Unique has passed since the enqueue,
	// whatever has become of the job, or when the job is deleted before its end.
	HoldForTime
)

// Conflict is what happens to a job whose key another one holds.
type Conflict uint8

const (
	// ConflictKeep stores nothing: the holder stays as it is.
	ConflictKeep Conflict = iota
	// ConflictReplace has the job take the place of a holder that has not been leased
	// yet: under the id of that one it is stored anew, with its own payload, delay,
	// priority and hold. A holder that was leased stays as it is.
	ConflictReplace
)

// check says what is wrong with the key of a job.
func (u *Unique) check() error {
	switch {
	case u.Key == Key{} && *u != Unique{}:
		return reject("a hold on no key; give a Key that is not zero, or leave Unique out")
	case u.Key == Key{}:
		return nil
	case u.Hold < HoldUntilFinished || u.Hold > HoldForTime:
		return reject("hold %d is none", u.Hold)
	case u.Conflict > ConflictReplace:
		return reject("conflict policy %d is none", u.Conflict)
	case u.Hold == HoldForTime && (u.For < time.Millisecond || u.For > MaxDelay):
		return reject("a key held for %v; it goes from 1ms to %v", u.For, MaxDelay)
	case u.Hold != HoldForTime && u.For != 0:
		return reject("a key held for %v, and until the job has started or finished; give one", u.For)
	}
	return nil
}

// Held reports whether a job holds a key.
func (u *Unique) Held() bool { return u.Key != Key{} }

// keyMark stands between the id of a job and its key in the ids of KeyedID.
const keyMark = "~"

// KeyedID is an id that lies in the shard of a key, made of one that is unique. Where a
// queue has several shards, a job with a key must have such an id, so that all jobs of the
// key are in the same shard.
func KeyedID(id string, key Key) string { return id + keyMark + key.String() }

// keyOf is the key in an id of KeyedID; empty for other ids.
func keyOf(id string) string {
	at := len(id) - 2*len(Key{})
	if at < 1 || id[at-1:at] != keyMark || strings.Trim(id[at:], "0123456789abcdef") != "" {
		return ""
	}
	return id[at:]
}
