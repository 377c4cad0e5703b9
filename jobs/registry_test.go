package jobs

import (
	"bytes"
	"context"
	"encoding/gob"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend"
)

func ignore[A Args](context.Context, *Job[A]) error { return nil }

type other struct{}

func (other) Kind() string { return "other" }

type nameless struct{}

func (nameless) Kind() string { return "" }

type spaced struct{}

func (spaced) Kind() string { return "two words" }

type fickle struct{ name *string }

func (f fickle) Kind() string { return *f.name }

func TestARegistryKnowsWhatItHandles(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	require.Empty(t, r.Kinds())
	Handle(r, ignore[welcome])
	Handle(r, ignore[other])
	Declare[secret](r)
	require.Equal(t, []string{"other", "welcome"}, r.Kinds())
	require.True(t, r.Handles("welcome"))
	require.False(t, r.Handles("secret"), "it is only declared")
	require.False(t, r.Handles("unheard-of"))
}

func TestMistakesInTheProgramPanicWithWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	Handle(r, ignore[welcome])
	frozen := NewRegistry()
	frozen.Freeze()
	for want, f := range map[string]func(){
		`jobs: Handle of kind "welcome": the kind is registered already; each kind has one handler`: func() { Handle(r, ignore[welcome]) },
		`jobs: Declare of kind "welcome": the kind is registered already`:                           func() { Declare[*pointerArgs](r) },
		`jobs: the Kind method of jobs.nameless: rejected: the kind has no name`:                    func() { Declare[nameless](r) },
		`jobs: the Kind method of jobs.spaced: rejected: kind "two words" has ' ' at byte 3`:        func() { Handle(r, ignore[spaced]) },
		`it must be the same for all values of the type`:                                            func() { Declare[fickle](r) },
		`jobs: jobs.Args is an interface; give the concrete type of the args`:                       func() { Declare[Args](r) },
		`jobs: Handle of kind "other": the handler is nil; use Declare`:                             func() { Handle[other](r, nil) },
		`jobs: Handle of kind "other": the registry is in use by a started system`:                  func() { Handle(frozen, ignore[other]) },
		`jobs: WithCodec needs a codec with a name`:                                                 func() { NewRegistry(WithCodec(nil)) },
		`jobs: WithRunMiddleware got a nil middleware`:                                              func() { NewRegistry(WithRunMiddleware(nil)) },
		`jobs: WithEnqueueMiddleware got a nil middleware`:                                          func() { NewRegistry(WithEnqueueMiddleware(nil)) },
	} {
		require.Contains(t, recoverText(t, f), want)
	}
	require.Equal(t, []string{"welcome"}, r.Kinds(), "a refused registration leaves nothing behind")
}

type gobCodec struct{}

func (gobCodec) Name() string { return "gob" }

func (gobCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

func (gobCodec) Unmarshal(data []byte, v any) error {
	return gob.NewDecoder(bytes.NewReader(data)).Decode(v)
}

func TestJobsOfSeveralCodecsRunSideBySide(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	r := NewRegistry(WithCodec(gobCodec{}))
	var got []int64
	Handle(r, func(_ context.Context, job *Job[welcome]) error {
		got = append(got, job.Args.UserID)
		return job.SetResult(job.Args.UserID * 2)
	})
	client := newClient(t, store, r)
	_, err := client.Enqueue(t.Context(), welcome{UserID: 1}, ID("1"))
	require.NoError(t, err)
	require.Equal(t, "gob", store.stored[0].Codec)
	back := NewRegistry(WithCodec(gobCodec{}), WithCodec(JSON))
	_, err = newClient(t, store, back).Enqueue(t.Context(), welcome{UserID: 2}, ID("2"))
	require.NoError(t, err)
	require.Empty(t, store.stored[1].Codec, "json is the name that is left out")

	for _, job := range store.stored {
		result := runIn(t, t.Context(), r, &backend.Lease{Job: job.Job, Token: "w.1"})
		require.NoError(t, result.Err)
		info := client.jobInfo(backend.JobInfo{Job: job.Job, History: *result.Settlement.History})
		doubled, err := ResultOf[int64](info)
		require.NoError(t, err)
		args, err := ArgsOf[welcome](info)
		require.NoError(t, err)
		require.Equal(t, args.UserID*2, doubled)
	}
	require.Equal(t, []int64{1, 2}, got)
}

type namedFile struct {
	Path  string
	Extra map[string][]string
	Raw   rawText
}

func (namedFile) Kind() string { return "file" }

// rawText encodes itself, with an escape that stands for a genuine U+FFFD.
type rawText string

func (r rawText) MarshalJSON() ([]byte, error) { return []byte(`"` + string(r) + `"`), nil }

func TestJSONRefusesStringsThatWouldComeBackChanged(t *testing.T) {
	t.Parallel()
	for where, args := range map[string]namedFile{
		"Path":        {Path: "a\xffb"},
		"Extra[…][1]": {Extra: map[string][]string{"k": {"fine", "\xff"}}},
		"Extra[key]":  {Extra: map[string][]string{"\xff": nil}},
	} {
		_, err := newClient(t, &fakeStore{}, nil).Enqueue(t.Context(), args)
		require.ErrorIs(t, err, ErrPayload)
		require.ErrorContains(t, err, `the string at "`+where+`" is not UTF-8 and would come back changed; use []byte`)
	}
	for _, args := range []namedFile{{Path: "\ufffd"}, {Path: `\ufffd`}, {Path: `\\ufffd`}, {Raw: `\ufffd`}} {
		_, err := newClient(t, &fakeStore{}, nil).Enqueue(t.Context(), args)
		require.NoError(t, err, "%+v", args)
	}
}

type explosive struct{}

func (*explosive) UnmarshalJSON(data []byte) error { panic(string(data)) }
func (explosive) MarshalJSON() ([]byte, error)     { panic("no") }
func (explosive) Kind() string                     { return "explosive" }

func TestACodecThatPanicsIsAPayloadError(t *testing.T) {
	t.Parallel()
	_, err := newClient(t, &fakeStore{}, nil).Enqueue(t.Context(), explosive{})
	require.ErrorIs(t, err, ErrPayload)
	require.ErrorContains(t, err, `cannot encode the payload of a job of kind "explosive" with codec "json": panic: no`)

	r := NewRegistry()
	Handle(r, ignore[explosive])
	result := runIn(t, t.Context(), r, aLease(func(l *backend.Lease) { l.Job.Kind = "explosive" }))
	require.Equal(t, backend.OutcomeDead, result.Settlement.Outcome)
	require.ErrorContains(t, result.Err, "the decoding panicked with a value of type string")
	require.Nil(t, result.Panic)
}

func TestDecodingErrorsSayWhatIsWrongWithoutTheData(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]string{
		``:                   "it is empty",
		`{"user_id":4711`:    "no valid JSON at byte 15 of 15",
		`{"user_id":4711.5}`: `found a JSON number where a Go int64 belongs in field "user_id"`,
		`[4711]`:             "found a JSON array where a Go jobs.welcome belongs, at byte",
		`4711`:               "found a JSON number where a Go jobs.welcome belongs, at byte",
	} {
		var args welcome
		err := decode(JSON, "payload", "welcome", []byte(payload), &args)
		require.ErrorContains(t, err, want)
		require.NotContains(t, strings.ReplaceAll(err.Error(), want, ""), "4711")
	}
	var quoted struct {
		N int `json:",string"`
	}
	err := decode(JSON, "payload", "x", []byte(`{"N":"secret"}`), &quoted)
	require.ErrorContains(t, err, "the decoder refused its 14 bytes with an error of type")
	require.NotContains(t, err.Error(), "secret")
}

func FuzzAnyPayloadIsRunOrDead(f *testing.F) {
	for _, seed := range []string{`{"user_id":1}`, `null`, `[`, ``, `{"user_id":1e99}`, "\xff", `"x"`, strings.Repeat("[", 20_000)} {
		f.Add([]byte(seed), "")
	}
	f.Add([]byte("x"), "gob")
	r := NewRegistry(WithCodec(gobCodec{}))
	Handle(r, ignore[welcome])
	f.Fuzz(func(t *testing.T, payload []byte, codec string) {
		run, refusal := r.Begin(aLease(func(l *backend.Lease) { l.Job.Payload, l.Job.Codec = payload, codec }), instant, "w")
		require.Nil(t, refusal)
		calls := 0
		run.Do(t.Context(), instant.Local, func(result Result) {
			calls++
			require.Nil(t, result.Panic)
			if result.Err == nil {
				require.Equal(t, backend.OutcomeCompleted, result.Settlement.Outcome)
				return
			}
			require.ErrorIs(t, result.Err, ErrPayload)
			require.Equal(t, backend.OutcomeDead, result.Settlement.Outcome)
		})
		require.Equal(t, 1, calls)
	})
}
