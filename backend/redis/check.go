package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddis-go/caddis/backend"
)

// oldest is the oldest version of Redis that has what the scripts need: LPOP and
// BLPOP are old, ZMSCORE, LPOS and the replication of effects are not.
const oldestMajor, oldestMinor = 6, 2

// Check implements backend.Backend. It takes two round trips. In a Cluster any server
// may answer.
func (b *Backend) Check(ctx context.Context) ([]backend.Warning, error) {
	var info *goredis.StringCmd
	var configs []*goredis.MapStringStringCmd
	err := b.await(ctx, 0, func(ctx context.Context) {
		pipe := b.client.Pipeline()
		info = pipe.Info(ctx)
		for _, name := range []string{"maxmemory-policy", "maxmemory", "save", "appendonly", "appendfsync"} {
			configs = append(configs, pipe.ConfigGet(ctx, name))
		}
		_, _ = pipe.Exec(ctx) // the errors stay with the commands
	})
	if err != nil {
		return nil, b.fail("check", "", err)
	}
	// What may not be asked is not known; all else must be.
	settings := map[string]string{}
	denied := info.Err() != nil
	failed := beyond(info.Err())
	for _, config := range configs {
		maps.Copy(settings, config.Val())
		denied = denied || config.Err() != nil
		failed = cmp.Or(failed, beyond(config.Err()))
	}
	if failed != nil {
		return nil, b.fail("check", "", failed)
	}
	facts := parseInfo(info.Val())
	if err := checkVersion(facts["redis_version"]); err != nil {
		return nil, b.fail("check", "", err)
	}
	warnings, err := b.checkRights(ctx)
	if err != nil {
		return nil, b.fail("check", "", err)
	}
	return append(warnings, judge(facts, settings, denied)...), nil
}

// Version implements backend.Versioned. A user without the right to INFO gets an
// ErrDenied.
func (b *Backend) Version(ctx context.Context) (string, error) {
	var info *goredis.StringCmd
	err := b.await(ctx, 0, func(ctx context.Context) { info = b.client.Info(ctx, "server") })
	if err == nil {
		err = classify(info.Err())
	}
	if err != nil {
		return "", b.fail("version", "", err)
	}
	return "Redis " + parseInfo(info.Val())["redis_version"], nil
}

// beyond is an error that is more than a refusal to answer a question: hosted servers
// refuse some, and others do not know them.
func beyond(err error) error {
	if err := classify(err); errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, backend.ErrDenied) {
		return err
	}
	return nil
}

func parseInfo(info string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	return facts
}

func checkVersion(version string) error {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return nil // a server that does not say; the scripts will tell
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return nil
	}
	if major < oldestMajor || (major == oldestMajor && minor < oldestMinor) {
		return fmt.Errorf("%w: the server is Redis %s, and %d.%d or newer is needed", backend.ErrRejected, version, oldestMajor, oldestMinor)
	}
	return nil
}

// judge says what about a server can lose jobs.
func judge(facts, settings map[string]string, denied bool) []backend.Warning {
	var warnings []backend.Warning
	warn := func(setting, problem, remedy string) {
		warnings = append(warnings, backend.Warning{Setting: setting, Problem: problem, Remedy: remedy})
	}
	policy := settings["maxmemory-policy"]
	if policy == "" {
		policy = facts["maxmemory_policy"]
	}
	switch policy {
	case "noeviction":
	case "":
		warn("maxmemory-policy", "it could not be checked; with any but noeviction the server drops jobs when its memory is full", "make sure that it is noeviction")
	default:
		warn("maxmemory-policy", fmt.Sprintf("it is %s: the server drops jobs when its memory is full", policy), "set it to noeviction")
	}
	if facts["role"] == "slave" {
		warn("replica-read-only", "the server is a replica that takes writes: all jobs are lost when it copies its primary again", "use the primary")
	}
	append, known := settings["appendonly"]
	if !known {
		switch facts["aof_enabled"] {
		case "1":
			append = "yes"
		case "0":
			append = "no"
		}
	}
	save, saveKnown := settings["save"]
	switch {
	case append == "yes" && settings["appendfsync"] == "everysec":
		warn("appendfsync", "it is everysec: a crash of the server's machine loses what was accepted within its last second", "set it to always if no accepted job may be lost")
	case append == "yes" && settings["appendfsync"] == "no":
		warn("appendfsync", "it is no: a crash of the server's machine loses what was accepted within about its last half minute", "set it to everysec or always")
	case append == "yes" && denied:
		warn("appendfsync", "it could not be checked", "make sure that it is everysec or always")
	case append == "yes":
	case append == "no" && saveKnown && save != "":
		warn("appendonly", "it is no: a restart of the server loses all jobs since its last snapshot", "set it to yes")
	case append == "no" && saveKnown:
		warn("appendonly", "neither the append-only file nor snapshots are on: a restart of the server loses all jobs", "set appendonly to yes")
	case append == "no":
		warn("appendonly", "it is no: a restart of the server loses all jobs since its last snapshot, if it takes any", "set it to yes")
	default:
		warn("appendonly", "it could not be checked; without it a restart of the server loses jobs", "make sure that it is yes")
	}
	return warnings
}
