package tokens

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger/sqlite"
	"drover/internal/ledger/sqlite/sqlitetest"
	"drover/internal/proof"
)

// TestNoSlowSaveOverwritesANewerToken lets replicas save at once what each got
// for the same token, in the real ledger, some of them many renewals late.
func TestNoSlowSaveOverwritesANewerToken(t *testing.T) {
	races, tenants := 100_000, 400
	if raced {
		races, tenants = 4_000, 100
	}
	l := sqlitetest.Open(t, t.TempDir(), sqlite.Options{Place: "rig"})
	defer func() { _ = l.Close() }()
	store := signIns(l, base)
	var stale, won, late atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()
	for n := range tenants {
		x := drover.Tenant{ID: drover.TenantID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", n+1)), Name: fmt.Sprint("t", n), Customer: "contoso", Cloud: cloudName, App: appName, State: drover.Active}
		if err := errors.Join(l.AddTenant(t.Context(), x), store.Seal(t.Context(), x, drover.NewSecret("0"))); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 4))
			var old []drover.Refresh // what slow replicas hold
			for round := 1; round <= races/tenants; round++ {
				r, _, err := store.Load(t.Context(), x)
				if err != nil {
					t.Error(err)
					return
				}
				if r.Token.Reveal() != strconv.Itoa(round-1) && round > 1 {
					stale.Add(1)
				}
				// Two that hold the same, and one that has been slow.
				slow := r
				if len(old) > 0 && rng.IntN(2) == 0 {
					slow = old[rng.IntN(len(old))]
					late.Add(1)
				}
				old = append(old, r)
				results := make(chan error, 1)
				go func() {
					results <- store.Save(t.Context(), x, drover.Refresh{Token: drover.NewSecret(strconv.Itoa(round)), Previous: slow.Token, Version: slow.Version})
				}()
				mine := store.Save(t.Context(), x, drover.Refresh{Token: drover.NewSecret(strconv.Itoa(round)), Previous: r.Token, Version: r.Version})
				theirs := <-results
				wins := 0
				for _, err := range []error{mine, theirs} {
					switch {
					case err == nil:
						wins++
					case !errors.Is(err, drover.ErrRefreshChanged):
						t.Error(err)
					}
				}
				if wins != 1 || slow.Version != r.Version && theirs == nil {
					stale.Add(1)
				}
				won.Add(int64(wins))
			}
		})
	}
	wg.Wait()
	if stale.Load() > 0 || won.Load() != int64(races) {
		t.Errorf("%d stale overwrites, %d of %d races were won", stale.Load(), won.Load(), races)
	}
	proof.Ran(t, "T04", "%d races of two saves in the real ledger, %d of them with one that was renewals late: stale overwrites %d (%v)", races, late.Load(), stale.Load(), time.Since(begun).Round(100*time.Millisecond))
}
