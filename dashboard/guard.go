package dashboard

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"sync"
	"time"
)

// protect sets what keeps a page from being used by others.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "+
		"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// tokens are in our pages and in no others: an act needs one.
type tokens struct{ secret []byte }

// tokenAge is how old a page may be whose buttons work.
const tokenAge = 24 * time.Hour

// of makes the token for somebody, now.
func (t tokens) of(name string, now time.Time) string {
	token := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	return base64.RawURLEncoding.EncodeToString(append(token, t.sum(token, name)...))
}

func (t tokens) sum(instant []byte, name string) []byte {
	mac := hmac.New(sha256.New, t.secret)
	mac.Write(instant)
	mac.Write([]byte(name))
	return mac.Sum(nil)
}

func (t tokens) valid(token, name string, now time.Time) bool {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(data) != 8+sha256.Size {
		return false
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(data)), 0)
	fresh := now.Sub(made) < tokenAge && made.Sub(now) < time.Minute // replicas' clocks differ a bit
	return hmac.Equal(data[8:], t.sum(data[:8], name)) && fresh
}

// rates bounds the acts of each visitor.
type rates struct {
	mu sync.Mutex
	// full is, per name, the instant from which all acts may be done again.
	full map[string]time.Time
}

const (
	// actsAtOnce is how many acts may be done at once; one more may each actEvery.
	actsAtOnce = 20
	actEvery   = 200 * time.Millisecond
	// maxRates bounds the names that are kept.
	maxRates = 10_000
)

func (r *rates) take(name string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.full) >= maxRates {
		for other, at := range r.full {
			if at.Before(now) {
				delete(r.full, other)
			}
		}
	}
	at := r.full[name]
	if at.Before(now) {
		at = now
	}
	if at.Sub(now) > (actsAtOnce-1)*actEvery {
		return false
	}
	if r.full == nil {
		r.full = map[string]time.Time{}
	}
	r.full[name] = at.Add(actEvery)
	return true
}

// notices tell, on the page that follows an act, what it did. They are kept here and not in
// the address, where others could write what they like.
type notices struct {
	mu   sync.Mutex
	list []notice
}

// notice has a Text for the one of its name. Bad says that not all was done.
type notice struct {
	id, name string
	Text     string
	Bad      bool
}

const maxNotices = 200

func (n *notices) add(added notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == maxNotices {
		n.list = n.list[1:]
	}
	n.list = append(n.list, added)
}

// of is the notice of an id for the one whose act it was; nil if there is none.
func (n *notices) of(id, name string) *notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.list {
		if id != "" && n.list[i].id == id && n.list[i].name == name {
			found := n.list[i]
			return &found
		}
	}
	return nil
}
