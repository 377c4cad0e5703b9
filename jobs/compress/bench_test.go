package compress

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
)

type order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Cents    int    `json:"cents"`
	Paid     bool   `json:"paid"`
}

// orders are JSON as jobs have it: the names repeat, the values do not.
func orders(n int) (all []order) {
	for i := range n {
		id := jobs.NewID()
		all = append(all, order{ID: id, Customer: fmt.Sprintf("customer %s", id[20:]), Cents: i * 7919 % 100_000, Paid: i%3 > 0})
	}
	return all
}

// The metric ratio is how many times smaller the data becomes.
func BenchmarkCodec(b *testing.B) {
	c := newCodec(b, Config{})
	for _, n := range []int{1, 10, 50, 1000} {
		value := orders(n)
		plain, err := json.Marshal(value)
		require.NoError(b, err)
		data, err := c.Marshal(value)
		require.NoError(b, err)
		b.Run(fmt.Sprintf("marshal %d bytes", len(plain)), func(b *testing.B) {
			for b.Loop() {
				_, _ = c.Marshal(value)
			}
			b.ReportMetric(float64(len(plain))/float64(len(data)), "ratio")
		})
		b.Run(fmt.Sprintf("expand %d bytes", len(plain)), func(b *testing.B) {
			for b.Loop() {
				_, _ = c.expand(data)
			}
		})
		b.Run(fmt.Sprintf("json alone %d bytes", len(plain)), func(b *testing.B) {
			for b.Loop() {
				_, _ = json.Marshal(value)
			}
		})
	}
}
