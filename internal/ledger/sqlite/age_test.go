package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
)

// TestAClockThatStepsThrowsNothingAway: the local clock says anything, Microsoft's
// time goes on. Nothing goes before its age by the latter, no cursor moves by
// the former, and what a wrong clock stamped goes in its time (reference
// faults S14).
func TestAClockThatStepsThrowsNothingAway(t *testing.T) {
	dir := t.TempDir()
	local := storyTime
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault")), Clock: func() time.Time { return local }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Sinks(t.Context(), []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "dead", FromAll: true}}); err != nil {
		t.Fatal(err)
	}
	if err := s.AddTenant(t.Context(), ledgertest.Tenant(tenantA, "a")); err != nil {
		t.Fatal(err)
	}
	f := ledgertest.FeedOf(tenantA)
	const bodies, hold = 90 * 24 * time.Hour, 30 * 24 * time.Hour
	steps := []time.Time{storyTime, storyTime.Add(time.Hour), storyTime.Add(-time.Hour), storyTime.AddDate(0, 0, 1), storyTime.AddDate(0, 0, -1),
		time.Unix(0, 0), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), storyTime}
	early := 0
	prune := func(now time.Time) ledger.Pruned {
		t.Helper()
		out, err := s.Prune(t.Context(), ledger.PruneOrder{Now: drover.InstantOf(now), Bodies: bodies, Hold: hold, Confirmed: true})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for n, at := range steps {
		local = at
		last, err := advance(s, f)
		if err != nil {
			t.Fatalf("clock at %s: %v", at, err)
		}
		if err := s.Settle(t.Context(), ledger.Settle{Sink: "s", Done: []drover.Range{{Feed: f, First: uint64(n*rowsPerCommit + 1), Last: last}}, Taken: rowsPerCommit}); err != nil {
			t.Fatal(err)
		}
		out := prune(storyTime.Add(time.Hour))
		early += int(out.Bodies+out.Keys) + len(out.Gaps)
	}
	total := int64(len(steps) * rowsPerCommit)
	out := prune(storyTime.Add(hold - time.Hour))
	early += int(out.Bodies+out.Keys) + len(out.Gaps)
	if early != 0 {
		t.Errorf("%d things were thrown away early", early)
	}
	st, err := s.Take(t.Context(), f)
	if err != nil || st.Cursor.Through != throughOf(uint64(total)) {
		t.Errorf("the cursor stands at %s, %v", st.Cursor.Through, err)
	}
	// Time passes; what the wrong clocks stamped is no younger for it.
	local = storyTime.Add(bodies + 26*time.Hour)
	if out = prune(local); out.Bodies != total || len(out.Gaps) != 1 || out.Gaps[0].Last != uint64(total) {
		t.Errorf("in their time: dropped %d of %d, gaps %+v", out.Bodies, total, out.Gaps)
	}
	proof.Ran(t, "S14", "%d commits under %d clocks from 1970 to 2100: thrown away early %d, in their time %d of %d; cursor as the rows say", len(steps), len(steps), early, out.Bodies, total)
}

const (
	prunedRows = 10 * rowsPerCommit
	owedFrom   = 4 * rowsPerCommit // what the slower sink has
)

// pruneLedger is a ledger with old rows, some of them owed.
func pruneLedger(dir string) error {
	s, err := openStory(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.Sinks(ctx, []ledger.SinkPlace{{Sink: "s", FromAll: true}, {Sink: "slow", FromAll: true}}); err != nil {
		return err
	}
	if err := s.AddTenant(ctx, ledgertest.Tenant(tenantA, "a")); err != nil {
		return err
	}
	f := ledgertest.FeedOf(tenantA)
	for range prunedRows / rowsPerCommit {
		if _, err := advance(s, f); err != nil {
			return err
		}
	}
	for sink, last := range map[drover.SinkID]uint64{"s": prunedRows, "slow": owedFrom} {
		if err := s.Settle(ctx, ledger.Settle{Sink: sink, Done: []drover.Range{{Feed: f, First: 1, Last: last}}, Taken: int(last)}); err != nil {
			return err
		}
	}
	return s.Close()
}

// pruneChild prunes in slices, until nothing more may go.
func pruneChild(dir string) error {
	s, err := openStory(dir)
	if err != nil {
		return err
	}
	for more := true; more; {
		out, err := s.Prune(context.Background(), ledger.PruneOrder{Now: drover.InstantOf(storyTime.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour, Slice: 70, Confirmed: true})
		if err != nil {
			return err
		}
		more = out.More
	}
	return s.Close()
}

// TestAPruneThatIsKilledDropsNothingOwed kills a prune at every failpoint. What a
// sink is owed is there, and every key is, so that no row that is read again
// comes twice (reference faults S18).
//
//citest:plain one killed child after the other
func TestAPruneThatIsKilledDropsNothingOwed(t *testing.T) {
	t.Parallel()
	sound := t.TempDir()
	openVault(t, filepath.Join(sound, "vault"))
	if err := pruneLedger(sound); err != nil {
		t.Fatal(err)
	}
	points, owed, again, dropped := 0, 0, 0, uint64(0)
	for n := 1; ; n++ {
		dir := copyOf(t, sound)
		out, err := spawn(t, "prune", dir, fmt.Sprint(n)).Output()
		killed := strings.Contains(string(out), "killed: ")
		if !killed && err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		floor, missing, unknown, err := prunedLeft(dir)
		if err != nil {
			t.Fatalf("killed at point %d: %v: %s", n, err, out)
		}
		owed, again, dropped = owed+missing, again+unknown, max(dropped, floor)
		if !killed {
			break
		}
		points++
	}
	if points < 10 || dropped == 0 || owed+again > 0 {
		t.Errorf("%d points, %d bodies dropped, %d that were owed, %d keys gone", points, dropped, owed, again)
	}
	proof.Ran(t, "S18", "a prune killed at each of %d failpoints (%d of %d bodies may go): pruned but owed %d, stored and delivered again %d", points, dropped, prunedRows, owed, again)
}

// prunedLeft opens what a prune left, and counts.
func prunedLeft(dir string) (floor uint64, missing, again int, err error) {
	ctx := context.Background()
	s, err := openStory(dir)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	f := ledgertest.FeedOf(tenantA)
	there := make(map[uint64]bool)
	for r, err := range s.Revisions(ctx, f, 1) {
		if err != nil {
			return 0, 0, 0, err
		}
		there[r.Seq] = true
	}
	p, err := s.Place(ctx, "slow", f)
	if err != nil {
		return 0, 0, 0, err
	}
	for seq := uint64(1); seq <= prunedRows; seq++ {
		if !there[seq] {
			floor = seq
			if seq > p.Seq {
				missing++
			}
		}
	}
	// Read again, the rows are known, whether their bodies are there or not.
	st, err := s.Take(ctx, f)
	if err != nil {
		return 0, 0, 0, err
	}
	keys, err := s.Keys(ctx, f, drover.Span{From: drover.InstantOf(storyTime), To: drover.NoInstant}, false)
	if err != nil {
		return 0, 0, 0, err
	}
	again = prunedRows - len(keys)
	if _, err := s.Commit(ctx, ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: ledgertest.Revisions(1, 1), Whole: drover.NoInstant}); drover.KindOf(err) != drover.Broken {
		again++
	}
	if found, err := s.Check(ctx); err != nil || len(found) > 0 {
		return 0, 0, 0, fmt.Errorf("check: %v, %w", found, err)
	}
	return floor, missing, again, nil
}
