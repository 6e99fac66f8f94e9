package tokens

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/entra"
	"drover/internal/lab/authority"
	"drover/internal/proof"
)

// TestALedgerOfLastWeekTriesItsTokensOnceOrIsDenied puts back a copy of the
// ledger that is a week old, after Entra has rotated the refresh token hundreds
// of times.
func TestALedgerOfLastWeekTriesItsTokensOnceOrIsDenied(t *testing.T) {
	for name, tt := range map[string]struct {
		switches authority.Switches
		dead     bool
	}{
		"old tokens stay valid":  {authority.Switches{}, false},
		"a token works once":     {authority.Switches{OldRefreshDies: true}, true},
		"reuse kills the family": {authority.Switches{ReuseKillsFamily: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, key := t.TempDir(), newKey(t)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				w.lab.Directory().Switch(func(s *authority.Switches) { *s = tt.switches })
				x := w.tenant(0)
				w.signsIn(dir, key, x, true)
				w.readsOn(dir, key, x, 2) // so that there is a previous one
				backup := filepath.Join(t.TempDir(), "backup")
				w.must(os.CopyFS(backup, os.DirFS(filepath.Join(dir, "ledger"))))
				w.readsOn(dir, key, x, 7*24)
				rotated := w.count()

				w.must(errors.Join(os.RemoveAll(filepath.Join(dir, "ledger")), os.CopyFS(filepath.Join(dir, "ledger"), os.DirFS(backup))))
				l, err := open(dir, key)
				w.must(err)
				defer func() { w.must(l.Close()) }()
				store := signIns(l, base)
				old, _, err := store.Load(t.Context(), x)
				w.must(err)
				if old.Previous.Empty() || w.born(old.Token) > 3 {
					t.Fatal("the backup is not as it should be")
				}
				tokens := w.tokens(store)
				before := w.count()
				_, err = tokens.Token(t.Context(), x, drover.GraphAlerts)
				if tt.dead == (err == nil) || tt.dead && drover.KindOf(err) != drover.Denied {
					t.Fatalf("got %v", err)
				}
				if !tt.dead {
					again, _, err := store.Load(t.Context(), x)
					w.must(err)
					if w.count()-before != 1 || w.born(again.Token) != len(w.issued)-1 {
						t.Errorf("%d calls, and token %d is kept", w.count()-before, w.born(again.Token))
					}
					proof.Ran(t, "T12", "%s: a ledger of a week and %d rotations ago: read again after 1 call, the new token is kept", name, rotated-2)
					return
				}
				// Each old token is tried once; what is asked later is the probe.
				tried := make(map[string]int)
				for range 12 * 60 {
					time.Sleep(time.Minute)
					if _, err := tokens.Token(t.Context(), x, drover.GraphAlerts); drover.KindOf(err) != drover.Denied {
						t.Fatalf("got %v", err)
					}
				}
				for _, c := range w.calls[before:] {
					tried[c.token]++
				}
				probes := w.count() - before
				if tried[old.Previous.Reveal()] != 1 || len(tried) != 2 || probes > 20 {
					t.Errorf("%d tokens were tried, the one before the last %d times, in %d calls", len(tried), tried[old.Previous.Reveal()], probes)
				}
				if r, ok := errors.AsType[*entra.Refusal](err); !ok || r.Class != entra.SignIn || drover.HintOf(err) == "" {
					t.Errorf("it does not say that somebody must sign in: %v", err)
				}
				// Somebody does.
				w.must(store.Seal(t.Context(), x, w.signIn(x)))
				tokens.Drop(x.ID)
				if _, err := tokens.Token(t.Context(), x, drover.GraphAlerts); err != nil {
					t.Errorf("after a new sign-in: %v", err)
				}
				proof.Ran(t, "T12", "%s: a ledger of a week and %d rotations ago: denied, the token before the last tried %d time, %d calls in 12 hours, read again after a sign-in", name, rotated-2, tried[old.Previous.Reveal()], probes)
			})
		})
	}
}

// readsOn has a process read a tenant some times, an hour apart.
func (w *world) readsOn(dir, key string, x drover.Tenant, times int) {
	w.Helper()
	l, err := open(dir, key)
	w.must(err)
	tokens := w.tokens(signIns(l, base))
	for range times {
		token, err := tokens.Token(w.Context(), x, drover.GraphAlerts)
		w.must(err)
		tokens.Invalidate(x, drover.GraphAlerts, token)
		time.Sleep(time.Hour)
	}
	w.must(l.Close())
}
