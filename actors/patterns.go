package actors

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddis-go/caddis/backend"
)

// patterns are the entries of Config.Queues: names of queues; patterns, in which a star
// stands for any text, an empty one as well; and either of them behind an exclamation
// mark, for what is left out. They are plain data.
type patterns []string

// leftOut returns what an entry leaves out.
func leftOut(entry string) (pattern string, is bool) { return strings.CutPrefix(entry, "!") }

// isPattern reports whether an entry stands for queues that it does not name.
func isPattern(entry string) bool { return strings.Contains(entry, "*") }

// dynamic reports whether queues that are not known yet can be among them.
func (p patterns) dynamic() bool {
	return slices.ContainsFunc(p, func(entry string) bool {
		_, out := leftOut(entry)
		return !out && isPattern(entry)
	})
}

// matches reports whether a pattern stands for a queue.
func matches(pattern, queue string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == queue
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(queue) < len(first)+len(last) || !strings.HasPrefix(queue, first) || !strings.HasSuffix(queue, last) {
		return false
	}
	queue = queue[len(first) : len(queue)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(queue, part)
		if at < 0 {
			return false
		}
		queue = queue[at+len(part):]
	}
	return true
}

// rank is the place of the first entry that takes a queue; taken is false if none does,
// or if one leaves it out.
func (p patterns) rank(queue string) (place int, taken bool) {
	place = slices.IndexFunc(p, func(entry string) bool { return matches(entry, queue) })
	out := slices.ContainsFunc(p, func(entry string) bool {
		pattern, is := leftOut(entry)
		return is && matches(pattern, queue)
	})
	return place, place >= 0 && !out
}

// take returns the queues that are named, and those of the known ones that a pattern
// stands for: in the order of the entries, and by name where one entry stands for
// several.
func (p patterns) take(known []string) []string {
	groups := make([][]string, len(p))
	seen := map[string]bool{}
	add := func(queue string) {
		if place, taken := p.rank(queue); taken && !seen[queue] {
			seen[queue] = true
			groups[place] = append(groups[place], queue)
		}
	}
	for _, entry := range p {
		if _, out := leftOut(entry); !out && !isPattern(entry) {
			add(entry)
		}
	}
	for _, queue := range known {
		add(queue)
	}
	for _, group := range groups {
		slices.Sort(group)
	}
	return slices.Concat(groups...)
}

// check says what is wrong with the entries.
func (p patterns) check() error {
	var wrong []error
	reject := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	for i, entry := range p {
		pattern, out := leftOut(entry)
		if err := backend.CheckQueue(strings.ReplaceAll(pattern, "*", "x")); err != nil {
			if isPattern(pattern) {
				err = fmt.Errorf("pattern %q: %w", pattern, err)
			}
			reject("%w", err)
			continue
		}
		if slices.Contains(p[:i], entry) {
			reject("%q is named twice", entry)
		}
		if !out {
			continue
		}
		switch {
		case slices.Contains(p, pattern):
			reject("%q is both named and left out", pattern)
		case !p.dynamic() && !slices.ContainsFunc(p, func(other string) bool { return matches(pattern, other) }):
			reject(`%q leaves out nothing, as there is no pattern; give "*" too for all other queues`, entry)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	if !p.dynamic() && len(p.take(nil)) == 0 {
		return errors.New(`all that is named is left out; give "*" too for all other queues`)
	}
	return nil
}
