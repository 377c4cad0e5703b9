package compress

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

func newCodec(t testing.TB, config Config) *codec {
	t.Helper()
	c, err := New(jobs.JSON, config)
	require.NoError(t, err)
	return c.(*codec)
}

func roundTrip(t testing.TB, c jobs.Codec, value string) (data []byte) {
	t.Helper()
	data, err := c.Marshal(value)
	require.NoError(t, err)
	var back string
	require.NoError(t, c.Unmarshal(data, &back))
	require.Equal(t, value, back)
	return data
}

func TestLargeTextBecomesSmallerAndOtherDataIsStoredAsItIs(t *testing.T) {
	t.Parallel()
	c := newCodec(t, Config{})

	text := roundTrip(t, c, strings.Repeat("all the orders of a day; ", 1000))
	require.Less(t, len(text), 1000)
	require.Len(t, roundTrip(t, c, "short"), 1+len(`"short"`))
	noise := make([]byte, 300)
	for i := range noise {
		noise[i] = byte(33 + rand.IntN(94))
	}
	value, err := json.Marshal(string(noise))
	require.NoError(t, err)
	require.LessOrEqual(t, len(roundTrip(t, c, string(noise))), 1+len(value), "one byte longer at most")
	require.Equal(t, "zstd+json", c.Name())
}

// bomb is zstd of many zeros, with or without saying how many they are.
func bomb(t testing.TB, size int, told bool) []byte {
	t.Helper()
	if told {
		encoder, err := zstd.NewWriter(nil)
		require.NoError(t, err)
		return encoder.EncodeAll(make([]byte, size), []byte{compressed})
	}
	var out bytes.Buffer
	out.WriteByte(compressed)
	writer, err := zstd.NewWriter(&out)
	require.NoError(t, err)
	for range size >> 20 {
		_, err = writer.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, writer.Close())
	return out.Bytes()
}

func TestADecompressionBombIsDefusedAndFillsNoMemory(t *testing.T) { // not parallel: it measures
	c := newCodec(t, Config{})
	many := []byte{compressed}
	for frame := bomb(t, 1<<20, true)[1:]; len(many) < 64<<10; {
		many = append(many, frame...)
	}
	window := append([]byte{compressed}, binary.LittleEndian.AppendUint32(nil, 0xFD2FB528)...)
	window = append(window, 0, 0xB0, 1, 0, 0) // a window of 4 GiB
	for name, data := range map[string][]byte{
		"size told":     bomb(t, 256<<20, true),
		"size not told": bomb(t, 256<<20, false),
		"many frames":   many,
		"large window":  window,
		"as it is":      append([]byte{asItIs}, make([]byte, backend.MaxPayload+1)...),
	} {
		var back string
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := c.Unmarshal(data, &back)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, ErrTooLarge, name)
		require.ErrorContains(t, err, "become more than the 4194304 that MaxBytes allows", name)
		allocated := after.TotalAlloc - before.TotalAlloc
		t.Logf("%s: %d bytes read, %d allocated", name, len(data), allocated)
		require.Less(t, allocated, uint64(8*backend.MaxPayload), name)
	}
}

func TestWhatIsTooLargeToBeReadIsNotWritten(t *testing.T) {
	t.Parallel()
	small, large := newCodec(t, Config{MaxBytes: 1000}), newCodec(t, Config{MaxBytes: 64 << 20})

	for _, size := range []int{2, 64, 100, 1000, 1023, 1024, 1025, 5000, 1<<20 + 1, 9 << 20} {
		exact := newCodec(t, Config{MaxBytes: size})
		roundTrip(t, exact, strings.Repeat("x", size-2))
	}
	_, err := small.Marshal(strings.Repeat("x", 999))
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "it has 1001 bytes before compression, 1000 are allowed by MaxBytes")
	data := roundTrip(t, large, strings.Repeat("more than a payload may have", 1<<20))
	require.Less(t, len(data), backend.MaxPayload)
	var back string
	require.ErrorIs(t, small.Unmarshal(data, &back), ErrTooLarge)
}

func TestDamagedDataSaysSoWithoutAPieceOfIt(t *testing.T) {
	t.Parallel()
	c := newCodec(t, Config{})
	good, err := c.Marshal(strings.Repeat("secret ", 100))
	require.NoError(t, err)
	changed := bytes.Clone(good)
	changed[len(changed)/2] ^= 0xff
	for name, test := range map[string]struct {
		data   []byte
		detail string
	}{
		"empty":   {nil, "it is empty"},
		"plain":   {[]byte(`"secret"`), "it does not begin with its mark"},
		"cut off": {good[:len(good)-1], "bytes are damaged or no zstd"},
		"changed": {changed, "bytes are damaged or no zstd"},
		"no zstd": {append([]byte{compressed}, "secret secret"...), "its 14 bytes are damaged or no zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var back string
			err := c.Unmarshal(test.data, &back)
			require.ErrorIs(t, err, ErrFormat)
			require.ErrorContains(t, err, test.detail)
			require.NotContains(t, err.Error(), "secret")
			var told interface{ PayloadDetail() string }
			require.ErrorAs(t, err, &told)
			require.NotContains(t, told.PayloadDetail(), "secret")
			require.Empty(t, back)
		})
	}
}

func TestImpossibleCodecsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := New(nil, Config{})
	require.ErrorContains(t, err, "no inner codec")
	for _, n := range []int{-1, maxMaxBytes + 1} {
		_, err = New(jobs.JSON, Config{MaxBytes: n})
		require.ErrorContains(t, err, "give 1 to 1073741824, or 0 for 4194304")
	}
	_, err = New(longName{}, Config{})
	require.ErrorContains(t, err, "100 bytes are allowed")
}

type longName struct{ jobs.Codec }

func (longName) Name() string { return strings.Repeat("x", 98) }

// A registry is often a global, and its first use may be in a bubble.
func TestACodecThatWasFirstUsedInABubbleWorksOutside(t *testing.T) {
	t.Parallel()
	c := newCodec(t, Config{})
	text := strings.Repeat("text ", 1000)
	for range 2 {
		synctest.Test(t, func(t *testing.T) { roundTrip(t, c, text) })
		roundTrip(t, c, text)
	}
}

func TestACodecHoldsNoGoroutine(t *testing.T) { // not parallel: it counts goroutines
	known := goleak.IgnoreCurrent()
	roundTrip(t, newCodec(t, Config{}), strings.Repeat("text ", 1000))
	goleak.VerifyNone(t, known)
}

func TestACodecIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	c := newCodec(t, Config{})
	done := make(chan error)
	for i := range 8 {
		go func() {
			value, back := strings.Repeat(string(rune('a'+i)), 10_000), ""
			data, err := c.Marshal(value)
			err = errors.Join(err, c.Unmarshal(data, &back))
			if back != value {
				err = errors.Join(err, errors.New("another value came back"))
			}
			done <- err
		}()
	}
	for range 8 {
		require.NoError(t, <-done)
	}
}

// Whatever is read: no panic, nothing larger than allowed.
func FuzzExpand(f *testing.F) {
	c := newCodec(f, Config{MaxBytes: 64 << 10})
	good, err := c.Marshal(strings.Repeat("text ", 100))
	require.NoError(f, err)
	f.Add(good)
	f.Add(bomb(f, 1<<20, true))
	f.Add(bomb(f, 1<<20, false))
	f.Add([]byte{asItIs, '1'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		plain, err := c.expand(data)
		if err != nil {
			require.True(t, errors.Is(err, ErrFormat) || errors.Is(err, ErrTooLarge), "%v", err)
			return
		}
		require.LessOrEqual(t, len(plain), 64<<10)
	})
}

func FuzzRoundTrip(f *testing.F) {
	c := newCodec(f, Config{})
	f.Add([]byte("text"), 100)
	f.Fuzz(func(t *testing.T, value []byte, times int) {
		value = bytes.Repeat(value, int(uint(times)%1000))
		data, err := c.Marshal(value)
		if len(value) > backend.MaxPayload/2 {
			return
		}
		require.NoError(t, err)
		var back []byte
		require.NoError(t, c.Unmarshal(data, &back))
		require.True(t, bytes.Equal(value, back))
	})
}
