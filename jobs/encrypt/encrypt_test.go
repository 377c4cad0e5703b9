package encrypt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
)

func key(t testing.TB, name string) Key {
	t.Helper()
	k, err := NewKey(name, bytes.Repeat([]byte(name[:1]), KeySize))
	require.NoError(t, err)
	return k
}

func newCodec(t testing.TB, current Key, older ...Key) *codec {
	t.Helper()
	c, err := New(jobs.JSON, current, older...)
	require.NoError(t, err)
	return c.(*codec)
}

var (
	payload = jobs.Binding{Kind: "welcome", Part: "payload"}
	secrets = map[string]string{"card": "4111-1111-1111-1111"}
)

func seal(t testing.TB, c jobs.BindingCodec, binding jobs.Binding) []byte {
	t.Helper()
	data, err := c.MarshalBound(binding, secrets)
	require.NoError(t, err)
	return data
}

// The vectors of https://c2sp.org/XAES-256-GCM.
func TestTheCipherIsXAES256GCM(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		key               byte
		additional, wants string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{v.key}, KeySize))
		require.NoError(t, err)
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		sealed := x.Seal(nil, nonce, []byte("XAES-256-GCM"), []byte(v.additional))
		require.Equal(t, v.wants, hex.EncodeToString(sealed))
		plain, err := x.Open(nil, nonce, sealed, []byte(v.additional))
		require.NoError(t, err)
		require.Equal(t, "XAES-256-GCM", string(plain))
	}
}

func TestWhatIsEncryptedComesBackAndIsNotReadable(t *testing.T) {
	t.Parallel()
	c := newCodec(t, key(t, "new"))

	data := seal(t, c, payload)
	again := seal(t, c, payload)

	require.NotContains(t, string(data), "4111")
	require.NotEqual(t, data, again, "no two are alike")
	plain, err := json.Marshal(secrets)
	require.NoError(t, err)
	require.Len(t, data, len(plain)+42+len("new"), "as long as the documentation says")
	var back map[string]string
	require.NoError(t, c.UnmarshalBound(payload, data, &back))
	require.Equal(t, secrets, back)
	require.Equal(t, "xaes256gcm+json", c.Name())
}

func TestWithoutABindingACodecWorksToo(t *testing.T) {
	t.Parallel()
	var c jobs.Codec = newCodec(t, key(t, "new"))
	data, err := c.Marshal(secrets)
	require.NoError(t, err)
	var back map[string]string
	require.NoError(t, c.Unmarshal(data, &back))
	require.Equal(t, secrets, back)
}

func TestANewKeyWritesAndAnOldOneStillReads(t *testing.T) {
	t.Parallel()
	before := seal(t, newCodec(t, key(t, "old")), payload)
	rotated := newCodec(t, key(t, "new"), key(t, "old"))

	after := seal(t, rotated, payload)

	var back map[string]string
	require.NoError(t, rotated.UnmarshalBound(payload, before, &back))
	require.NoError(t, newCodec(t, key(t, "new")).UnmarshalBound(payload, after, &back), "the new key alone reads what is new")
	require.ErrorIs(t, newCodec(t, key(t, "new")).UnmarshalBound(payload, before, &back), ErrUnknownKey)
}

func TestWhatCannotBeDecryptedSaysWhyWithoutAPieceOfTheData(t *testing.T) {
	t.Parallel()
	k, c := key(t, "new"), newCodec(t, key(t, "new"), key(t, "old"))
	good := seal(t, c, payload)
	other, err := NewKey("new", bytes.Repeat([]byte("x"), KeySize))
	require.NoError(t, err)
	changed := bytes.Clone(good)
	changed[len(changed)-1] ^= 1
	renamed := bytes.Clone(good)
	copy(renamed[2:], "old")
	compressed, err := New(fakeCodec{}, k)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		codec   jobs.Codec
		binding jobs.Binding
		data    []byte
		is      error
		detail  string
	}{
		"unknown key":     {newCodec(t, key(t, "other"), key(t, "more")), payload, good, ErrUnknownKey, `it was encrypted with the key "new", and there are "other", "more"`},
		"wrong secret":    {newCodec(t, other), payload, good, ErrNotAuthentic, `the key "new" does not open it`},
		"changed":         {c, payload, changed, ErrNotAuthentic, `the key "new" does not open it`},
		"another key":     {c, payload, renamed, ErrNotAuthentic, `the key "old" does not open it`},
		"another kind":    {c, jobs.Binding{Kind: "refund", Part: "payload"}, good, ErrNotAuthentic, "or was that of another kind or part"},
		"another part":    {c, jobs.Binding{Kind: "welcome", Part: "result"}, good, ErrNotAuthentic, "or was that of another kind or part"},
		"another codec":   {compressed, payload, good, ErrNotAuthentic, "does not open it"},
		"plain":           {c, payload, []byte(`{"card":"4111"}`), ErrFormat, "it is not encrypted by this codec"},
		"cut off":         {c, payload, good[:20], ErrFormat, "it is cut off: 20 bytes are too few"},
		"one byte":        {c, payload, good[:1], ErrFormat, "it is cut off: 1 bytes are too few"},
		"long name":       {c, payload, append([]byte{mark, 255}, make([]byte, 300)...), ErrFormat, "it has no valid name of a key"},
		"no name of keys": {c, payload, append([]byte{mark, 0}, good[2:]...), ErrFormat, "it has no valid name of a key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var back map[string]string
			err := c.binding.Unmarshal(c.codec, c.data, &back)
			require.ErrorIs(t, err, c.is)
			require.ErrorContains(t, err, c.detail)
			require.Empty(t, back)
			var told interface{ PayloadDetail() string }
			require.ErrorAs(t, err, &told)
			require.Contains(t, told.PayloadDetail(), c.detail)
		})
	}
}

// fakeCodec has another name than JSON.
type fakeCodec struct{}

func (fakeCodec) Name() string                  { return "fake" }
func (fakeCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }
func (fakeCodec) Unmarshal(b []byte, v any) error {
	return json.Unmarshal(b, v)
}

func TestTheErrorOfTheInnerCodecKeepsItsPlaceAndItsSize(t *testing.T) {
	t.Parallel()
	c := newCodec(t, key(t, "new"))
	data := seal(t, c, payload)
	var wrong map[string]int

	err := c.UnmarshalBound(payload, data, &wrong)

	var told interface{ PayloadDetail() string }
	require.ErrorAs(t, err, &told)
	require.Equal(t, `found a JSON string where a Go int belongs, at byte 29 of 30`, told.PayloadDetail())
	_, err = c.Marshal(make(chan int))
	require.ErrorContains(t, err, "unsupported type")
}

func TestAKeyIsRefusedThatWouldNotBeOne(t *testing.T) {
	t.Parallel()
	for want, make := range map[string]func() error{
		`the name of the key is ""; give 1 to 64 letters`:        func() error { _, err := NewKey("", nil); return err },
		`the name of the key is "a b"`:                           func() error { _, err := NewKey("a b", nil); return err },
		`the name of the key is "xxxx`:                           func() error { _, err := NewKey(strings.Repeat("x", 65), nil); return err },
		`the secret of the key "k" has 8 bytes, it needs 32`:     func() error { _, err := NewKey("k", []byte("password")); return err },
		`the secret of the key "k" is all zeros; it was not set`: func() error { _, err := NewKey("k", make0()); return err },
		`a key is zero; make it by NewKey`:                       func() error { _, err := New(jobs.JSON, Key{}); return err },
		`two keys are named "new"`:                               func() error { _, err := New(jobs.JSON, key(t, "new"), key(t, "new")); return err },
		`there is no inner codec`:                                func() error { _, err := New(nil, key(t, "new")); return err },
		`100 bytes are allowed`: func() error {
			_, err := New(longName{}, key(t, "new"))
			return err
		},
	} {
		require.ErrorContains(t, make(), want)
	}
}

func make0() []byte { return make([]byte, KeySize) }

type longName struct{ fakeCodec }

func (longName) Name() string { return strings.Repeat("x", 95) }

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	k, err := NewKey("new", []byte("SECRETSECRETSECRETSECRETSECRET32"))
	require.NoError(t, err)
	c := newCodec(t, k)
	asJSON, err := json.Marshal(struct{ Key any }{k})
	require.NoError(t, err)

	all := fmt.Sprintf("%v %+v %#v %s %q %s %v %+v %s", k, k, k, k, k, asJSON, c, c, []Key{k})

	require.NotContains(t, all, "SECRET")
	require.NotContains(t, all, hex.EncodeToString([]byte("SECRET")))
	hidden := fmt.Sprintf("%v %+v %#v", struct{ k Key }{k}, struct{ k *Key }{&k}, struct{ k Key }{k}) // no method is called
	require.NotContains(t, hidden, "SECRET")
	require.NotContains(t, hidden, "83 69 67")
	require.NotContains(t, hidden, "0x53, 0x45")
	require.Equal(t, "new", k.Name())
}

// Whatever is read: no panic, nothing that was not written, and no piece of it shown.
func FuzzOpen(f *testing.F) {
	c := newCodec(f, key(f, "new"), key(f, "old"))
	good := seal(f, c, payload)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(seal(f, newCodec(f, key(f, "old")), payload))
	f.Add([]byte{mark, 255})
	f.Add(append([]byte{mark, 255}, make([]byte, 300)...))
	f.Add([]byte(`{"card":"4111"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var back map[string]string
		err := c.UnmarshalBound(payload, data, &back)
		if err == nil {
			require.Equal(t, secrets, back, "nobody without a key can make this")
			return
		}
		require.Empty(t, back)
		require.True(t, errors.Is(err, ErrFormat) || errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrNotAuthentic), "%v", err)
	})
}

func FuzzRoundTrip(f *testing.F) {
	c := newCodec(f, key(f, "new"))
	f.Add("welcome", "payload", []byte("secret"), 3)
	f.Fuzz(func(t *testing.T, kind, part string, value []byte, flip int) {
		binding := jobs.Binding{Kind: kind, Part: part}
		data, err := c.MarshalBound(binding, value)
		require.NoError(t, err)
		var back []byte
		require.NoError(t, c.UnmarshalBound(binding, data, &back))
		require.True(t, bytes.Equal(value, back))
		require.Error(t, c.UnmarshalBound(jobs.Binding{Kind: part + "x", Part: kind}, data, &back))
		data[uint(flip)%uint(len(data))] ^= 1
		require.Error(t, c.UnmarshalBound(binding, data, &back))
	})
}
