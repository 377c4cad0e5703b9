package cli

import (
	"fmt"
	"slices"
	"strings"
)

// nearest is the one of the names that somebody may have meant who wrote another, or
// empty if none is near.
func nearest(written string, names []string) string {
	best, distance := "", max(1, len(written)/3)+1
	for _, name := range names {
		d := edits(strings.ToLower(written), strings.ToLower(name))
		if len(written) >= 3 && strings.HasPrefix(strings.ToLower(name), strings.ToLower(written)) {
			d = 1
		}
		if d < distance {
			best, distance = name, d
		}
	}
	return best
}

// instead says which name would be right: the nearest, or all if none is near.
func instead(written string, names []string) string {
	if near := nearest(written, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	names = slices.Sorted(slices.Values(names))
	const most = 20
	switch {
	case len(names) == 0:
		return "there is none at all"
	case len(names) > most:
		return fmt.Sprintf("there are %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "there are " + strings.Join(names, ", ")
}

// edits is how many letters have to be added, removed, replaced or swapped with their
// neighbour to make one word of another.
func edits(a, b string) int {
	from, to := []rune(a), []rune(b)
	before, last := make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range last {
		last[j] = j
	}
	for i := range from {
		row := make([]int, len(to)+1)
		row[0] = i + 1
		for j := range to {
			cost := 1
			if from[i] == to[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && from[i] == to[j-1] && from[i-1] == to[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(to)]
}
