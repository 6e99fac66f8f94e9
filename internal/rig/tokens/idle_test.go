package tokens

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/lab/authority"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
	"drover/internal/signin"
)

const day = 24 * time.Hour

// idlers is how many tenants are connected on one day: the last is read, the
// others are not.
const idlers = 6

// process is drover as far as sign-ins go.
type process struct {
	w      *world
	ledger *sqlite.Store
	store  *signin.Store
	stop   context.CancelFunc
	done   chan error
}

// begin starts a process; reading: it reads the one tenant, keep: it renews the
// others.
func (w *world) begin(dir, key string, reading, keep bool) *process {
	w.Helper()
	l, err := open(dir, key)
	w.must(err)
	p := &process{w: w, ledger: l, store: signIns(l, base), done: make(chan error, 2)}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	tokens := w.tokens(p.store)
	go func() {
		if !keep {
			p.done <- nil
			return
		}
		p.done <- signin.NewKeeper(signin.Options{Store: p.store, Tokens: tokens, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	go func() { // the reader of one tenant
		t := w.tenant(idlers - 1)
		for reading {
			if _, err := tokens.Token(ctx, t, drover.GraphAlerts); err == nil {
				w.reads.Add(1)
			}
			timer := time.NewTimer(day)
			select {
			case <-ctx.Done():
				timer.Stop()
				tokens.Wait()
				p.done <- nil
				return
			case <-timer.C:
			}
		}
		p.done <- nil
	}()
	return p
}

func (p *process) end() {
	p.w.Helper()
	p.stop()
	p.w.must(errors.Join(<-p.done, <-p.done, p.ledger.Close()))
}

// lockedOut counts the tenants that cannot be read any more.
func (w *world) lockedOut(p *process) (n int) {
	for i := range idlers {
		if _, err := w.tokens(p.store).Token(w.Context(), w.tenant(i), drover.GraphAlerts); err != nil {
			n++
			if drover.KindOf(err) != drover.Denied {
				w.Errorf("a lock-out that does not show: %v", err)
			}
		}
	}
	return n
}

// TestNobodyIsLockedOutIn200Days leaves drover alone for 200 days, with a week
// without network and a new process every 20 days.
func TestNobodyIsLockedOutIn200Days(t *testing.T) {
	for name, tt := range map[string]struct {
		keep     bool
		days     int
		switches authority.Switches
		want     int // locked out
	}{
		"a new token each time":           {true, 200, authority.Switches{}, 0},
		"no new token":                    {true, 200, authority.Switches{NoNewRefresh: true}, 0},
		"reuse kills the family":          {true, 200, authority.Switches{ReuseKillsFamily: true}, 0},
		"and without renewal all but one": {false, 95, authority.Switches{}, idlers - 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir, key := t.TempDir(), newKey(t)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, idlers)
				w.lab.Directory().Switch(func(s *authority.Switches) { *s = tt.switches })
				begun := time.Now()
				w.connectAll(dir, key)
				for gone := 0; gone < tt.days; gone += 20 {
					p := w.begin(dir, key, true, tt.keep)
					until := begun.Add(time.Duration(min(gone+20, tt.days))*day + time.Duration(gone)*time.Minute) // no reading is under way then
					if gone == 100 {
						w.network(false)
						time.Sleep(7*day - 5*time.Hour)
						w.network(true)
					}
					time.Sleep(time.Until(until.Add(time.Minute)))
					p.end()
				}
				p := w.begin(dir, key, false, false)
				if n := w.lockedOut(p); n != tt.want {
					t.Errorf("%d of %d tenants are locked out, want %d", n, idlers, tt.want)
				}
				p.end()
				calls, longest, extra := w.pace(begun.Add(100*day), begun.Add(107*day))
				if tt.keep && (longest > 7*day || extra != 0) {
					t.Errorf("the longest time between two renewals was %v; the tenant that is read had %d calls more than its reading", longest, extra)
				}
				if tt.keep && !t.Failed() {
					proof.Ran(t, "token.idle", "%s: %d tenants of which %d are not read, 200 days, 7 of them without network, 10 processes: locked out 0, %d renewals, with network at most %.1f days apart; beyond those that reading makes %d", name, idlers, idlers-1, calls, longest.Hours()/24, extra)
				}
			})
		})
	}
}

// connectAll signs in at every tenant on one day; half of them are paused.
func (w *world) connectAll(dir, key string) {
	w.Helper()
	l, err := open(dir, key)
	w.must(err)
	for i := range idlers {
		t := w.tenant(i)
		if i%2 == 0 {
			t.State = drover.Paused
		}
		w.must(errors.Join(l.AddTenant(w.Context(), t), signIns(l, base).Seal(w.Context(), t, w.signIn(t))))
	}
	w.must(l.Close())
}

// network is cut, or there again.
func (w *world) network(there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = !there
}

// pace counts the renewals, says how far apart those of one tenant were at most
// where the stretch without network does not lie between, and how many the
// tenant that is read had beside its reading.
func (w *world) pace(from, to time.Time) (calls int, longest time.Duration, extra int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := make(map[string]time.Time)
	read := string(w.tenant(idlers - 1).ID)
	for _, c := range w.calls {
		if before, ok := last[c.tenant]; ok && (c.at.Before(from) || before.After(to)) {
			longest = max(longest, c.at.Sub(before))
		}
		last[c.tenant] = c.at
		if c.tenant == read {
			extra++
		}
	}
	// The last look is ours, and when the network came back nothing had been read
	// for a week.
	return len(w.calls), longest, extra - int(w.reads.Load()) - 2
}
