package jobs

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Codec turns args, results, progress, checkpoints and memos into bytes and back. It must be safe
// for concurrent use. A stored job names the codec of its payload, so that one
// worker can run jobs of several codecs.
type Codec interface {
	// Name is stored with each job and must never change its meaning.
	Name() string
	Marshal(v any) ([]byte, error)
	// Unmarshal gets a pointer. It must not keep data. Of its error nobody sees more
	// than the type, as its text may show the data, unless the error has a method
	// PayloadDetail() string, which says what was wrong without a piece of the data.
	Unmarshal(data []byte, v any) error
}

// Binding says what the data belongs to that a codec has in hand.
type Binding struct {
	// Kind is the kind of the job, or the name of the memo.
	Kind string
	// Part is "payload", "result", "progress", "checkpoint" or "memo".
	Part string
}

// BindingCodec is a [Codec] that wants to know what the data belongs to, for example to
// notice data that was moved from one kind of job to another. It is asked by these
// methods in place of Marshal and Unmarshal, to which the same rules apply.
type BindingCodec interface {
	Codec
	MarshalBound(binding Binding, v any) ([]byte, error)
	UnmarshalBound(binding Binding, data []byte, v any) error
}

// Marshal encodes v by a codec, which is told the binding if it wants to know. A codec
// that goes around another one uses it to call that one.
func (b Binding) Marshal(codec Codec, v any) ([]byte, error) {
	if codec, ok := codec.(BindingCodec); ok {
		return codec.MarshalBound(b, v)
	}
	return codec.Marshal(v)
}

// Unmarshal decodes data in the same way.
func (b Binding) Unmarshal(codec Codec, data []byte, v any) error {
	if codec, ok := codec.(BindingCodec); ok {
		return codec.UnmarshalBound(b, data, v)
	}
	return codec.Unmarshal(data, v)
}

// JSON is the default codec, encoding/json. It ignores fields that the args do
// not have. Unlike encoding/json it refuses strings that are not UTF-8, which
// would come back changed: give such data, file names for instance, the type
// []byte.
var JSON Codec = jsonCodec{}

const jsonName = "json"

type jsonCodec struct{}

func (jsonCodec) Name() string { return jsonName }

func (jsonCodec) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	// encoding/json writes the escape for bytes that are not UTF-8; a genuine
	// U+FFFD it writes as it is.
	if err == nil && bytes.Contains(data, []byte(`\ufffd`)) {
		if path, bad := findInvalidUTF8(reflect.ValueOf(v), ""); bad {
			return nil, fmt.Errorf("the string at %q is not UTF-8 and would come back changed; use []byte", strings.TrimPrefix(path, "."))
		}
	}
	return data, err
}

func (jsonCodec) Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return &jsonError{err: err, size: len(data)}
	}
	return nil
}

// jsonError knows the size of what was no JSON, which may be what another codec made of
// what is stored.
type jsonError struct {
	err  error
	size int
}

func (e *jsonError) Error() string         { return e.err.Error() }
func (e *jsonError) Unwrap() error         { return e.err }
func (e *jsonError) PayloadDetail() string { return decodeDetail(e.err, e.size) }

// strictJSON refuses fields that the args do not have.
type strictJSON struct{ jsonCodec }

func (strictJSON) Unmarshal(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return &strictError{jsonError{err: err, size: len(data)}}
	}
	return nil
}

type strictError struct{ jsonError }

func (e *strictError) PayloadDetail() string {
	if strings.HasPrefix(e.Error(), "json: unknown field ") { // and its name, which is data
		return "it has a field that the args do not have"
	}
	return e.jsonError.PayloadDetail()
}

// findInvalidUTF8 walks what json.Marshal has walked before, which therefore
// ends, and returns the path of a string that is not UTF-8. Values that encode
// themselves are not looked into.
func findInvalidUTF8(v reflect.Value, path string) (string, bool) {
	if !v.IsValid() {
		return "", false
	}
	if v.CanInterface() {
		switch v.Interface().(type) {
		case json.Marshaler, encoding.TextMarshaler:
			return "", false
		}
	}
	switch v.Kind() {
	case reflect.String:
		return path, !utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return findInvalidUTF8(v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if field.Tag.Get("json") == "-" || !field.IsExported() && !field.Anonymous {
				continue
			}
			if at, bad := findInvalidUTF8(v.Field(i), path+"."+field.Name); bad {
				return at, true
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if at, bad := findInvalidUTF8(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); bad {
				return at, true
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			if at, bad := findInvalidUTF8(entries.Key(), path+"[key]"); bad {
				return at, true
			}
			if at, bad := findInvalidUTF8(entries.Value(), path+"[…]"); bad {
				return at, true
			}
		}
	}
	return "", false
}

// encode never panics, whatever the methods of the value do.
func encode(codec Codec, part, kind string, v any) (data []byte, err error) {
	fail := func(cause error, detail string) error {
		return &PayloadError{Op: "encode", Part: part, Kind: kind, Codec: codec.Name(), Detail: detail, Err: cause}
	}
	defer func() {
		if value := recover(); value != nil {
			p := &Panic{Value: value}
			data, err = nil, fail(p, p.Error())
		}
	}()
	data, err = Binding{Kind: kind, Part: part}.Marshal(codec, v)
	if err != nil {
		return nil, fail(err, errorText(err))
	}
	return data, nil
}

// decode never panics, whatever the methods of the value do, and never shows
// the data in its error.
func decode(codec Codec, part, kind string, data []byte, v any) (err error) {
	fail := func(cause error, detail string) error {
		return &PayloadError{Op: "decode", Part: part, Kind: kind, Codec: codec.Name(), Detail: detail, Err: cause}
	}
	defer func() {
		if value := recover(); value != nil {
			err = fail(&Panic{Value: value}, fmt.Sprintf("the decoding panicked with a value of type %T", value))
		}
	}()
	if err := (Binding{Kind: kind, Part: part}).Unmarshal(codec, data, v); err != nil {
		return fail(err, decodeDetail(err, len(data)))
	}
	return nil
}

// decodeDetail tells of a codec's error what cannot show a piece of the data.
// encoding/json, package time and strconv all quote what they do not
// understand.
func decodeDetail(err error, size int) string {
	var told interface{ PayloadDetail() string }
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case size == 0:
		return "it is empty"
	case errors.As(err, &told):
		return told.PayloadDetail()
	case errors.As(err, &syntax):
		return fmt.Sprintf("no valid JSON at byte %d of %d", syntax.Offset, size)
	case errors.As(err, &mismatch):
		found, _, _ := strings.Cut(mismatch.Value, " ")
		where := ""
		if mismatch.Field != "" {
			where = fmt.Sprintf(" in field %q", mismatch.Field)
		}
		return fmt.Sprintf("found a JSON %s where a Go %s belongs%s, at byte %d of %d", found, mismatch.Type, where, mismatch.Offset, size)
	}
	return fmt.Sprintf("the decoder refused its %d bytes with an error of type %T", size, err)
}
