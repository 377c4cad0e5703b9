package jobs

import "github.com/caddis-go/caddis/backend"

// Receipt says what an enqueue did with one job.
type Receipt = backend.Receipt
