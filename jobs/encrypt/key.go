package encrypt

import (
	"crypto/cipher"
	"fmt"
	"strings"
)

// KeySize is the length of a secret in bytes.
const KeySize = 32

const maxNameLength = 64

// Key is a secret and its name. It prints and logs as its name; the secret cannot be read
// from it. A Key may be used concurrently and in several codecs.
type Key struct {
	name string
	aead cipher.AEAD // nil in the zero Key
}

// NewKey makes a key. The name goes with what is encrypted, unencrypted, so that the key
// is found again; a date is a good one: 1 to 64 letters, digits and _ - . :. It must never
// be used for another secret. The secret is 32 random bytes, such as those of
// "head -c 32 /dev/urandom"; a password is none.
func NewKey(name string, secret []byte) (Key, error) {
	if !validName(name) {
		return Key{}, fmt.Errorf("encrypt: the name of the key is %.80q; give 1 to %d letters, digits or any of \"_-.:\"", name, maxNameLength)
	}
	if len(secret) != KeySize {
		return Key{}, fmt.Errorf("encrypt: the secret of the key %q has %d bytes, it needs %d random ones", name, len(secret), KeySize)
	}
	if strings.Trim(string(secret), "\x00") == "" {
		return Key{}, fmt.Errorf("encrypt: the secret of the key %q is all zeros; it was not set", name)
	}
	aead, err := newXAES(secret)
	if err != nil {
		return Key{}, fmt.Errorf("encrypt: the key %q: %w", name, err)
	}
	return Key{name: name, aead: aead}, nil
}

// Name returns the name.
func (k Key) Name() string { return k.name }

// String returns the name.
func (k Key) String() string { return k.name }

// GoString shows no more than the name, for %#v.
func (k Key) GoString() string { return fmt.Sprintf("encrypt.Key(%q)", k.name) }

func validName[Text string | []byte](name Text) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '_', c == '-', c == '.', c == ':':
		default:
			return false
		}
	}
	return len(name) >= 1 && len(name) <= maxNameLength
}
