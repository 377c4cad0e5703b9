package operate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOfAnErrorWhatVariesIsLeftOut(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"user 123 not found":                                    "user # not found",
		"smtp: 550 no such user \"ann@example.com\"":            "smtp: 550 no such user \"…\"",
		"dial tcp 10.0.0.7:25: connection refused":              "dial tcp #: connection refused",
		"status 503 after 2.5s":                                 "status 503 after #s",
		"503 Service Unavailable":                               "503 Service Unavailable",
		"job 01M8C49DJNF0F6HKHY48S9NEJ4 lost\nsecond line":      "job # lost",
		"row 6ba7b810-9dad-11d1-80b4-00c04fd430c8 at 0xc000012": "row # at #",
		"can't":                 "can't",
		"open 'a b': no access": "open '…': no access",
		"":                      "",
	} {
		require.Equal(t, want, common(text))
	}
}

func TestThePlaceOfAPanicIsItsFirstFrame(t *testing.T) {
	t.Parallel()
	stack := "goroutine 41 [running]:\nmain.thumbnail({0x138c138?, 0x3e0}, 0x3e)\n\t/home/ann/shop/shop.go:83 +0x1d\nmain.main()"
	require.Equal(t, "main.thumbnail shop.go:83", frame(stack))
	require.Equal(t, "main.(*shop).confirm", frame("main.(*shop).confirm(0x1)"))
	require.Empty(t, frame(""))
}
