package cli

import (
	"github.com/caddis-go/caddis/jobs"
)

const asProgram = "CADDIS_CLI_TEST_PROGRAM"

func programOfTests() { Main(jobs.NewRegistry(), Config{}) }
