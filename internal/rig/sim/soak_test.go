//go:build soak

package sim

import (
	"testing"

	"drover/internal/proof"
	"drover/internal/rig/seeds"
)

// TestAThousandSeedsKeepEveryPromise takes hours; DROVER_SEEDS names others.
func TestAThousandSeedsKeepEveryPromise(t *testing.T) {
	var thousand []uint64
	for seed := range uint64(1000) {
		thousand = append(thousand, seed+1)
	}
	list, _, err := seeds.List(thousand...)
	if err != nil {
		t.Fatal(err)
	}
	all := play(t, list, day)
	proof.Ran(t, "sim.seeds", "%d seeds, %.0f h in all: lost %d of %d revisions, repeats without a cause %d, not well in the end %d", all.runs, all.hours, all.at.Lost, all.shown, all.hec.Repeated-all.hec.Explained, all.unwell)
}

// TestDaysWithAHundredTenantsKeepEveryPromise plays the seeds behind that of
// every commit.
func TestDaysWithAHundredTenantsKeepEveryPromise(t *testing.T) {
	list, _, err := seeds.List(2, 3, 4, 5)
	if err != nil {
		t.Fatal(err)
	}
	play(t, list, estateDay).day(t, "sim.hundreds")
}
