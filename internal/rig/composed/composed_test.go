package composed

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

func TestEachInputIsTheSameInEveryRun(t *testing.T) {
	sum := func(n int) (sum uint64) {
		var all atomic.Uint64
		if got := Each(t, n, func(_ *testing.T, rng *rand.Rand) { all.Add(rng.Uint64()) }); got != n {
			t.Errorf("%d calls, want %d", got, n)
		}
		return all.Load()
	}
	t.Setenv("DROVER_INPUTS", "")
	if first := sum(1000); sum(1000) != first || sum(1001) == first {
		t.Error("the numbers are others in the second run")
	}
}

func TestMostOfWhatIsComposedIsWhole(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	valid, damaged, deep := 0, 0, 0
	for range 10_000 {
		b := JSON(rng, nil, 5, []string{"id", "value"})
		if deep%100 == 0 {
			b = Nested(rng, nil, 100, []string{"id"})
		}
		if json.Valid(b) {
			valid++
		}
		if !bytes.Equal(Damage(rng, b, "}"), b) {
			damaged++
		}
		if bytes.Count(b, []byte("{"))+bytes.Count(b, []byte("[")) > 2 {
			deep++
		}
	}
	if valid < 8000 || damaged < 2000 || damaged > 8000 || deep < 2000 {
		t.Errorf("of 10,000 values %d are valid, %d nested, and %d were damaged", valid, deep, damaged)
	}
}
