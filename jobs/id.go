package jobs

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/oklog/ulid/v2"
)

// NewID makes an id such as jobs and workers get: a ULID, 26 letters and digits.
// Safe for concurrent use.
func NewID() string { return newID(time.Now()) }

// newID makes a ULID: 48 bits of milliseconds, so that ids sort by time, and 80
// random bits. Those come from the runtime's ChaCha8 generators, which the
// operating system seeds and which need no lock; ids that lean on the clock
// collide as soon as two producers share a millisecond.
func newID(now time.Time) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(now)) // fails from the year 10889 on
	binary.BigEndian.PutUint16(id[6:8], uint16(rand.Uint32()))
	binary.BigEndian.PutUint64(id[8:16], rand.Uint64())
	return id.String()
}
