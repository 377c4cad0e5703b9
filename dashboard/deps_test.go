package dashboard_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dependencies are all packages that a program compiles with one of ours.
func dependencies(t *testing.T, of string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", of).Output()
	require.NoError(t, err)
	return strings.Fields(string(out))
}

func TestWhoEnqueuesOrWorksCompilesNoDashboard(t *testing.T) {
	t.Parallel()
	const module = "github.com/caddis-go/caddis"
	for _, program := range []string{module, module + "/jobs", module + "/actors"} {
		for _, part := range []string{"/dashboard", "/operate"} {
			require.NotContains(t, dependencies(t, program), module+part, program)
		}
		require.NotContains(t, dependencies(t, program), "html/template", program)
	}
	for _, dependency := range dependencies(t, module+"/dashboard") {
		require.NotContains(t, dependency, "protoactor", "an application that looks after jobs runs none")
	}
}
