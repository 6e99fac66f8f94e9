package proof

import (
	"fmt"
	"testing"
)

type recorder struct {
	lines   []string
	skipped string
}

func (*recorder) Helper() {}

func (r *recorder) Logf(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) Skipf(format string, args ...any) { r.skipped = fmt.Sprintf(format, args...) }

func TestAProofIsOneLine(t *testing.T) {
	var r recorder
	Ran(&r, "P07", "lost %d\nof %d", 0, 1000)
	NotHere(&r, "S02", "no %s", "strace")
	if len(r.lines) != 2 || r.lines[0] != "PROOF P07 ran lost 0 of 1000" || r.lines[1] != "PROOF S02 not-here no strace" || r.skipped != "not here: no strace" {
		t.Errorf("%+v", r)
	}
}
