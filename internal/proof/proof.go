// Package proof is how a test says that it has shown something: which entry of
// proofs.txt, and with what figure. "make test" gathers these lines, prints
// them as a table and fails if one that is listed was not shown. Only tests
// import it.
package proof

import (
	"fmt"
	"strings"
)

// Prefix begins a line that the test driver looks for.
const Prefix = "PROOF "

// TB is what proof needs of a *testing.T.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Ran says that this test has shown the proof id, with a figure in words such
// as "lost 0 of 1000". It counts only if the test passes.
func Ran(t TB, id, format string, args ...any) {
	t.Helper()
	t.Logf("%s%s ran %s", Prefix, id, oneLine(format, args))
}

// NotHere says that the proof id cannot be shown on this machine, why, and
// ends the test. It is allowed only where proofs.txt says that the proof needs
// something that is missing.
func NotHere(t TB, id, format string, args ...any) {
	t.Helper()
	why := oneLine(format, args)
	t.Logf("%s%s not-here %s", Prefix, id, why)
	t.Skipf("not here: %s", why)
}

func oneLine(format string, args []any) string {
	return strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
}
