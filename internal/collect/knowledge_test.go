package collect

import (
	"testing"

	"drover"
)

func TestOfRecentRowsTheNewestStateAloneIsRemembered(t *testing.T) {
	row := func(n byte) (*drover.Row, recent) {
		r := recent{changed: drover.Instant(n) * 10, sum: drover.Hash{n}}
		return &drover.Row{Changed: r.changed, Sum: r.sum}, r
	}
	a, shownA := row(1)
	b, shownB := row(2)
	var k knowledge
	k.remember([]recent{shownA, shownA}, false)
	k.remember([]recent{shownA}, false)
	if !k.has(a) || k.has(b) || len(k.recent) != 1 {
		t.Fatalf("%+v", k.recent)
	}
	k.remember([]recent{shownA, shownB}, true) // b has taken the place of a
	if k.has(a) || k.has(b) {
		t.Error("what may be an older state is remembered")
	}
	k.remember([]recent{shownA, shownB}, false)
	if k.outgrow(shownB.changed); k.has(a) || !k.has(b) {
		t.Errorf("behind the overlap: %+v", k.recent)
	}
	if k.outgrow(shownB.changed + 1); k.recent != nil {
		t.Error("an empty list keeps its memory")
	}
	for n := range byte(maxRecent + 1) {
		_, r := row(n)
		k.remember([]recent{r}, false)
	}
	if len(k.recent) > maxRecent {
		t.Errorf("%d rows are remembered", len(k.recent))
	}
}
