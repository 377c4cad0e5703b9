package encrypt

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
)

func BenchmarkCodec(b *testing.B) {
	c := newCodec(b, key(b, "new"))
	value := map[string]string{"text": strings.Repeat("x", 200)}
	data, err := c.MarshalBound(payload, value)
	require.NoError(b, err)
	b.Run("marshal", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.MarshalBound(payload, value)
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		for b.Loop() {
			var back map[string]string
			_ = c.UnmarshalBound(payload, data, &back)
		}
	})
	b.Run("json alone", func(b *testing.B) {
		for b.Loop() {
			_, _ = jobs.JSON.Marshal(value)
		}
	})
}
