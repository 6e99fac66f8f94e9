package sim

import (
	"testing"
	"time"
)

func TestADay(t *testing.T) {
	v := run(t, 1, draw(1, 10, 16*time.Hour, 8*time.Hour, 5*time.Minute), (*world).play)
	t.Log(v.line())
	for _, s := range v.wrong() {
		t.Error(s)
	}
}
