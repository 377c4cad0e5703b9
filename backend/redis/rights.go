package redis

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// role is what a user of Redis does: the verbs, and the commands that it sends besides.
// Scripts run with the rights of who calls them.
type role struct {
	verbs    []string
	commands []string
}

var (
	producing = role{
		verbs:    []string{"enqueue", "enqueue_unique"},
		commands: []string{"hsetnx", "hmget"},
	}
	working = role{
		verbs:    []string{"rights", "lease", "settle", "renew", "save_history", "sweep", "ring", "announce", "put_schedule", "schedules", "tick", "record", "memo", "write_memo"},
		commands: []string{"hsetnx", "hmget", "hgetall", "blpop", "rpush", "pexpire", "hdel", "zrem", "del"},
	}
	// Who uses memos needs these besides.
	noting = role{verbs: []string{"memo", "write_memo"}}

	operating = role{
		verbs: []string{
			"cancel", "retry", "delete", "run_now", "pause", "resume", "set_limit", "limit", "lanes", "job", "jobs", "queue", "workers",
			"put_schedule", "delete_schedule", "schedules", "tick",
			"figures", "events", "memo", "write_memo",
		},
		commands: []string{"hsetnx", "hmget", "hget", "hgetall", "publish"},
	}
)

// runs reports whether a script is one of the role's verbs, or its common case.
func (r role) runs(s *script) bool {
	return slices.Contains(r.verbs, strings.TrimSuffix(s.name, "_common"))
}

// scripted finds the commands of a script.
var scripted = regexp.MustCompile(`\b(?:call|each)\('([A-Z]+)'`)

// rights lists the commands that a role must be allowed, in order.
func (r role) rights() []string {
	needed := map[string]bool{"eval": true, "evalsha": true}
	for _, s := range scripts {
		if !r.runs(s) {
			continue
		}
		for _, found := range scripted.FindAllStringSubmatch(s.source, -1) {
			needed[strings.ToLower(found[1])] = true
		}
	}
	for _, command := range r.commands {
		needed[command] = true
	}
	return slices.Sorted(maps.Keys(needed))
}

// beside are commands that a worker can do without, and what happens then.
var beside = []struct{ command, without string }{
	{"subscribe", "to cancel a running job takes until its lease is renewed"},
	{"publish", "jobs of a kind that the worker does not know wait for others that do for up to two minutes, where there are many queues"},
}

// checkRights asks the server whether the user may do what a worker must, and whether
// it takes writes. It warns of what a worker can do without.
func (b *Backend) checkRights(ctx context.Context) ([]backend.Warning, error) {
	rights := working.rights()
	c := b.directoryCall(rightsScript)
	asked := slices.Clone(rights)
	for _, b := range beside {
		asked = append(asked, b.command)
	}
	for _, command := range asked {
		words := []any{command}
		switch command {
		case "subscribe":
			words = append(words, b.channel())
		case "publish":
			words = append(words, b.channel(), "")
		case "eval", "evalsha":
			words = append(words, "", "1", b.directoryKey("queues"))
		case "blpop":
			words = append(words, b.directoryKey("bell"), "0")
		case "time":
		default:
			words = append(words, b.directoryKey("queues"))
		}
		c.add(len(words))
		c.add(words...)
	}
	if err := b.run(ctx, c); err != nil {
		return nil, err
	}
	reply, err := c.result()
	if err != nil {
		if strings.Contains(err.Error(), "READONLY") {
			err = fmt.Errorf("%w: the server is a read-only replica, which can keep no jobs; give the address of the primary, or of Sentinel: %w", backend.ErrUnavailable, err)
		}
		return nil, err
	}
	numbers, _ := reply.([]any)
	var missing []string
	var warnings []backend.Warning
	for _, number := range numbers {
		switch n := int(asInt(number)) - 1; {
		case n < 0 || n >= len(asked):
		case n < len(rights):
			missing = append(missing, "+"+rights[n])
		default:
			lacks := beside[n-len(rights)]
			warnings = append(warnings, backend.Warning{
				Setting: "acl",
				Problem: "the user may not " + lacks.command + " on " + b.channel() + ": " + lacks.without,
				Remedy:  "give it +" + lacks.command + " and &" + b.channel(),
			})
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: the user of Redis may not do what a worker must; give it ~%s:* %s", backend.ErrDenied, b.config.Namespace, strings.Join(missing, " "))
	}
	return warnings, nil
}
