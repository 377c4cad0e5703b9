// Package load has a gate that closes a worker's queues while its machine is busy. Only
// programs that import it compile what reads the load.
//
//	gate, err := load.Gate(load.Limits{CPU: 0.9, Memory: 0.85})
//	...
//	system, err := caddis.New(caddis.Config{Gates: []actors.Gate{gate}, ...})
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/caddis-go/caddis/actors"
)

// Limits are up to which load the gate is open, as parts of 1. Zero is no limit; one of
// them is required.
type Limits struct {
	// CPU is the part of the time in which the machine's processors were busy since the
	// check before: 0.9 for nine tenths.
	CPU float64
	// Memory is the part of the machine's memory that cannot be had.
	Memory float64
}

// Gate makes a gate named "load" that is closed while a limit is passed. Its Queues,
// Every and TTL can be set on what it returns; each worker needs a gate of its own. The
// error says which limit is impossible.
//
// It is about the whole machine: in a container with limits of its own these are not
// looked at. The worker's own jobs count as well, so a limit of the CPU that they reach
// makes the worker pause between them.
func Gate(limits Limits) (actors.Gate, error) {
	if err := limits.check(); err != nil {
		return actors.Gate{}, err
	}
	m := &meter{limits: limits, cpu: readCPU, memory: readMemory}
	return actors.Gate{Name: "load", Check: m.check}, nil
}

func (l Limits) check() error {
	var wrong []error
	for _, limit := range []struct {
		name  string
		value float64
	}{{"CPU", l.CPU}, {"Memory", l.Memory}} {
		if !(limit.value >= 0 && limit.value <= 1) {
			wrong = append(wrong, fmt.Errorf("load: the limit %s is %v: give a part of 1, such as 0.9, or 0 for none", limit.name, limit.value))
		}
	}
	if l == (Limits{}) {
		wrong = append(wrong, errors.New("load: there is no limit: give CPU or Memory as a part of 1, such as 0.9"))
	}
	return errors.Join(wrong...)
}

// meter reads the load and compares it with the limits.
type meter struct {
	limits Limits
	cpu    func(context.Context) (spent, error)
	memory func(context.Context) (float64, error)

	mu   sync.Mutex
	last spent
}

// spent is how long all processors together were busy, of how long they could have been,
// in seconds since the machine was started.
type spent struct{ busy, all float64 }

func (m *meter) check(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var over []error
	if m.limits.CPU > 0 {
		now, err := m.cpu(ctx)
		if err != nil {
			return fmt.Errorf("the load of the processors cannot be read: %w", err)
		}
		before := m.last
		m.last = now
		if used := (now.busy - before.busy) / (now.all - before.all); now.all > before.all && used > m.limits.CPU {
			over = append(over, fmt.Errorf("the processors are busy by %.0f %%, and the limit is %.0f %%", 100*used, 100*m.limits.CPU))
		}
	}
	if m.limits.Memory > 0 {
		used, err := m.memory(ctx)
		if err != nil {
			return fmt.Errorf("the use of memory cannot be read: %w", err)
		}
		if used > m.limits.Memory {
			over = append(over, fmt.Errorf("%.0f %% of the memory are in use, and the limit is %.0f %%", 100*used, 100*m.limits.Memory))
		}
	}
	return errors.Join(over...)
}

func readCPU(ctx context.Context) (spent, error) {
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return spent{}, err
	}
	if len(times) == 0 {
		return spent{}, errors.New("the system tells of no processor")
	}
	t := &times[0]
	busy := t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal
	return spent{busy: busy, all: busy + t.Idle + t.Iowait}, nil
}

func readMemory(ctx context.Context) (float64, error) {
	memory, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return 0, err
	}
	if memory.Total == 0 {
		return 0, errors.New("the system tells of no memory")
	}
	return 1 - float64(memory.Available)/float64(memory.Total), nil
}
