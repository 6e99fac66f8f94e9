package sim

import (
	"slices"
	"testing"
	"time"

	"drover/internal/proof"
)

// What a seed decides is the story: every deed, every fault with whom it meets
// from when to when, every state that the cloud comes to show and when. Those
// are the same each time. Which request meets which fault is not: feeds that
// are due at one moment run at the same time, in an order that is the
// scheduler's, and draw from the same numbers; keys and tokens are random.
func TestTheSameSeedTellsTheSameStory(t *testing.T) {
	t.Parallel()
	const seed = 5
	z := size{tenants: 4, active: 4 * time.Hour, calm: 90 * time.Minute, interval: 5 * time.Minute}
	deeds := func() (list []string) {
		for _, d := range draw(seed, z).deeds {
			list = append(list, d.at.String()+" "+d.what)
		}
		return list
	}
	first, second := run(t, seed, draw(seed, z), (*world).play), run(t, seed, draw(seed, z), (*world).play)
	for name, pair := range map[string][2][]string{
		"deeds":  {deeds(), deeds()},
		"faults": {first.told.rules, second.told.rules},
		"states": {first.told.issued, second.told.issued},
		"newest": {first.newest, second.newest},
	} {
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s: %d, digest %s, and then %d, digest %s", name, len(pair[0]), digest(pair[0]), len(pair[1]), digest(pair[1]))
		}
	}
	if len(first.told.rules) < 20 || len(first.told.issued) < 100 {
		t.Errorf("%d faults and %d states are too few to tell", len(first.told.rules), len(first.told.issued))
	}
	proof.Ran(t, "I25", "the same seed twice: %d deeds, %d faults and %d states equal with their moments, and %d newest ones in the end (requests: %d, then %d)",
		len(deeds()), len(first.told.rules), len(first.told.issued), len(first.newest), first.Totals.Requests, second.Totals.Requests)
}
