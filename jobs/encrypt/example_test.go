package encrypt_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/caddis-go/caddis/backend/memory"
	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/compress"
	"github.com/caddis-go/caddis/jobs/encrypt"
	"github.com/caddis-go/caddis/jobs/jobstest"
)

type Payout struct {
	IBAN string `json:"iban"`
}

func (Payout) Kind() string { return "payout" }

// newKey stands for a key whose secret comes from where the program has its secrets.
func newKey(name string) encrypt.Key {
	key, err := encrypt.NewKey(name, bytes.Repeat([]byte(name[len(name)-1:]), encrypt.KeySize))
	if err != nil {
		panic(err)
	}
	return key
}

// newRegistry is that of a program that has these keys.
func newRegistry(current encrypt.Key, older ...encrypt.Key) *jobs.Registry {
	codec, err := encrypt.New(jobs.JSON, current, older...)
	if err != nil {
		panic(err)
	}
	registry := jobs.NewRegistry(jobs.WithCodec(codec))
	jobs.Handle(registry, func(_ context.Context, job *jobs.Job[Payout]) error {
		fmt.Println("paid to", job.Args.IBAN)
		return job.SetResult("done")
	})
	return registry
}

// Handlers see their args as ever, and the store holds what nobody can read.
func Example() {
	ctx := context.Background()
	store := jobstest.New(t, newRegistry(newKey("2026-03")))
	receipt, err := store.Client().Enqueue(ctx, Payout{IBAN: "DE02 1203"})
	if err != nil {
		panic(err)
	}

	job, err := store.Client().Job(ctx, receipt.Queue, receipt.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println(job.Codec, bytes.Contains(job.Payload, []byte("DE02")))
	args, err := jobs.ArgsOf[Payout](job) // by a client that has the key
	fmt.Println(args.IBAN, err)
	store.Drain(ctx)
	// Output:
	// xaes256gcm+json false
	// DE02 1203 <nil>
	// paid to DE02 1203
}

// A new key writes, the old one still reads, and a worker without it says what it lacks.
func Example_rotation() {
	ctx := context.Background()
	store, err := memory.New(memory.Config{})
	if err != nil {
		panic(err)
	}
	march, april := newKey("2026-03"), newKey("2026-04")
	enqueue := func(registry *jobs.Registry, iban string) jobs.JobInfo {
		client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
		if err != nil {
			panic(err)
		}
		receipt, err := client.Enqueue(ctx, Payout{IBAN: iban})
		if err != nil {
			panic(err)
		}
		job, err := client.Job(ctx, receipt.Queue, receipt.ID)
		if err != nil {
			panic(err)
		}
		return job
	}
	read := func(registry *jobs.Registry, job jobs.JobInfo) {
		client, err := jobs.NewClient(store, jobs.ClientConfig{Registry: registry})
		if err != nil {
			panic(err)
		}
		job, err = client.Job(ctx, job.Queue, job.ID)
		if err != nil {
			panic(err)
		}
		args, err := jobs.ArgsOf[Payout](job)
		fmt.Println(args.IBAN, err)
	}

	before := enqueue(newRegistry(march, april), "DE01") // 1. all can read the new key
	rotated := newRegistry(april, march)                 // 2. all write it
	after := enqueue(rotated, "DE02")
	read(rotated, before)
	read(rotated, after)
	read(newRegistry(april), before) // 3. too early: a job of the old key is left
	read(newRegistry(april), after)
	// Output:
	// DE01 <nil>
	// DE02 <nil>
	//  cannot decode the payload of a job of kind "payout" with codec "xaes256gcm+json": it was encrypted with the key "2026-03", and there are "2026-04"
	// DE02 <nil>
}

// Compressed inside, encrypted outside.
func ExampleNew_compressed() {
	compressed, err := compress.New(jobs.JSON, compress.Config{})
	if err != nil {
		panic(err)
	}
	codec, err := encrypt.New(compressed, newKey("2026-03"))
	if err != nil {
		panic(err)
	}
	fmt.Println(codec.Name())
	// Output: xaes256gcm+zstd+json
}

// t stands for the *testing.T of a test.
var t printer

type printer struct{}

func (printer) Helper()                           {}
func (printer) Fatalf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
