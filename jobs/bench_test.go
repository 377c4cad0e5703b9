package jobs

import (
	"context"
	"testing"
	"time"

	"github.com/caddis-go/caddis/backend"
)

func BenchmarkBeginAndDo(b *testing.B) {
	r := NewRegistry()
	Handle(r, ignore[welcome])
	now := func() time.Time { return instant }
	done := func(result Result) {
		if result.Settlement.Outcome != backend.OutcomeCompleted {
			b.Fatal(result.Err)
		}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		lease := aLease()
		for pb.Next() {
			run, refusal := r.Begin(lease, instant, "w")
			if refusal != nil {
				b.Fatal(refusal)
			}
			run.Do(context.Background(), now, done)
		}
	})
}

// BenchmarkBeginAndDoWithoutPayload leaves encoding/json out.
func BenchmarkBeginAndDoWithoutPayload(b *testing.B) {
	r := NewRegistry(WithCodec(noCodec{}))
	Handle(r, ignore[welcome])
	lease := aLease(func(l *backend.Lease) { l.Job.Codec = "none" })
	now := func() time.Time { return instant }
	done := func(Result) {}
	b.ReportAllocs()
	for b.Loop() {
		run, _ := r.Begin(lease, instant, "w")
		run.Do(context.Background(), now, done)
	}
}

type noCodec struct{}

func (noCodec) Name() string                { return "none" }
func (noCodec) Marshal(any) ([]byte, error) { return nil, nil }
func (noCodec) Unmarshal([]byte, any) error { return nil }

// blackHole stores nothing.
type blackHole struct{ backend.Backend }

func (blackHole) Enqueue(_ context.Context, batch []backend.NewJob) ([]Receipt, error) {
	receipts := make([]Receipt, len(batch))
	for i := range batch {
		receipts[i] = Receipt{Queue: batch[i].Queue, ID: batch[i].ID, State: backend.StateWaiting}
	}
	return receipts, nil
}

func BenchmarkEnqueue(b *testing.B) {
	client := newClient(b, blackHole{}, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := client.Enqueue(context.Background(), welcome{UserID: 42}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkEnqueueMany1000(b *testing.B) {
	client := newClient(b, blackHole{}, nil)
	items := make([]Item, 1000)
	for i := range items {
		items[i] = New(welcome{UserID: int64(i)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.EnqueueMany(context.Background(), items...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewID(b *testing.B) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = NewID()
		}
	})
}
