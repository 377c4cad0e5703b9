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

// role is what a user of Redis does, with the scripts that it runs and the commands
// that it sends besides. Scripts run with the rights of who calls them.
type role struct {
	scripts  []*script
	commands []string
}

var (
	producing = role{
		scripts:  []*script{enqueueScript},
		commands: []string{"hsetnx", "hmget"},
	}
	working = role{
		scripts:  []*script{rightsScript, leaseScript, settleScript, renewScript, sweepScript, ringScript, announceScript},
		commands: []string{"hsetnx", "hmget", "blpop", "rpush", "pexpire", "hdel", "zrem", "del"},
	}
	operating = role{
		scripts: []*script{
			cancelScript, retryScript, deleteScript, runNowScript, pauseScript, resumeScript,
			jobScript, jobsScript, queueScript, workersScript,
		},
		commands: []string{"hsetnx", "hmget", "hget", "hgetall", "publish"},
	}
)

// scripted finds the commands of a script.
var scripted = regexp.MustCompile(`\b(?:call|each)\('([A-Z]+)'`)

// rights lists the commands that a role must be allowed, in order.
func (r role) rights() []string {
	needed := map[string]bool{"eval": true, "evalsha": true}
	for _, s := range r.scripts {
		for _, found := range scripted.FindAllStringSubmatch(s.source, -1) {
			needed[strings.ToLower(found[1])] = true
		}
	}
	for _, command := range r.commands {
		needed[command] = true
	}
	return slices.Sorted(maps.Keys(needed))
}

// checkRights asks the server whether the user may do what a worker must, and whether
// it takes writes. It warns of what a worker can do without.
func (b *Backend) checkRights(ctx context.Context) ([]backend.Warning, error) {
	rights := working.rights()
	c := b.directoryCall(rightsScript)
	for _, command := range append(rights, "subscribe") {
		words := []any{command}
		switch command {
		case "subscribe":
			words = append(words, b.channel())
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
		if n := int(asInt(number)); n >= 1 && n <= len(rights) {
			missing = append(missing, "+"+rights[n-1])
		} else {
			warnings = append(warnings, backend.Warning{
				Setting: "acl",
				Problem: "the user may not subscribe to " + b.channel() + ": to cancel a running job takes until its lease is renewed",
				Remedy:  "give it +subscribe and &" + b.channel(),
			})
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: the user of Redis may not do what a worker must; give it ~%s:* %s", backend.ErrDenied, b.config.Namespace, strings.Join(missing, " "))
	}
	return warnings, nil
}
