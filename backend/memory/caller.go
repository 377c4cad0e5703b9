package memory

import "github.com/caddis-go/caddis/backend"

// maxCallers is how many workers' last calls are remembered. Workers that sign
// off are forgotten; the bound is for those that vanish.
const maxCallers = 1024

// caller is what the store remembers of a worker's last calls, so that they can
// be repeated.
type caller struct {
	worker string
	// used orders the callers by their last call.
	used uint64
	// token and leased are of its last Lease.
	token  string
	leased []*job
	// call and results are of its last Settle.
	call    uint64
	results []backend.SettleResult
	// recorded is the number of its last Record.
	recorded uint64
}

func (b *Backend) caller(worker string) *caller {
	b.calls++
	c := b.callers[worker]
	if c == nil {
		if len(b.callers) >= maxCallers {
			b.forgetOldestCaller()
		}
		c = &caller{worker: worker}
		b.callers[worker] = c
	}
	c.used = b.calls
	return c
}

func (b *Backend) forgetOldestCaller() {
	var oldest *caller
	for _, c := range b.callers {
		if oldest == nil || c.used < oldest.used {
			oldest = c
		}
	}
	delete(b.callers, oldest.worker)
}
