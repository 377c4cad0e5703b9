package operate

import "fmt"

// Level is how bad a finding is.
type Level string

const (
	LevelOK      Level = "ok"
	LevelNote    Level = "note"
	LevelWarning Level = "warning"
	LevelError   Level = "error"
)

// Bad reports whether somebody should look.
func (l Level) Bad() bool { return l == LevelWarning || l == LevelError }

// rank orders levels, the worst first.
func (l Level) rank() int {
	switch l {
	case LevelError:
		return 0
	case LevelWarning:
		return 1
	case LevelNote:
		return 2
	}
	return 3
}

// Problem is what a finding is of, for programs.
type Problem string

const (
	// ProblemStore: the store cannot be used, or reading it failed.
	ProblemStore Problem = "store"
	// ProblemSetting: a setting of the store can lose jobs.
	ProblemSetting Problem = "setting"
	// ProblemPaused: jobs wait in a paused queue.
	ProblemPaused Problem = "paused"
	// ProblemNoWorker: jobs wait in a queue that no worker takes from.
	ProblemNoWorker Problem = "no-worker"
	// ProblemNotRunning: the workers of the queue take no jobs now.
	ProblemNotRunning Problem = "not-running"
	// ProblemStuck: jobs wait although executors of their queue are free.
	ProblemStuck Problem = "stuck"
	// ProblemUnknownKind: jobs wait for a worker that knows their kind.
	ProblemUnknownKind Problem = "unknown-kind"
	// ProblemVanished: leases have expired and nobody took the jobs back.
	ProblemVanished Problem = "vanished"
	// ProblemDead: dead jobs are kept to be looked at.
	ProblemDead Problem = "dead"
	// ProblemSchedule: a schedule cannot be read, or nobody ticks it.
	ProblemSchedule Problem = "schedule"
)

// Finding is something that was found out about the store or the work.
type Finding struct {
	Level Level `json:"level"`
	// About names the thing, such as "queue mail" or "maxmemory-policy".
	About string `json:"about"`
	Text  string `json:"text"`
	// Remedy says what to do; empty if nothing has to be done.
	Remedy string `json:"remedy,omitempty"`
	// Problem, Queue and Schedule say the same for programs, where they apply.
	Problem  Problem `json:"problem,omitempty"`
	Queue    string  `json:"queue,omitempty"`
	Schedule string  `json:"schedule,omitempty"`
}

// findings gathers them.
type findings []Finding

func (f *findings) add(finding Finding, format string, args ...any) {
	finding.Text = fmt.Sprintf(format, args...)
	*f = append(*f, finding)
}

func (f *findings) ofQueue(l Level, p Problem, queue, remedy, format string, args ...any) {
	f.add(Finding{Level: l, Problem: p, About: "queue " + queue, Queue: queue, Remedy: remedy}, format, args...)
}
