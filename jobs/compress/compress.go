// Package compress makes large payloads, results and progress smaller in the store. It is
// a codec around another one:
//
//	codec, err := compress.New(jobs.JSON, compress.Config{})
//	registry := jobs.NewRegistry(jobs.WithCodec(codec))
//
// Producers and workers both need it, the workers first: package encrypt shows how to
// introduce a codec. Jobs that wait since before are read as what they are, as each job
// names its codec. JSON of some kilobytes becomes about
// four times smaller, and takes a few times as long to encode (BenchmarkCodec); what is
// short, or would not become smaller, is stored as it is.
//
// With package encrypt, compress inside and encrypt outside.
package compress

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// ErrTooLarge means that data is larger than MaxBytes before compression, or would be
// after decompression; errors.Is finds it.
var ErrTooLarge = errors.New("the data is too large")

// ErrFormat means that the data is not what this codec writes, or was damaged.
var ErrFormat = errors.New("the data is not compressed by this codec")

// Config configures a codec.
type Config struct {
	// MaxBytes is how large data may be before it is compressed: more is neither written
	// nor, so that a few bytes cannot fill the memory, read. A worker needs as much as
	// the producers have. 0 means backend.MaxPayload, 4 MiB. The most is 1 GiB.
	MaxBytes int
}

const maxMaxBytes = 1 << 30

// The first byte of what is stored says what follows.
const (
	asItIs     = 0
	compressed = 1
)

// minBytes is the size below which to compress is not worth the time.
const minBytes = 256

// minLimit is what the decoder may use however small MaxBytes is.
const minLimit = 64 << 10

// prefix begins the name of the codec; the name of the inner one follows.
const prefix = "zstd+"

type codec struct {
	inner    jobs.Codec
	name     string
	maxBytes int
	encoder  *zstd.Encoder
	decoder  *zstd.Decoder
}

var _ jobs.BindingCodec = (*codec)(nil)

// New makes a codec that compresses what the inner one encodes, by zstd. Its name is that
// of the inner one after "zstd+". It returns an error if there is no inner codec, or
// MaxBytes is out of its bounds.
func New(inner jobs.Codec, config Config) (jobs.Codec, error) {
	if inner == nil {
		return nil, errors.New("compress: there is no inner codec; give one, such as jobs.JSON")
	}
	if config.MaxBytes < 0 || config.MaxBytes > maxMaxBytes {
		return nil, fmt.Errorf("compress: MaxBytes is %d; give 1 to %d, or 0 for %d", config.MaxBytes, maxMaxBytes, backend.MaxPayload)
	}
	c := &codec{inner: inner, name: prefix + inner.Name(), maxBytes: config.MaxBytes}
	if c.maxBytes == 0 {
		c.maxBytes = backend.MaxPayload
	}
	if len(c.name) > backend.MaxNameLength {
		return nil, fmt.Errorf("compress: the codec would be named %q, %d bytes are allowed", c.name, backend.MaxNameLength)
	}
	var err error
	if c.encoder, err = zstd.NewWriter(nil); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	// Concurrency 0 is one decoder per processor. The limit bounds the window too, which
	// is larger than the data where that is short.
	limit := uint64(max(c.maxBytes, minLimit))
	if c.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(limit)); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	// The encoder makes its channel at the first use. In a bubble of testing/synctest it
	// would belong to that bubble, although the codec lives on.
	c.encoder.EncodeAll(nil, nil)
	return c, nil
}

func (c *codec) Name() string { return c.name }

func (c *codec) Marshal(v any) ([]byte, error) { return c.MarshalBound(jobs.Binding{}, v) }

func (c *codec) Unmarshal(data []byte, v any) error {
	return c.UnmarshalBound(jobs.Binding{}, data, v)
}

func (c *codec) MarshalBound(binding jobs.Binding, v any) ([]byte, error) {
	plain, err := binding.Marshal(c.inner, v)
	if err != nil {
		return nil, err
	}
	if len(plain) > c.maxBytes {
		return nil, &dataError{ErrTooLarge, fmt.Sprintf("it has %d bytes before compression, %d are allowed by MaxBytes", len(plain), c.maxBytes)}
	}
	if len(plain) >= minBytes {
		data := c.encoder.EncodeAll(plain, append(make([]byte, 0, len(plain)/2), compressed))
		if len(data) <= len(plain) {
			return data, nil
		}
	}
	return append(append(make([]byte, 0, 1+len(plain)), asItIs), plain...), nil
}

func (c *codec) UnmarshalBound(binding jobs.Binding, data []byte, v any) error {
	plain, err := c.expand(data)
	if err != nil {
		return err
	}
	return binding.Unmarshal(c.inner, plain, v)
}

// expand undoes the compression.
func (c *codec) expand(data []byte) ([]byte, error) {
	tooLarge := &dataError{ErrTooLarge, fmt.Sprintf("its %d bytes become more than the %d that MaxBytes allows", len(data), c.maxBytes)}
	switch {
	case len(data) == 0:
		return nil, &dataError{ErrFormat, "it is empty"}
	case data[0] == asItIs:
		if len(data)-1 > c.maxBytes {
			return nil, tooLarge
		}
		return data[1:], nil
	case data[0] != compressed:
		return nil, &dataError{ErrFormat, "it is not compressed by this codec, as it does not begin with its mark"}
	}
	plain, err := c.decoder.DecodeAll(data[1:], nil)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), len(plain) > c.maxBytes:
		return nil, tooLarge
	case err != nil:
		return nil, &dataError{ErrFormat, fmt.Sprintf("its %d bytes are damaged or no zstd", len(data))}
	}
	return plain, nil
}

// dataError says what is wrong with data. It never shows any of it.
type dataError struct {
	cause  error
	detail string
}

func (e *dataError) Error() string         { return e.cause.Error() + ": " + e.detail }
func (e *dataError) Unwrap() error         { return e.cause }
func (e *dataError) PayloadDetail() string { return e.detail }
