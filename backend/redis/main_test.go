package redis_test

import (
	"context"
	"flag"
	"os"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// quiet drops what the client library logs: the tests cut connections.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		// The tests wait for servers most of the time.
		_ = flag.Set("test.parallel", "16")
	}
	goredis.SetLogger(quiet{})
	go watchLag()
	os.Exit(m.Run())
}
