// Command caddis looks after the jobs in a store: it lists queues, jobs, workers and
// schedules, acts on them, enqueues, and finds what is wrong.
//
//	caddis --store redis://localhost:6379 queues
//
// docs/cli.md has every command. A program with handlers of its own gets the same
// command line, and its worker, by package cli.
package main

import (
	_ "github.com/caddis-go/caddis/backend/redis"  // knows redis: URLs
	_ "github.com/caddis-go/caddis/backend/sqlite" // knows sqlite: URLs
	"github.com/caddis-go/caddis/cmd/caddis/cli"
	"github.com/caddis-go/caddis/jobs"
)

func main() { cli.Main(jobs.NewRegistry(), cli.Config{}) }
