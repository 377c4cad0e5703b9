package redis

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

//go:embed scripts/*.lua scripts/lib/*.lua
var sources embed.FS

// script is one verb in Lua. The head of its file says which keys it is given and
// which shared pieces it uses; from that its full source is put together. A piece
// that is used in one branch only is named there, by a line "-- USES", as Lua makes
// each function anew whenever its definition is reached.
type script struct {
	name   string
	index  int
	source string
	sha    string
	// keys are the words of the KEYS line; "waiting" stands for five keys, "usual"
	// for the list of the usual priority, and "last" for the memory of one caller,
	// which comes last.
	keys []string
	last bool
}

var scripts []*script

func load(name string) *script {
	s, err := compose(name)
	if err != nil {
		panic("redis: " + err.Error())
	}
	s.index = len(scripts)
	scripts = append(scripts, s)
	return s
}

var (
	enqueueScript        = load("enqueue")
	enqueueCommon        = load("enqueue_common")
	enqueueUnique        = load("enqueue_unique")
	leaseScript          = load("lease")
	leaseCommon          = load("lease_common")
	settleScript         = load("settle")
	settleCommon         = load("settle_common")
	renewScript          = load("renew")
	saveHistoryScript    = load("save_history")
	sweepScript          = load("sweep")
	ringScript           = load("ring")
	cancelScript         = load("cancel")
	retryScript          = load("retry")
	deleteScript         = load("delete")
	runNowScript         = load("run_now")
	pauseScript          = load("pause")
	resumeScript         = load("resume")
	jobScript            = load("job")
	jobsScript           = load("jobs")
	queueScript          = load("queue")
	putScheduleScript    = load("put_schedule")
	deleteScheduleScript = load("delete_schedule")
	schedulesScript      = load("schedules")
	tickScript           = load("tick")
	setLimitScript       = load("set_limit")
	limitScript          = load("limit")
	lanesScript          = load("lanes")
	recordScript         = load("record")
	figuresScript        = load("figures")
	eventsScript         = load("events")
	memoScript           = load("memo")
	writeMemoScript      = load("write_memo")
	announceScript       = load("announce")
	workersScript        = load("workers")
	rightsScript         = load("rights")
)

// levels is the number of priorities, each with a list of its own.
const levels = 5

func compose(name string) (*script, error) {
	body, err := sources.ReadFile("scripts/" + name + ".lua")
	if err != nil {
		return nil, err
	}
	s := &script{name: name}
	var uses []string
	for line := range strings.Lines(string(body)) {
		words := strings.Fields(strings.TrimPrefix(line, "--"))
		if !strings.HasPrefix(line, "--") {
			break
		}
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "KEYS":
			s.keys = words[1:]
		case "USES":
			uses = words[1:]
		}
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("script %s names no keys", name)
	}

	full := &source{}
	n := 0
	for _, key := range s.keys {
		if key == "waiting" {
			full.WriteString("local W = {")
			for level := range levels {
				n++
				fmt.Fprintf(full, "[%d]=KEYS[%d],", level, n)
			}
			full.WriteString("}\n")
			continue
		}
		n++
		fmt.Fprintf(full, "local %s = KEYS[%d]\n", strings.ToUpper(key), n)
		s.last = s.last || key == "last"
	}
	if s.last {
		fmt.Fprintf(full, "local MEMORY = %d -- how long the memory lasts, in ms\n", memory.Milliseconds())
	}
	if uses != nil {
		full.WriteString("local RETENTION\n")
	}
	if err := full.addPieces(uses); err != nil {
		return nil, fmt.Errorf("script %s: %w", name, err)
	}
	head := true
	for line := range strings.Lines(string(body)) {
		head = head && strings.HasPrefix(line, "--")
		if uses, inner := strings.CutPrefix(strings.TrimSpace(line), "-- USES "); inner && !head {
			if err := full.addPieces(strings.Fields(uses)); err != nil {
				return nil, fmt.Errorf("script %s: %w", name, err)
			}
			continue
		}
		full.addLine(line)
	}
	s.source = full.String()
	sum := sha1.Sum([]byte(s.source))
	s.sha = hex.EncodeToString(sum[:])
	return s, nil
}

// source is what a script is put together in.
type source struct{ strings.Builder }

func (s *source) addPieces(names []string) error {
	for _, name := range names {
		piece, err := sources.ReadFile("scripts/lib/" + name + ".lua")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(piece)) {
			s.addLine(line)
		}
	}
	return nil
}

// addLine drops a line that is a comment only: every server keeps the source.
func (s *source) addLine(line string) {
	if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "--") {
		s.WriteString(line)
	}
}

// call is one run of a script.
type call struct {
	script *script
	args   []any // as sent: "evalsha", the digest, the number of keys, the keys, the arguments
	cmd    *goredis.Cmd
}

// head is the part of a call that is the same for all calls of a script on a
// tag.
func (s *script) head(keyOf func(what string) string) []any {
	keys := make([]any, 0, len(s.keys)+levels)
	for _, key := range s.keys {
		switch key {
		case "waiting":
			for level := range levels {
				keys = append(keys, keyOf(fmt.Sprintf("w%d", level-2)))
			}
		case "usual":
			keys = append(keys, keyOf("w0"))
		case "last":
		default:
			keys = append(keys, keyOf(key))
		}
	}
	n := len(keys)
	if s.last {
		n++
	}
	return append([]any{"evalsha", s.sha, n}, keys...)
}

// large is from how many bytes on a call brings its script along: it is not to be
// sent twice to a server that does not know the script.
const large = 64 << 10

// spellOut has the call name its script by the source.
func (c *call) spellOut() { c.args = append([]any{"eval", c.script.source}, c.args[2:]...) }

// result is the reply, or the error of this call alone.
func (c *call) result() (any, error) { return c.cmd.Result() }

// do runs calls in one round trip; a second one follows if a server did not
// know a script. Errors stay with their calls.
func do(ctx context.Context, client goredis.UniversalClient, calls []*call) {
	send := func(calls []*call) {
		for _, c := range calls {
			c.cmd = goredis.NewCmd(ctx, c.args...)
		}
		if len(calls) == 1 {
			_ = client.Process(ctx, calls[0].cmd)
			return
		}
		pipe := client.Pipeline()
		for _, c := range calls {
			_ = pipe.Process(ctx, c.cmd)
		}
		_, _ = pipe.Exec(ctx)
	}
	send(calls)
	var unknown []*call
	for _, c := range calls {
		if err := c.cmd.Err(); err != nil && goredis.HasErrorPrefix(err, "NOSCRIPT") {
			c.spellOut()
			unknown = append(unknown, c)
		}
	}
	if len(unknown) > 0 && ctx.Err() == nil {
		send(unknown)
	}
}
