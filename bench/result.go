package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
)

// settings are what a value was measured under.
type settings map[string]any

// record is one measured value, as it is written to the JSON file.
type record struct {
	Peer     string   `json:"peer"`
	Workload string   `json:"workload"`
	Metric   string   `json:"metric"`
	Value    float64  `json:"value"`
	Unit     string   `json:"unit"`
	Settings settings `json:"settings"`
}

func (r *record) variant() string {
	text, _ := r.Settings["case"].(string)
	return text
}

// results gathers what is measured.
type results struct {
	out  io.Writer
	json io.Writer // nil for none

	mu      sync.Mutex // guards records, while they are added
	records []record
}

func (r *results) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }

func (r *results) add(one record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, one)
	if r.json != nil {
		if err := json.NewEncoder(r.json).Encode(one); err != nil {
			r.printf("the JSON line could not be written: %v\n", err)
		}
	}
}

// group is what was measured of one peer under the same circumstances.
type group struct {
	variant, metric, unit, peer string
	values                      []float64 // sorted
}

func (g *group) median() float64 { return quantile(g.values, 0.5) }

// groups returns the groups of a workload in the order in which they first came,
// sorted by case and metric.
func (r *results) groups(workload string) []*group {
	var all []*group
	for i := range r.records {
		one := &r.records[i]
		if one.Workload != workload {
			continue
		}
		at := slices.IndexFunc(all, func(g *group) bool {
			return g.variant == one.variant() && g.metric == one.Metric && g.peer == one.Peer
		})
		if at < 0 {
			at = len(all)
			all = append(all, &group{variant: one.variant(), metric: one.Metric, unit: one.Unit, peer: one.Peer})
		}
		all[at].values = append(all[at].values, one.Value)
	}
	first := map[string]int{}
	for i, g := range all {
		slices.Sort(g.values)
		for _, key := range []string{g.variant, g.variant + "\n" + g.metric} {
			if _, seen := first[key]; !seen {
				first[key] = i
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *group) int {
		return cmp.Or(
			cmp.Compare(first[a.variant], first[b.variant]),
			cmp.Compare(first[a.variant+"\n"+a.metric], first[b.variant+"\n"+b.metric]),
		)
	})
	return all
}

// median is that of a peer's values; ok is false if there are none. An empty case
// stands for the best of all cases, which is the highest.
func (r *results) median(workload, variant, metric, peer string) (value float64, ok bool) {
	for _, g := range r.groups(workload) {
		if g.metric == metric && g.peer == peer && (variant == "" || g.variant == variant) {
			if m := g.median(); !ok || m > value {
				value, ok = m, true
			}
		}
	}
	return value, ok
}

// quantile is by linear interpolation between the neighbours; values is sorted.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	at := q * float64(len(values)-1)
	low := int(at)
	high := min(low+1, len(values)-1)
	return values[low] + (at-float64(low))*(values[high]-values[low])
}
