package compress_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/caddis-go/caddis/jobs"
	"github.com/caddis-go/caddis/jobs/compress"
)

type Report struct {
	Text string `json:"text"`
}

func (Report) Kind() string { return "report" }

// Args are compressed where that makes them smaller.
func Example() {
	codec, err := compress.New(jobs.JSON, compress.Config{})
	if err != nil {
		panic(err)
	}
	registry := jobs.NewRegistry(jobs.WithCodec(codec))
	jobs.Handle(registry, func(context.Context, *jobs.Job[Report]) error { return nil })

	data, err := codec.Marshal(Report{Text: strings.Repeat("12 orders of Ada; ", 1000)})
	fmt.Println(codec.Name(), len(data) < 200, err)
	data, err = codec.Marshal(Report{Text: "12 orders"})
	fmt.Println(len(data), err)
	// Output:
	// zstd+json true <nil>
	// 21 <nil>
}
