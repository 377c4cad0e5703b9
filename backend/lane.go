package backend

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

const (
	// MinWeight and MaxWeight bound the weight of a lane.
	MinWeight = 0.001
	MaxWeight = 1000
	// MaxLanes is how many lanes a LanesInfo lists, LanesLook of how many it takes the
	// longest.
	MaxLanes  = 100
	LanesLook = 1000
)

// Lane is the one of several lines of a queue in which a job waits, such as that of its
// tenant: lanes get their turns in proportion to their weights, however many jobs wait in
// each. The zero Lane is none: all jobs without a lane are together one of weight 1.
//
// Lanes divide what is handed out of one priority in one queue (in one shard of it, where
// it has several); a higher priority still comes first. Lease hands out by start-time fair
// queueing: each hand-out brings the lane forward by 1/weight in a virtual time, the lane that
// is furthest back is next, and one that comes to have work begins at the virtual time, so
// that it neither catches up on what it did not use nor waits for what others have piled up.
// Of two lanes that have work all the time neither gets ahead of the other by more than one
// turn of each.
//
// Within a lane jobs come in the order in which they came to wait. A job that comes back to
// the front, handed back or as its lease expired, has had its turn: it comes before all lanes
// of its priority and costs none; where the queue held no job with a lane when it came back,
// it may be the first of those without. What is parked at a limit has left its lane, and is
// handed out as soon as there is room.
type Lane struct {
	// Key is the name, text for people too, of at most MaxNameLength bytes.
	Key string `json:"key"`
	// Weight is how many turns a job of the lane has for one of a job of weight 1, from
	// MinWeight to MaxWeight; 0 means 1. It is that of the job that is handed out.
	Weight float64 `json:"weight,omitempty"`
}

// turn is what a job of weight 1 costs its lane in virtual time.
const turn = 1_000_000

// Cost is by how much the lane comes forward in virtual time when the job is handed out:
// 1,000,000 for one of weight 1, or without a lane.
func (l Lane) Cost() int64 {
	if l.Weight == 0 {
		return turn
	}
	return int64(math.Floor(turn/l.Weight + 0.5))
}

func (l Lane) check() error {
	switch {
	case l == Lane{}:
		return nil
	case l.Key == "":
		return reject("a lane of weight %v without a key; give a key, or leave the lane out", l.Weight)
	case l.Weight != 0 && !(l.Weight >= MinWeight && l.Weight <= MaxWeight):
		return reject("lane %q: a weight of %v; it goes from %v to %d, or is 0 for 1", head(l.Key), l.Weight, MinWeight, MaxWeight)
	}
	return checkReadable("lane", l.Key)
}

// LanesQuery asks for the lanes of a queue.
type LanesQuery struct {
	Queue string
	// Job is the id of a job whose place in its lane is asked for; it may be empty.
	Job string
}

// LanesInfo tells which lanes have jobs that wait in them.
type LanesInfo struct {
	Queue string `json:"queue"`
	// Lanes are those with most jobs, these first, at most MaxLanes. If More is true there are
	// others: where a queue has more than LanesLook of them, those looked at are some.
	Lanes []LaneInfo `json:"lanes"`
	More  bool       `json:"more,omitempty"`
	// Place is that of the job asked for among those of its priority in its lane, from 1;
	// 0 if it does not wait in a lane.
	Place int `json:"place,omitempty"`
}

// LaneInfo is how many jobs wait in a lane, of all priorities.
type LaneInfo struct {
	Key     string `json:"key"`
	Waiting int    `json:"waiting"`
}

// Longest sums up the lanes that are listed several times, and leaves those in which most
// jobs wait. It is for stores.
func (i *LanesInfo) Longest() {
	waiting := map[string]int{}
	for _, l := range i.Lanes {
		waiting[l.Key] += l.Waiting
	}
	i.Lanes = make([]LaneInfo, 0, len(waiting))
	for key, n := range waiting {
		i.Lanes = append(i.Lanes, LaneInfo{Key: key, Waiting: n})
	}
	slices.SortFunc(i.Lanes, func(a, b LaneInfo) int {
		return cmp.Or(cmp.Compare(b.Waiting, a.Waiting), strings.Compare(a.Key, b.Key))
	})
	if len(i.Lanes) > MaxLanes {
		i.Lanes, i.More = i.Lanes[:MaxLanes], true
	}
}
