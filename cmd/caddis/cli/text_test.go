package cli

import (
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/jobs"
)

func TestANearNameIsFound(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"mail": "mail", "mial": "mail", "Mail": "mail", "mai": "mail", "mails": "mail",
		"orders.comfirm": "orders.confirm", "orders": "orders.confirm", "x": "", "archive": "", "": "",
	} {
		require.Equal(t, want, nearest(written, []string{"mail", "default", "orders.confirm"}), written)
	}
	require.Equal(t, "there is none at all", instead("x", nil))
	require.Equal(t, "there are a, b", instead("zzz", []string{"b", "a"}))
	many := strings.Split(strings.Repeat("queue-of-many ", 30), " ")
	require.Contains(t, instead("zzz", many), "and 11 more")
}

func TestNoSecretOfAURLIsShown(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"redis://user:secret@host:6379/0":                       "redis://host:6379/0",
		"redis://:secret@host?timeout=2s":                       "redis://host",
		"redis://user:se?cret@host":                             "redis://…",
		"redis+sentinel://a:1,b:2/m/0?sentinel_password=secret": "redis+sentinel://a:1,b:2/m/0",
		"redis+sentinel://a:1/m?sentinel_password=sec@ret":      "redis+sentinel://…",
		"rediss://host":                        "rediss://host",
		"sqlite:/var/lib/jobs.db?relaxed=true": "sqlite:/var/lib/jobs.db",
		"sqlite:///var/lib/jobs.db":            "sqlite:///var/lib/jobs.db",
	} {
		require.Equal(t, want, shown(url), url)
	}
	for _, args := range [][]string{{"queues"}, {"doctor"}, {"queues", "--help"}, {"jobs", "--limit", "0"}} {
		a := on(t, "redis://user:secret@127.0.0.1:1", args...)
		require.NotContains(t, a.out+a.err, "secret", args)
	}
	program := newTool(jobs.NewRegistry())
	program.config.Store = "redis://user:secret@host"
	require.Equal(t, "what CADDIS_STORE says, or redis://host", program.defaultStore())
}

func TestTimesAreToldInTheUnitThatFits(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for want, at := range map[string]time.Time{
		"": {}, "0ms ago": now, "250ms ago": now.Add(-250 * time.Millisecond), "59s ago": now.Add(-59 * time.Second),
		"in 5m": now.Add(5*time.Minute + time.Second), "3h07m ago": now.Add(-3*time.Hour - 7*time.Minute), "in 47h59m": now.Add(48*time.Hour - time.Second),
		"2d ago": now.Add(-50 * time.Hour),
	} {
		require.Equal(t, want, ago(at, now))
	}
}

func TestATextIsMadeOneHarmlessLine(t *testing.T) {
	t.Parallel()
	require.Equal(t, `a\u001b[31mé日\u202e \u0007`, clean("a\x1b[31mé日\u202e\n\a"))
	require.Equal(t, "a\n\tb\\u001b", cleanLines("a\r\n\tb\x1b"))
	require.Equal(t, "first …", shorten("first\nsecond", 80))
	require.Equal(t, "日日…", shorten("日日日日", 3))
	data := []byte(`{"a":"é日` + "\u009b\u202e\U000e0001\x7f" + `"}`)
	safe := harmless(data)
	require.Equal(t, `{"a":"é日\u009b\u202e\udb40\udc01\u007f"}`, string(safe))
	var before, after map[string]string
	require.NoError(t, json.Unmarshal(data, &before))
	require.NoError(t, json.Unmarshal(safe, &after))
	require.Equal(t, before, after)
}

func FuzzEscapingChangesNoJSON(f *testing.F) {
	f.Add("a\u009b\u202e\U000e0001\x7f\xff<&>")
	f.Fuzz(func(t *testing.T, text string) {
		data, err := json.Marshal(text)
		require.NoError(t, err)
		var before, after string
		require.NoError(t, json.Unmarshal(data, &before))
		require.NoError(t, json.Unmarshal(harmless(data), &after))
		require.Equal(t, before, after)
	})
}

func TestTheVersionNamesCaddisAndGo(t *testing.T) {
	t.Parallel()
	require.Regexp(t, `^v1\.2\.3, with Caddis v0\.4\.0 and go`, describe(&debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"}, Deps: []*debug.Module{{Path: modulePath, Version: "v0.4.0"}},
	}))
	require.Regexp(t, `^\(devel\), with Caddis \(devel\) and go`, describe(&debug.BuildInfo{
		Deps: []*debug.Module{{Path: modulePath, Version: "v0.0.0", Replace: &debug.Module{Path: "../.."}}},
	}))
}

func TestShellsCompleteCommandsFlagsAndTheirValues(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		a := on(t, "", "completion", shell)
		require.Zero(t, a.code, a.err)
		require.Contains(t, a.out, "caddis")
	}
	for line, want := range map[string]string{
		"que":            "queues",
		"job ":           "retry",
		"jobs --state ":  "dead",
		"jobs --output ": "jsonl",
	} {
		a := on(t, "", append([]string{"__complete"}, strings.Split(line, " ")...)...)
		require.Contains(t, a.out, want, line)
	}
}
