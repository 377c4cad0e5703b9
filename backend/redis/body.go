package redis

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/caddis-go/caddis/backend"
)

// The body of a job is what its producer said, in the wire format of protocol
// buffers, with only the fields that are not zero. Before it stand headerSize
// bytes, put there by the script or here: 3 bits of level (0 lowest to 4 highest) and 45 bits of the
// time of the enqueue in milliseconds. Fields that are not known are skipped, so
// that an older worker reads what a newer one wrote.
const headerSize = 6

const (
	fieldKind = iota + 1
	fieldPayload
	fieldCodec
	fieldMaxAttempts
	fieldMaxCrashes
	fieldTimeout
	fieldDeadline
	fieldExpireAfter
	fieldRetention
	fieldTag
	fieldHeader
	fieldDelay
	fieldAt
	fieldFarDeadline
	fieldLimits // scripts/lib/bodyfield.lua knows it
	fieldLane   // and it
)

// envelope encodes a job: with the header if the time of the enqueue, in Unix
// milliseconds, is given, else without.
func envelope(j *backend.NewJob, at int64) []byte {
	b := make([]byte, 0, headerSize+len(j.Kind)+len(j.Payload)+16)
	if at != 0 {
		at |= int64(j.Priority+2) << 45
		b = append(b, byte(at>>40), byte(at>>32), byte(at>>24), byte(at>>16), byte(at>>8), byte(at))
	}
	text := func(field protowire.Number, s string) {
		if s != "" {
			b = protowire.AppendTag(b, field, protowire.BytesType)
			b = protowire.AppendString(b, s)
		}
	}
	present := func(field protowire.Number, n int64) {
		b = protowire.AppendTag(b, field, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(n))
	}
	number := func(field protowire.Number, n int64) {
		if n != 0 {
			present(field, n)
		}
	}
	text(fieldKind, j.Kind)
	if len(j.Payload) > 0 {
		b = protowire.AppendTag(b, fieldPayload, protowire.BytesType)
		b = protowire.AppendBytes(b, j.Payload)
	}
	text(fieldCodec, j.Codec)
	number(fieldMaxAttempts, int64(j.MaxAttempts))
	number(fieldMaxCrashes, int64(j.MaxCrashes))
	number(fieldTimeout, int64(j.Timeout))
	if !j.Deadline.IsZero() {
		if ns := j.Deadline.UnixNano(); time.Unix(0, ns).Equal(j.Deadline) {
			present(fieldDeadline, ns)
		} else if far, err := j.Deadline.UTC().MarshalBinary(); err == nil {
			text(fieldFarDeadline, string(far))
		}
	}
	number(fieldExpireAfter, int64(j.ExpireAfter))
	number(fieldRetention, int64(j.Retention))
	for _, tag := range j.Tags {
		b = protowire.AppendTag(b, fieldTag, protowire.BytesType)
		b = protowire.AppendString(b, tag)
	}
	if len(j.Headers) > 0 {
		for _, key := range slices.Sorted(maps.Keys(j.Headers)) {
			b = protowire.AppendTag(b, fieldHeader, protowire.BytesType)
			pair := protowire.SizeBytes(len(key)) + len(j.Headers[key])
			b = protowire.AppendVarint(b, uint64(pair))
			b = protowire.AppendString(b, key)
			b = append(b, j.Headers[key]...)
		}
	}
	text(fieldLimits, limitLines(j.Limits))
	text(fieldLane, laneText(j.Lane))
	if j.Delay > 0 {
		number(fieldDelay, millis(j.Delay))
	} else if !j.At.IsZero() {
		number(fieldAt, ceilMilli(j.At))
	}
	return b
}

var errBody = errors.New("the stored job cannot be read")

// decodeBody reads a body into job, whose ID and Queue the caller sets.
func decodeBody(body string, job *backend.Job) error {
	if len(body) < headerSize {
		return fmt.Errorf("%w: %d bytes are too few", errBody, len(body))
	}
	raw := []byte(body)
	var at [8]byte
	copy(at[2:], raw[:headerSize])
	at[2] &= 0x1f
	enqueued := int64(binary.BigEndian.Uint64(at[:]))
	level := int(raw[0] >> 5)
	if level >= levels {
		return fmt.Errorf("%w: there is no level %d", errBody, level)
	}
	job.Priority = level - 2
	job.EnqueuedAt = time.UnixMilli(enqueued)
	job.DueAt = job.EnqueuedAt

	raw = raw[headerSize:]
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return fmt.Errorf("%w: %w", errBody, protowire.ParseError(n))
		}
		raw = raw[n:]
		switch kind {
		case protowire.BytesType:
			value, n := protowire.ConsumeBytes(raw)
			if n < 0 {
				return fmt.Errorf("%w: %w", errBody, protowire.ParseError(n))
			}
			raw = raw[n:]
			if err := setBytes(job, field, value); err != nil {
				return err
			}
		case protowire.VarintType:
			value, n := protowire.ConsumeVarint(raw)
			if n < 0 {
				return fmt.Errorf("%w: %w", errBody, protowire.ParseError(n))
			}
			raw = raw[n:]
			setNumber(job, field, protowire.DecodeZigZag(value))
		default:
			n := protowire.ConsumeFieldValue(field, kind, raw)
			if n < 0 {
				return fmt.Errorf("%w: %w", errBody, protowire.ParseError(n))
			}
			raw = raw[n:]
		}
	}
	if job.Kind == "" {
		return fmt.Errorf("%w: it has no kind", errBody)
	}
	return nil
}

func setBytes(job *backend.Job, field protowire.Number, value []byte) error {
	switch field {
	case fieldKind:
		job.Kind = string(value)
	case fieldPayload:
		job.Payload = value
	case fieldCodec:
		job.Codec = string(value)
	case fieldTag:
		job.Tags = append(job.Tags, string(value))
	case fieldLimits:
		limits, err := readLimits(string(value))
		if err != nil {
			return err
		}
		job.Limits = limits
	case fieldLane:
		weight, key, _ := strings.Cut(string(value), " ")
		n, err := strconv.ParseFloat(weight, 64)
		if err != nil {
			return fmt.Errorf("%w: its lane: %w", errBody, err)
		}
		job.Lane = backend.Lane{Key: key, Weight: n}
	case fieldFarDeadline: // beyond what nanoseconds can express
		if err := job.Deadline.UnmarshalBinary(value); err != nil {
			return fmt.Errorf("%w: its deadline: %w", errBody, err)
		}
	case fieldHeader:
		key, n := protowire.ConsumeBytes(value)
		if n < 0 {
			return fmt.Errorf("%w: %w", errBody, protowire.ParseError(n))
		}
		if job.Headers == nil {
			job.Headers = map[string]string{}
		}
		job.Headers[string(key)] = string(value[n:])
	}
	return nil
}

func setNumber(job *backend.Job, field protowire.Number, value int64) {
	switch field {
	case fieldMaxAttempts:
		job.MaxAttempts = int(value)
	case fieldMaxCrashes:
		job.MaxCrashes = int(value)
	case fieldTimeout:
		job.Timeout = time.Duration(value)
	case fieldDeadline:
		job.Deadline = time.Unix(0, value)
	case fieldExpireAfter:
		job.ExpireAfter = time.Duration(value)
	case fieldRetention:
		job.Retention = time.Duration(value)
	case fieldDelay:
		job.DueAt = job.EnqueuedAt.Add(time.Duration(value) * time.Millisecond)
	case fieldAt:
		if at := time.UnixMilli(value); at.After(job.EnqueuedAt) {
			job.DueAt = at
		}
	}
}

// A stored history has a head that the scripts know: crashes (1 byte), attempts
// (4), length of the progress (4), big-endian. The progress follows, then all
// else as JSON.
const historyHead = 9

func encodeHistory(h *backend.History) (string, error) {
	rest := *h
	rest.Attempts, rest.Progress = 0, nil
	if n := len(rest.Failures); n > backend.MaxFailures {
		rest.Failures = rest.Failures[n-backend.MaxFailures:]
	}
	// In JSON an instant keeps no seconds of its zone's offset, and would be another.
	rest.StartedAt, rest.FinishedAt = rest.StartedAt.UTC(), rest.FinishedAt.UTC()
	rest.Failures = slices.Clone(rest.Failures)
	for i := range rest.Failures {
		rest.Failures[i].At = rest.Failures[i].At.UTC()
	}
	rest.Logs = slices.Clone(rest.Logs)
	for i := range rest.Logs {
		rest.Logs[i].At = rest.Logs[i].At.UTC()
	}
	text, err := json.Marshal(&rest)
	if err != nil {
		return "", fmt.Errorf("%w: the history cannot be encoded: %w", backend.ErrRejected, err)
	}
	b := make([]byte, 1, historyHead+len(h.Progress)+len(text))
	b = binary.BigEndian.AppendUint32(b, uint32(max(0, h.Attempts)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(h.Progress)))
	b = append(b, h.Progress...)
	return string(append(b, text...)), nil
}

var errHistory = errors.New("the stored history cannot be read")

func decodeHistory(blob string) (backend.History, int, error) {
	var h backend.History
	if blob == "" {
		return h, 0, nil
	}
	if len(blob) < historyHead {
		return h, 0, fmt.Errorf("%w: %d bytes are too few", errHistory, len(blob))
	}
	crashes := int(blob[0])
	attempts := binary.BigEndian.Uint32([]byte(blob[1:5]))
	size := int64(binary.BigEndian.Uint32([]byte(blob[5:9])))
	if size > int64(len(blob)-historyHead) {
		return h, crashes, fmt.Errorf("%w: it ends within the progress", errHistory)
	}
	if text := blob[historyHead+size:]; text != "" {
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			return backend.History{}, crashes, fmt.Errorf("%w: %w", errHistory, err)
		}
	}
	h.Attempts = int(attempts)
	if size > 0 {
		h.Progress = []byte(blob[historyHead : historyHead+size])
	}
	return h, crashes, nil
}

// millis rounds a duration up to milliseconds, the unit of the store.
func millis(d time.Duration) int64 {
	ms := d.Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
}

// ceilMilli rounds an instant up to milliseconds.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) != 0 {
		ms++
	}
	return ms
}
