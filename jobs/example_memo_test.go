package jobs_test

import (
	"context"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
)

// What a nightly import has to know of the last one, and a count per hour.
func ExampleMemo() {
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	client, err := jobs.NewClient(store, jobs.ClientConfig{})
	if err != nil {
		panic(err)
	}
	memo := client.Memo("import.orders")

	for range 2 {
		var cursor int
		found, err := memo.Get(ctx, "cursor", &cursor)
		fmt.Println(found, cursor, err)
		if err := memo.Set(ctx, "cursor", cursor+100); err != nil {
			panic(err)
		}
		imported, err := memo.Increment(ctx, "imported", 100, jobs.ForgetAfter(time.Hour))
		fmt.Println(imported, err)
	}

	// Output:
	// false 0 <nil>
	// 100 <nil>
	// true 100 <nil>
	// 200 <nil>
}
