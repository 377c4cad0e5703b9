package jobs

import (
	"context"

	"github.com/caddis-go/caddis/backend"
)

// EnqueueFunc stores jobs and answers one receipt per job, in order.
type EnqueueFunc func(ctx context.Context, jobs []backend.NewJob) ([]Receipt, error)

// EnqueueMiddleware goes around each enqueue, of one job or of many. It may
// change the jobs, refuse them by an error, best by one of [Veto], and look at the
// receipts; [VetoIf] refuses single ones. Payloads are encoded already.
type EnqueueMiddleware func(next EnqueueFunc) EnqueueFunc

// RunFunc runs a job and returns what its handler returned.
type RunFunc func(ctx context.Context, job *Info) error

// RunMiddleware goes around each attempt, the decoding of the payload included.
// It must hand on the Info that it got. An error that it returns is treated like
// one of the handler; a panic that it lets through too. Once the payload turned
// out to be unusable the job is dead, whatever middleware makes of the error.
type RunMiddleware func(next RunFunc) RunFunc

// The first of a chain is the outermost.
func chainEnqueue(chain []EnqueueMiddleware, last EnqueueFunc) EnqueueFunc {
	for i := len(chain) - 1; i >= 0; i-- {
		last = chain[i](last)
	}
	return last
}

func chainRun(chain []RunMiddleware, last RunFunc) RunFunc {
	for i := len(chain) - 1; i >= 0; i-- {
		last = chain[i](last)
	}
	return last
}
