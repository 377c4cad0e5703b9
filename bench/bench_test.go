package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(childMain(text))
	}
	os.Exit(m.Run())
}

func needsRedis(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(serverBinary); err != nil {
		if os.Getenv("CADDIS_REQUIRE_REDIS") == "1" {
			t.Fatal(err)
		}
		t.Skip(serverBinary + " is not in PATH")
	}
}

func TestEachWorkloadRunsAndItsRunsAreValid(t *testing.T) {
	t.Parallel()
	needsRedis(t)
	slow := []string{"pickup", "delayed", "idle", "stop", "recover"} // for asynq
	for _, l := range workloads {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			expected := []string{"caddis", "asynq", "limit", "memory"}
			o := options{jobs: 300, repeat: 1, quick: true, rtt: 2 * time.Millisecond, rttSet: true}
			switch {
			case slices.Contains(slow, l.name):
				o.peers = []string{"caddis", "brpop"}
				expected = []string{"caddis"}
			case l.name == "depth":
				expected = []string{"caddis", "limit"}
			case l.name == "operate":
				expected = []string{"caddis"}
			case l.name == "rtt", l.name == "footprint":
				expected = []string{"caddis", "asynq", "limit"}
			}
			var out, lines bytes.Buffer
			r := &results{out: &out, json: &lines}

			err := measure(t.Context(), o, []string{l.name}, r)

			require.NoError(t, err, out.String())
			measured := map[string]bool{}
			for decoder := json.NewDecoder(&lines); decoder.More(); {
				var one record
				require.NoError(t, decoder.Decode(&one))
				require.Equal(t, l.name, one.Workload)
				require.NotEmpty(t, one.Metric)
				measured[one.Peer] = true
			}
			for _, name := range expected {
				require.True(t, measured[name], "%s was not measured: %s", name, out.String())
			}
			require.Contains(t, out.String(), "caddis")
		})
	}
}

func TestARunInWhichAJobIsLostOrRepeatedIsVoid(t *testing.T) {
	t.Parallel()
	l := newLedger(3)
	l.mark(0)
	l.mark(2)
	l.mark(2)
	require.NoError(t, l.wait(t.Context()))
	require.ErrorContains(t, l.verify(), "of 3 jobs 1 were not executed and 1 more than once, the first of them is job 1")
	l.mark(1)
	require.ErrorContains(t, l.verify(), "the first of them is job 2")
}

func TestFlagsStandBeforeAndAfterWorkloads(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	o, names, file, err := parse([]string{"-jobs", "7", "drain", "-peers", "caddis,limit", "pickup", "-rtt", "0s", "-json", "x"}, &text)
	require.NoError(t, err)
	require.Equal(t, []string{"drain", "pickup"}, names)
	require.Equal(t, "x", file)
	require.Equal(t, options{peers: []string{"caddis", "limit"}, jobs: 7, rttSet: true, repeat: 3}, o)
}

func TestWrongInputIsRefused(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"drain", "-peers", "sidekiq"}, {"drain", "-repeat", "0"}, {"drain", "-jobs", "-1"}, {"drain", "-nonsense"}} {
		var out, text bytes.Buffer
		require.Equal(t, 2, run(t.Context(), args, &out, &text), args)
		require.NotEmpty(t, text.String())
	}
	var out, text bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"dance"}, &out, &text))
	require.Contains(t, text.String(), `no workload "dance"`)
}

func TestTheJSONFileHasALineForEachValue(t *testing.T) {
	t.Parallel()
	needsRedis(t)
	file := filepath.Join(t.TempDir(), "out.jsonl")
	var out, text bytes.Buffer
	code := run(t.Context(), []string{"drain", "-jobs", "50", "-repeat", "2", "-peers", "memory", "-concurrency", "3", "-json", file}, &out, &text)
	require.Equal(t, 0, code, text.String())
	lines, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(lines), "\n"))
	require.Contains(t, string(lines), `"concurrency":3`)
}

func TestPayloadsHaveTheirSizeAndNumber(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 7, 12345, 10_000_000} {
		text, err := json.Marshal(newTask(n))
		require.NoError(t, err)
		require.Len(t, text, payloadSize)
		require.Equal(t, n, numberOf(text[len(`{"n":`):]))
		require.Len(t, rawPayload(n), payloadSize)
		require.Equal(t, n, numberOf(rawPayload(n)))
		require.Len(t, limitID(n), 26)
	}
}

func TestTheProxyDelaysBothWays(t *testing.T) {
	t.Parallel()
	needsRedis(t)
	s, err := startServer(t.Context(), false)
	require.NoError(t, err)
	defer s.stop()
	p, err := startProxy(s.addr, 5*time.Millisecond)
	require.NoError(t, err)
	defer p.stop()
	seen, err := p.measure(t.Context())
	require.NoError(t, err)
	require.GreaterOrEqual(t, seen, 10*time.Millisecond)
}

func TestQuantilesLieBetweenTheirNeighbours(t *testing.T) {
	t.Parallel()
	values := []float64{1, 2, 3, 5}
	require.InDelta(t, 2.5, quantile(values, 0.5), 1e-9)
	require.InDelta(t, 1, quantile(values, 0), 1e-9)
	require.InDelta(t, 5, quantile(values, 1), 1e-9)
	require.InDelta(t, 0, quantile(nil, 0.5), 1e-9)
}

func TestNumbersAreShort(t *testing.T) {
	t.Parallel()
	for value, text := range map[float64]string{
		0: "0.00", 0.12345: "0.123", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234567: "1,234,567", -1234: "-1,234", 100000: "100,000",
	} {
		require.Equal(t, text, short(value))
	}
}

// TestEachBudgetIsJudged gives each budget what it reads, and sees it kept and
// broken.
func TestEachBudgetIsJudged(t *testing.T) {
	t.Parallel()
	for _, fast := range []bool{true, false} {
		r := &results{out: &bytes.Buffer{}}
		add := func(peer, workload, variant, metric string, value float64) {
			r.add(record{Peer: peer, Workload: workload, Metric: metric, Value: value, Settings: settings{"case": variant}})
		}
		rate, low := 1e6, 0.0001
		if !fast {
			rate, low = 1e3, 1e5
		}
		for _, c := range [][2]string{
			{"drain", concurrencyCase(50)}, {"sustained", sustainedCase(100)}, {"rtt", rttCase(time.Millisecond, 100)},
			{"enqueue", oneProducerCase}, {"enqueue", manyProducersCase}, {"enqueue", batchesCase},
		} {
			add("caddis", c[0], c[1], "rate", rate)
			add("memory", c[0], c[1], "rate", rate)
			add("asynq", c[0], c[1], "rate", 5000)
			add("limit", c[0], c[1], "rate", 500_000)
		}
		for _, c := range [][3]string{
			{"pickup", concurrencyCase(100), "p50"}, {"pickup", concurrencyCase(100), "p99"}, {"delayed", concurrencyCase(100), "p99"},
			{"footprint", lifeCase(100), "Redis time per job"}, {"footprint", lifeCase(100), "round trips per job"},
			{"footprint", workerCase(100), "worker CPU per job"}, {"idle", idleCase(10_000, 200), "commands"},
			{"footprint", waitingCase, "Redis memory per job"}, {"recover", recoverCase(50), "kill to the last"},
			{"depth", depthCase(1_000_000), "Redis time per job"},
			{"idle", idleCase(10_000, 1), "memory of the process"}, {"idle", idleCase(10_000, 1), "CPU"}, {"idle", idleCase(10, 1), "commands"},
			{"stop", stopIdleCase, "TERM to exit"}, {"stop", stopBusyCase(50), "end of the last job to exit"},
		} {
			add("caddis", c[0], c[1], c[2], low)
		}
		add("caddis", "depth", depthCase(1000), "Redis time per job", 1)
		for _, one := range budgets {
			v, ok := one.judge(r)
			require.True(t, ok, one.what)
			require.Equal(t, fast, v.met, "%s: %s", one.what, v.measured)
		}
	}
}
