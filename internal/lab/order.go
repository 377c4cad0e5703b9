//go:build unix

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// order enqueues jobs of some milliseconds, one after the other, until its process is
// killed. It notes each before it is enqueued, and again when it has the receipt. While the
// store is unavailable (the machine's disk stands still) it tries again with the same id.
func order(s Settings) error {
	journal, err := OpenJournal(s.Orders)
	if err != nil {
		return err
	}
	store, err := backend.Open(s.URL)
	if err != nil {
		return err
	}
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), n)
		if err := journal.Write("ordered", id); err != nil {
			return err
		}
		_, err := client.Enqueue(context.Background(), Task{Milliseconds: 1 + n%10}, jobs.ID(id))
		if errors.Is(err, backend.ErrUnavailable) {
			n--
			continue
		}
		if err != nil {
			return err
		}
		if err := journal.Write("accepted", id); err != nil {
			return err
		}
	}
}

// Copy enters what the processes that enqueue have noted.
func (b *Books) Copy(orders Ledger) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, entries := range orders {
		o := &Order{First: entries[0].At}
		for _, e := range entries {
			switch e.Event {
			case "ordered":
				o.Tries, o.Last = o.Tries+1, e.At
			case "accepted":
				o.Accepted = e.At
			}
		}
		b.orders[id] = o
	}
}
