package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

type Reindex struct {
	Document string `json:"document" caddis:"unique"`
	Version  int    `json:"version"`
}

func (Reindex) Kind() string { return "reindex" }

// One job per document waits, the newest: each edit puts it off by ten seconds.
func ExampleUnique() {
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	registry := jobs.NewRegistry()
	jobs.Declare[Welcome](registry, jobs.Unique())
	jobs.Declare[Reindex](registry, jobs.Unique(jobs.UntilStarted(), jobs.Replace()))
	client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
	if err != nil {
		panic(err)
	}

	first, err := client.Enqueue(ctx, Welcome{UserID: 42})
	fmt.Println(first.Duplicate(), err)
	second, err := client.Enqueue(ctx, Welcome{UserID: 42})
	fmt.Println(second.Duplicate(), second.Holder == first.ID, err)

	for version := range 3 {
		receipt, err := client.Enqueue(ctx, Reindex{"report", version}, jobs.In(10*time.Second))
		fmt.Println(receipt.State, receipt.Replaced, err)
	}

	// Output:
	// false <nil>
	// true true <nil>
	// scheduled false <nil>
	// scheduled true <nil>
	// scheduled true <nil>
}
