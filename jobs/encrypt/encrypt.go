package encrypt

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
)

// Why data cannot be decrypted; errors.Is finds it in the error of a job whose payload is
// unusable.
var (
	// ErrUnknownKey means that the codec does not have the key of this name.
	ErrUnknownKey = errors.New("the key is not known")
	// ErrNotAuthentic means that the key does not open the data: it was changed, was
	// encrypted with another secret, or belongs elsewhere.
	ErrNotAuthentic = errors.New("the data is not authentic")
	// ErrFormat means that the data is not what this codec writes.
	ErrFormat = errors.New("the data is not encrypted by this codec")
)

// mark begins what is encrypted: the version of the format. Then come the length of the
// key's name, the name, the nonce, and what AES-GCM makes of the data.
const mark = 1

// prefix begins the name of the codec; the name of the inner one follows.
const prefix = "xaes256gcm+"

type codec struct {
	inner   jobs.Codec
	name    string
	current Key
	keys    map[string]Key
	known   string // for errors
}

var _ jobs.BindingCodec = (*codec)(nil)

// New makes a codec that encrypts what the inner one encodes, with the current key, and
// decrypts with any of the keys. Its name is that of the inner one after "xaes256gcm+". It
// makes data longer by 42 bytes and the name of the key. It returns an error if there is
// no inner codec, and if a key is zero or two have one name.
func New(inner jobs.Codec, current Key, older ...Key) (jobs.Codec, error) {
	if inner == nil {
		return nil, errors.New("encrypt: there is no inner codec; give one, such as jobs.JSON")
	}
	c := &codec{inner: inner, name: prefix + inner.Name(), current: current, keys: map[string]Key{}}
	if len(c.name) > backend.MaxNameLength {
		return nil, fmt.Errorf("encrypt: the codec would be named %q, %d bytes are allowed", c.name, backend.MaxNameLength)
	}
	var known []string
	for _, key := range append([]Key{current}, older...) {
		if key.aead == nil {
			return nil, errors.New("encrypt: a key is zero; make it by NewKey")
		}
		if _, taken := c.keys[key.name]; taken {
			return nil, fmt.Errorf("encrypt: two keys are named %q", key.name)
		}
		c.keys[key.name] = key
		known = append(known, fmt.Sprintf("%q", key.name))
	}
	c.known = strings.Join(known, ", ")
	return c, nil
}

func (c *codec) Name() string { return c.name }

// String shows no key.
func (c *codec) String() string { return c.name }

func (c *codec) Marshal(v any) ([]byte, error) { return c.MarshalBound(jobs.Binding{}, v) }

func (c *codec) Unmarshal(data []byte, v any) error {
	return c.UnmarshalBound(jobs.Binding{}, data, v)
}

func (c *codec) MarshalBound(binding jobs.Binding, v any) ([]byte, error) {
	plain, err := binding.Marshal(c.inner, v)
	if err != nil {
		return nil, err
	}
	key := c.current
	header := 2 + len(key.name) + nonceSize
	data := make([]byte, header, header+len(plain)+tagSize)
	data[0], data[1] = mark, byte(len(key.name))
	copy(data[2:], key.name)
	nonce := data[header-nonceSize:]
	_, _ = rand.Read(nonce) // never fails
	return key.aead.Seal(data, nonce, plain, c.additional(binding, key)), nil
}

func (c *codec) UnmarshalBound(binding jobs.Binding, data []byte, v any) error {
	key, nonce, sealed, err := c.parse(data)
	if err != nil {
		return err
	}
	plain, err := key.aead.Open(nil, nonce, sealed, c.additional(binding, key))
	if err != nil {
		return &openError{ErrNotAuthentic, fmt.Sprintf("the key %q does not open it: it was changed, "+
			"was encrypted with another secret of this name, or was that of another kind or part", key.name)}
	}
	return binding.Unmarshal(c.inner, plain, v)
}

// parse takes apart what MarshalBound wrote.
func (c *codec) parse(data []byte) (key Key, nonce, sealed []byte, err error) {
	if len(data) == 0 || data[0] != mark {
		return Key{}, nil, nil, &openError{ErrFormat, "it is not encrypted by this codec, as it does not begin with its mark"}
	}
	length := 0
	if len(data) > 1 {
		length = int(data[1])
	}
	if len(data) < 2+length+nonceSize+tagSize {
		return Key{}, nil, nil, &openError{ErrFormat, fmt.Sprintf("it is cut off: %d bytes are too few", len(data))}
	}
	name, rest := data[2:2+length], data[2+length:]
	if !validName(name) {
		return Key{}, nil, nil, &openError{ErrFormat, "it has no valid name of a key"}
	}
	key, ok := c.keys[string(name)]
	if !ok {
		return Key{}, nil, nil, &openError{ErrUnknownKey, fmt.Sprintf("it was encrypted with the key %q, and there are %s", name, c.known)}
	}
	return key, rest[:nonceSize], rest[nonceSize:], nil
}

// additional is what is authenticated with the data, in an encoding that two different
// bindings never share.
func (c *codec) additional(binding jobs.Binding, key Key) []byte {
	var data []byte
	for _, text := range []string{c.name, key.name, binding.Kind, binding.Part} {
		data = binary.AppendUvarint(data, uint64(len(text)))
		data = append(data, text...)
	}
	return append(data, mark)
}

// openError says why data cannot be decrypted. It never shows any of it.
type openError struct {
	cause  error
	detail string
}

func (e *openError) Error() string         { return e.cause.Error() + ": " + e.detail }
func (e *openError) Unwrap() error         { return e.cause }
func (e *openError) PayloadDetail() string { return e.detail }
