// Package backendtest is the conformance suite of job stores: what package
// backend promises, as tests that every store runs.
//
//	func TestConformance(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t) })
//	}
//
// Run and RunSynctest need a store with the default retention, RunRetention one
// with the policy that it names. RunModel plays random calls against the store
// and against a plain model of it.
package backendtest

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddis-go/caddis/backend"
)

// test is one test of the suite; its name is a sentence.
type test struct {
	name string
	run  func(k *kit)
}

// suite returns all tests that need no policy of their own.
func suite() []test {
	return slices.Concat(
		enqueueTests, replaceTests, uniqueTests, limitTests, limitBesideTests, laneTests, leaseTests, repeatTests, expiryTests, settleTests, fencingTests,
		blockTests, renewTests, saveHistoryTests, cancelTests, operateTests, inspectTests, waitTests,
		wakeTests, directoryTests, scheduleTests, tickTests, recordTests, memoTests, hostileTests, edgeTests, loadTests, closeTests,
	)
}

// Run runs the suite in parallel subtests. Each has a store of its own: open
// returns an empty one with the default retention, and the suite closes it.
func Run(t *testing.T, open func(t *testing.T) backend.Backend) {
	for _, test := range suite() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(newKit(t, open(t)))
		})
	}
}

// RunSynctest does the same within bubbles of testing/synctest, for stores that
// do no I/O: no time passes while it waits.
func RunSynctest(t *testing.T, open func(t *testing.T) backend.Backend) {
	for _, test := range suite() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test.run(newKit(t, open(t))) })
		})
	}
}

// RunRetention tests that finished jobs are kept as a policy says. Open returns
// an empty store with the policy.
func RunRetention(t *testing.T, open func(t *testing.T, policy backend.RetentionPolicy) backend.Backend) {
	for _, test := range retentionTests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(newKit(t, open(t, test.policy)))
		})
	}
}
