//go:build soak

package sim

import (
	"testing"
	"time"

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

// TestADayWithAHundredTenantsKeepsEveryPromise is as large as the estate of a
// provider.
func TestADayWithAHundredTenantsKeepsEveryPromise(t *testing.T) {
	list, _, err := seeds.List(1, 2, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	all := play(t, list, size{tenants: 100, active: 16 * time.Hour, calm: 8 * time.Hour, interval: 5 * time.Minute})
	proof.Ran(t, "sim.hundred", "%d seeds of a day with 100 tenants: lost %d of %d revisions, repeats without a cause %d, not well in the end %d", all.runs, all.at.Lost, all.shown, all.hec.Repeated-all.hec.Explained, all.unwell)
}
