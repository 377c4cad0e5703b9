package jobstest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddis-go/caddis/backend"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

// Charge and Receipt are the jobs of a shop.
type Charge struct {
	Order  string `json:"order"`
	Amount int    `json:"amount"`
}

func (Charge) Kind() string { return "charge" }

type Receipt struct {
	Order string `json:"order"`
}

func (Receipt) Kind() string { return "receipt" }

// newShop is the registry of the shop. Its bank is not there at the first attempt.
func newShop() *jobs.Registry {
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(ctx context.Context, job *jobs.Job[Charge]) error {
		if job.Attempt == 1 {
			return errors.New("the bank does not answer")
		}
		client, _ := jobs.ClientFrom(ctx)
		_, err := client.Enqueue(ctx, Receipt{Order: job.Args.Order}, jobs.In(24*time.Hour))
		return err
	}, jobs.Backoff(jobs.Exponential{Initial: time.Minute, Jitter: -1}))
	jobs.Handle(registry, func(context.Context, *jobs.Job[Receipt]) error { return nil }, jobs.Queue("mail"))
	return registry
}

// t stands for the *testing.T of a test.
var t printer

type printer struct{}

func (printer) Helper()                           {}
func (printer) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// A test of what is enqueued, and of all that comes of it: a failure, its retry and a
// follow-up a day later.
func Example() {
	ctx := context.Background()
	store := jobstest.New(t, newShop())

	// What is tested would do this.
	_, err := store.Client().Enqueue(ctx, Charge{Order: "A-1", Amount: 1999}, jobs.In(time.Hour))
	if err != nil {
		t.Fatalf("%v", err)
	}

	store.RequireEnqueued(t, Charge{Order: "A-1", Amount: 1999}, jobs.In(time.Hour))
	report := store.Drain(ctx)
	report.RequireCompleted(t)
	store.RequireEnqueued(t, Receipt{Order: "A-1"}, jobs.Queue("mail"))

	for _, attempt := range report.Attempts {
		fmt.Println(attempt)
	}
	fmt.Println("took", report.Took.Round(time.Minute))
	// Output:
	// charge, attempt 1 of 25: retry in 1m0s: the bank does not answer
	// charge, attempt 2 of 25: completed
	// receipt, attempt 1 of 25: completed
	// took 25h1m0s
}

// A test of one handler.
func ExampleStore_Run() {
	store := jobstest.New(t, newShop())

	attempt := store.Run(context.Background(), Charge{Order: "A-1", Amount: 1999})

	attempt.Require(t, backend.OutcomeRetry)
	fmt.Println(attempt.Err)
	fmt.Println(attempt.Delay)
	// Output:
	// the bank does not answer
	// 1m0s
}

// What a failing expectation says.
func ExampleStore_RequireEnqueued() {
	ctx := context.Background()
	store := jobstest.New(t, newShop())
	_, err := store.Client().Enqueue(ctx, Charge{Order: "A-1", Amount: 1999}, jobs.In(time.Hour))
	if err != nil {
		t.Fatalf("%v", err)
	}

	store.RequireEnqueued(t, Charge{Order: "A-1", Amount: 1999}, jobs.In(2*time.Hour))
	// Output:
	// jobstest: no job was enqueued as
	//     charge {"amount":1999,"order":"A-1"}, Queue("default"), In(2h0m0s)
	// Of kind "charge" there were:
	//     1. charge {"amount":1999,"order":"A-1"}, Queue("default"), In(1h0m0s)
	//        In is 1h0m0s and not 2h0m0s
}

// Whatever else is to be said about what was enqueued.
func ExampleEnqueued() {
	ctx := context.Background()
	store := jobstest.New(t, newShop())
	for i := range 3 {
		_, err := store.Client().Enqueue(ctx, Charge{Order: fmt.Sprint("A-", i), Amount: i * 100})
		if err != nil {
			t.Fatalf("%v", err)
		}
	}

	sum := 0
	for _, record := range jobstest.Enqueued[Charge](store) {
		sum += record.Args.Amount
	}
	fmt.Println(sum)
	// Output: 300
}

// A day of a job that never ends.
func ExampleStore_RunFor() {
	ctx := context.Background()
	registry := jobs.NewRegistry()
	jobs.Handle(registry, func(context.Context, *jobs.Job[Receipt]) error { return jobs.Snooze(6 * time.Hour) })
	store := jobstest.New(t, registry)
	if _, err := store.Client().Enqueue(ctx, Receipt{Order: "A-1"}, jobs.In(time.Hour)); err != nil {
		t.Fatalf("%v", err)
	}

	report := store.RunFor(ctx, 24*time.Hour)

	fmt.Println(report.Count(backend.OutcomeSnoozed), "times, and", report.Left[0].State, "again")
	// Output: 4 times, and scheduled again
}
