//go:build soak

package drover

import (
	"math/rand/v2"
	"testing"

	"drover/internal/proof"
	"drover/internal/rig/composed"
)

func TestTenMillionTimesAreReadAsAnotherReadingDoes(t *testing.T) {
	n := composed.Each(t, composed.TenMillion, func(t *testing.T, rng *rand.Rand) {
		text := compose(int64(rng.Uint64()), rng.IntN(2000)-1000, rng.IntN(12), byte(rng.Uint32()))
		sameReading(t, string(composed.Damage(rng, []byte(text), "Z", "+", "-", ":", ".", ",", " ", "T", "00", "60", "9", "\u0661")))
	})
	proof.Ran(t, "fuzz.times", "%d composed times, findings 0", n)
}
