//go:build unix

package lab_test

import (
	"context"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/caddis-go/caddis/backend/redis/redistest"
	"github.com/caddis-go/caddis/internal/lab"
)

// shortSoak is how long the soak lasts if CADDIS_SOAK does not say.
const shortSoak = 20 * time.Second

// soaking is a scene that a soak does harm to.
type soaking struct {
	*scene
	r      *rand.Rand
	server *redistest.Server
	proxy  *lab.Proxy
	client *goredis.Client
}

// harms are what a soak chooses from. Each leaves the scene whole.
var harms = []struct {
	name string
	do   func(s *soaking)
}{
	{"all connections are cut", func(s *soaking) { s.proxy.Cut() }},
	{"requests are cut", func(s *soaking) {
		verb := working[s.r.IntN(len(working)-1)]
		n := 1 + s.r.IntN(5)
		if s.r.IntN(2) == 0 {
			s.proxy.CutBefore(verb, n)
		} else {
			s.proxy.CutAfter(verb, n)
		}
		pause(time.Second)
		s.proxy.Disarm()
	}},
	{"the network is slow", func(s *soaking) {
		s.proxy.Set(lab.Weather{Delay: time.Duration(s.r.IntN(100)) * time.Millisecond})
		pause(time.Second)
		s.proxy.Set(lab.Weather{})
	}},
	{"connections are half-open", func(s *soaking) {
		began := time.Now()
		s.proxy.Set(lab.Weather{HalfOpen: true})
		pause(time.Duration(s.r.IntN(1500)) * time.Millisecond)
		s.proxy.Set(lab.Weather{})
		// Until the deadlines of the dead connections have passed, leases may
		// not be renewed, and the others' beats may go on.
		s.books.Blame(lab.Fault{What: "connections were half-open", From: began.Add(-settling), To: time.Now().Add(2 * time.Second), Repeats: true})
	}},
	{"a worker is killed", func(s *soaking) { s.kill(s.workers[s.r.IntN(len(s.workers))]) }},
	{"a worker is told to stop", func(s *soaking) {
		i := s.r.IntN(len(s.workers))
		w := s.workers[i]
		s.workers[i] = lab.StartWorker(s.t, s.settings)
		require.Eventually(s.t, func() bool { return s.ledger().StartedBy(s.workers[i].PID()) > 0 }, hung, 10*time.Millisecond)
		s.dismiss(w)
	}},
	{"a worker is paused", func(s *soaking) {
		w := s.workers[s.r.IntN(len(s.workers))]
		began := time.Now()
		w.Pause()
		pause(leaseTime + time.Duration(s.r.IntN(2000))*time.Millisecond)
		w.Continue()
		s.books.Blame(lab.Fault{What: "its worker was paused for longer than its lease", PID: w.PID(), From: began.Add(-settling), To: time.Now(), Repeats: true})
	}},
	{"Redis is killed and restarted", func(s *soaking) {
		s.server.Kill()
		pause(time.Duration(s.r.IntN(1500)) * time.Millisecond)
		s.server.Restart()
	}},
	{"Redis is paused", func(s *soaking) {
		s.server.Pause()
		pause(time.Duration(s.r.IntN(2*int(leaseTime/time.Millisecond))) * time.Millisecond)
		s.server.Continue()
	}},
	{"the script cache is flushed", func(s *soaking) {
		require.NoError(s.t, s.client.ScriptFlush(context.Background()).Err())
	}},
}

func TestSoak(t *testing.T) {
	t.Parallel()
	duration := shortSoak
	if text := os.Getenv("CADDIS_SOAK"); text != "" {
		var err error
		duration, err = time.ParseDuration(text)
		require.NoError(t, err, "CADDIS_SOAK is a duration such as 10m")
	}
	r := dice(t)
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	proxy := lab.StartProxy(t, server.Addr)
	client := server.Client()
	defer func() { _ = client.Close() }()
	s := &soaking{r: r, server: server, proxy: proxy, client: client}
	s.scene = play(t, "redis://"+proxy.Addr, 3, func(sc *scene) { sc.honest = "redis://" + server.Addr })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay with the seed that is printed above: CADDIS_SEED=… CADDIS_SOAK=%v go test -run 'TestSoak$' -v ./internal/lab", duration)
		}
	})
	done := map[string]int{}
	var slowest time.Duration
	for begin := time.Now(); time.Since(begin) < duration; {
		harm := harms[r.IntN(len(harms))]
		done[harm.name]++
		began := time.Now()
		harm.do(s)
		slowest = max(slowest, s.recovered(began, time.Now()))
		pause(time.Duration(r.IntN(1000)) * time.Millisecond)
	}
	s.settle()
	for _, harm := range harms {
		t.Logf("%3d times: %s", done[harm.name], harm.name)
	}
	t.Logf("the slowest recovery took %v", slowest.Round(time.Millisecond))
}
