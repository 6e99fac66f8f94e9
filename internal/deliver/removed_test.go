package deliver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/ledger"
	"drover/internal/proof"
)

func TestARemovedTenantsRecordsAreNotWaitedFor(t *testing.T) {
	story(t, 2, func(w *world) {
		s := newSIEM()
		s.fail = func(drover.Batch) (drover.Taken, error) { return drover.Taken{}, passing() }
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.commit(0, 3)
		w.commit(1, 3)
		w.pass(30 * time.Second)
		token := ledger.CredentialKey{Tenant: id(0), App: "default", Kind: "refresh_token", Cloud: "worldwide", Authority: "https://login.example"}
		if _, err := w.store.PutCredential(context.Background(), ledger.Credential{CredentialKey: token, Secret: drover.NewSecret("r1"), Expires: drover.NoInstant}, 0); err != nil {
			t.Fatal(err)
		}
		if err := w.store.RemoveTenant(context.Background(), id(0)); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		w.pass(5 * time.Minute)
		w.commit(1, 3)
		w.pass(time.Minute)
		s.whole(t, 1, 6)
		if w.owed("s") != 0 {
			t.Errorf("%d owed", w.owed("s"))
		}
		// Removal is for good and at once: what was pending is counted as
		// thrown away, and nothing that was sealed is left.
		discarded, left := int64(0), 0
		counts, err := w.store.Counts(context.Background(), id(0))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.What == "discarded" {
				discarded += c.N
			}
		}
		if _, err := w.store.Credential(context.Background(), token); !errors.Is(err, ledger.ErrNotFound) {
			left++
		}
		for seq := range uint64(3) {
			if _, err := w.store.Body(context.Background(), feed(0), seq+1); !errors.Is(err, ledger.ErrNotFound) {
				left++
			}
		}
		if discarded != 3 || left != 0 {
			t.Errorf("%d of 3 pending counted as discarded, %d sealed things left", discarded, left)
		}
		proof.Ran(t, "C04", "a tenant removed with 3 pending: counted as discarded %d, credentials and bodies left %d, the other tenant's arrived %d of 6", discarded, left, s.arrived(1))
	})
}

func TestATenantIsRemovedWhenItHasDrained(t *testing.T) {
	story(t, 2, func(w *world) {
		ctx := context.Background()
		s := newSIEM()
		s.fail = func(drover.Batch) (drover.Taken, error) { return drover.Taken{}, passing() }
		w.begin(deliver.Destination{ID: "s", Sink: s})
		w.commit(0, 3)
		w.commit(1, 3)
		w.pass(30 * time.Second)
		token := ledger.CredentialKey{Tenant: id(0), App: "default", Kind: "refresh_token", Cloud: "worldwide", Authority: "https://login.example"}
		if _, err := w.store.PutCredential(ctx, ledger.Credential{CredentialKey: token, Secret: drover.NewSecret("r1"), Expires: drover.NoInstant}, 0); err != nil {
			t.Fatal(err)
		}
		if err := w.store.SetTenantState(ctx, id(0), drover.Paused); err != nil {
			t.Fatal(err)
		}
		remove := func() uint64 {
			owed, err := w.store.RemoveDrained(ctx, id(0))
			if err != nil {
				t.Fatal(err)
			}
			return owed["s"]
		}
		if n := remove(); n != 3 {
			t.Errorf("%d owed, want 3", n)
		}
		w.commit(0, 2) // a read that was under way
		if n := remove(); n != 5 {
			t.Errorf("%d owed, want 5", n)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		asked := 0
		for ; remove() > 0 && asked < 600; asked++ {
			w.pass(time.Second)
		}
		s.whole(t, 0, 5)
		s.whole(t, 1, 3)
		lost, left := 5-s.arrived(0), 0
		counts, err := w.store.Counts(ctx, id(0))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			if c.What == "discarded" {
				lost += int(c.N)
			}
		}
		if _, err := w.store.Credential(ctx, token); !errors.Is(err, ledger.ErrNotFound) {
			left++
		}
		for seq := range uint64(5) {
			if _, err := w.store.Body(ctx, feed(0), seq+1); !errors.Is(err, ledger.ErrNotFound) {
				left++
			}
		}
		if lost != 0 || left != 0 {
			t.Errorf("lost %d, %d sealed things left", lost, left)
		}
		proof.Ran(t, "C04", "a tenant removed with 3 pending and 2 that came while it was: removed when drained; lost %d, left-over secrets %d", lost, left)
	})
}
