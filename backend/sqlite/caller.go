package sqlite

import (
	"encoding/binary"

	"github.com/caddis-go/caddis/backend"
)

// maxCallers is how many workers' last calls are remembered. Workers that sign off
// are forgotten; the bound is for those that vanish.
const maxCallers = 1024

// caller is what the file remembers of a worker's last calls, so that they can be
// repeated.
type caller struct {
	known   bool
	token   string
	leased  []byte
	call    int64
	results []byte
}

func (t *txn) caller(worker string) (c caller, err error) {
	c.known, err = one(t, `SELECT ifnull(token, ''), leased, call, results FROM caddis_caller WHERE worker = ?`, []any{worker},
		&c.token, &c.leased, &c.call, &c.results)
	return c, err
}

func (t *txn) saveCaller(worker string, c caller) error {
	_, err := t.exec(`INSERT OR REPLACE INTO caddis_caller (worker, used, token, leased, call, results) VALUES (?, ?, ?, ?, ?, ?)`,
		worker, t.now, c.token, c.leased, c.call, c.results)
	if c.known || err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM caddis_caller WHERE worker IN (SELECT worker FROM caddis_caller ORDER BY used DESC LIMIT -1 OFFSET ?)`, maxCallers)
	return err
}

// fruitless remembers, of each worker, the token of its last Lease if that handed out
// nothing: it is no reason to write to the file. It belongs to the writer. Of too many workers
// those are forgotten that have not leased for the longest time.
type fruitless struct {
	tokens map[string]inVain
	turns  uint64
}

// inVain is a Lease that handed out nothing, and which one of all those it was.
type inVain struct {
	token string
	turn  uint64
}

// of returns the token of a worker's last Lease, if that was one.
func (f *fruitless) of(worker string) (token string, known bool) {
	last, known := f.tokens[worker]
	return last.token, known
}

func (f *fruitless) put(worker, token string) {
	if _, known := f.tokens[worker]; !known && len(f.tokens) >= maxCallers {
		oldest, turn := "", f.turns+1
		for other, last := range f.tokens {
			if last.turn < turn {
				oldest, turn = other, last.turn
			}
		}
		delete(f.tokens, oldest)
	}
	f.turns++
	f.tokens[worker] = inVain{token, f.turns}
}

func (f *fruitless) forget(worker string) { delete(f.tokens, worker) }

// pack and unpack keep the numbers of jobs.
func pack(seqs []int64) []byte {
	var b []byte
	for _, seq := range seqs {
		b = binary.AppendUvarint(b, uint64(seq))
	}
	return b
}

func unpack(b []byte) (seqs []int64) {
	for len(b) > 0 {
		seq, n := binary.Uvarint(b)
		if n <= 0 {
			return seqs
		}
		seqs, b = append(seqs, int64(seq)), b[n:]
	}
	return seqs
}

// A result is kept as one byte: the state, or one of these.
const (
	resultStale    = 0xfe
	resultRejected = 0xff
)

func packResults(results []backend.SettleResult, states []state) []byte {
	b := make([]byte, len(results))
	for i := range results {
		switch {
		case results[i].Err != nil:
			b[i] = resultRejected
		case results[i].Stale:
			b[i] = resultStale
		default:
			b[i] = byte(states[i])
		}
	}
	return b
}

// unpackResults answers a call again. What was wrong with a settlement it finds out
// anew.
func unpackResults(b []byte, settlements []backend.Settlement) []backend.SettleResult {
	results := make([]backend.SettleResult, len(b))
	for i, kept := range b {
		switch {
		case kept == resultRejected:
			results[i].Err = rejected(&settlements[i])
		case kept == resultStale || kept >= byte(states):
			results[i].Stale = true
		default:
			results[i].State = state(kept).public()
		}
	}
	return results
}
