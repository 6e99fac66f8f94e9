package sim

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// seeds are those of DROVER_SEEDS: a number of them, or a list with commas.
func seeds(t *testing.T, usual ...uint64) []uint64 {
	s := os.Getenv("DROVER_SEEDS")
	if s == "" {
		return usual
	}
	var list []uint64
	for _, part := range strings.Split(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(from, 10, 64)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(to, 10, 64)
		}
		if err != nil {
			t.Fatalf("DROVER_SEEDS holds seeds such as 7 or 1,5-9, not %q", s)
		}
		for ; a <= b; a++ {
			list = append(list, a)
		}
	}
	return list
}

func TestADay(t *testing.T) {
	for _, seed := range seeds(t, 1) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			v := run(t, seed, draw(seed, 10, 16*time.Hour, 8*time.Hour, 5*time.Minute), (*world).play)
			t.Log(v.line())
			for _, s := range v.wrong() {
				t.Error(s)
			}
		})
	}
}
