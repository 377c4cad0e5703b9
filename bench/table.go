package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// printTable prints what was measured in one workload: for each case and metric
// the median of each peer, from the lowest to the highest value, and how it
// stands to asynq and to the limit.
func (r *results) printTable(workload string) {
	groups := r.groups(workload)
	if len(groups) == 0 {
		return
	}
	t := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "case\tmetric\tpeer\tmedian\tunit\tlowest to highest\tagainst asynq\tof the limit")
	for i, g := range groups {
		variant, metric := g.variant, g.metric
		if i > 0 && groups[i-1].variant == variant {
			variant = ""
			if groups[i-1].metric == metric {
				metric = ""
			}
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s to %s\t%s\t%s\n", variant, metric, g.peer, short(g.median()), g.unit,
			short(g.values[0]), short(g.values[len(g.values)-1]),
			r.ratio(workload, g, "asynq", "×", 1), r.ratio(workload, g, "limit", "%", 100))
	}
	_ = t.Flush()
}

func (r *results) ratio(workload string, g *group, against, unit string, scale float64) string {
	other, ok := r.median(workload, g.variant, g.metric, against)
	if !ok || other == 0 || strings.HasPrefix(g.peer, against) || against == limitPeer.name && g.peer == memoryPeer.name {
		return ""
	}
	return short(scale*g.median()/other) + " " + unit
}

// short writes a number with three digits that count, and thousands apart.
func short(v float64) string {
	switch magnitude := math.Abs(v); {
	case magnitude >= 100:
		return thousands(int64(math.Round(v)))
	case magnitude >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case magnitude >= 1 || magnitude == 0:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	digits := strings.TrimPrefix(text, "-")
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return strings.Repeat("-", len(text)-len(strings.TrimPrefix(text, "-"))) + digits
}
