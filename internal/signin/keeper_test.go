package signin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/ledger"
)

// book is a ledger of credentials in memory.
type book struct {
	mu      sync.Mutex
	tenants []drover.Tenant
	rows    map[drover.TenantID]ledger.Credential
	broken  map[drover.TenantID]error
}

func (b *book) ListTenants(context.Context) ([]drover.Tenant, error) { return b.tenants, nil }

func (b *book) PutCredential(_ context.Context, c ledger.Credential, version uint64) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rows[c.Tenant].Version != version {
		return 0, ledger.ErrConflict
	}
	c.Version, c.Stored = version+1, drover.InstantOf(time.Now())
	b.rows[c.Tenant] = c
	return c.Version, nil
}

func (b *book) Credential(_ context.Context, k ledger.CredentialKey) (ledger.Credential, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.broken[k.Tenant]; err != nil {
		return ledger.Credential{}, err
	}
	c, ok := b.rows[k.Tenant]
	if !ok {
		return c, ledger.ErrNotFound
	}
	return c, nil
}

func (b *book) DropCredential(_ context.Context, k ledger.CredentialKey) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.rows, k.Tenant)
	return nil
}

// world is n tenants that signed in now, a keeper, and an Entra that answers.
type world struct {
	book   *book
	store  *Store
	keeper *Keeper
	log    bytes.Buffer

	mu     sync.Mutex
	answer func(drover.Tenant) error
	asked  map[drover.TenantID][]time.Time
}

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{book: &book{rows: make(map[drover.TenantID]ledger.Credential), broken: make(map[drover.TenantID]error)}, asked: make(map[drover.TenantID][]time.Time)}
	w.store = &Store{Ledger: func() Ledger { return w.book }, Cloud: func(t drover.Tenant) (string, string) { return t.Cloud, "https://login.example" }}
	w.keeper = NewKeeper(Options{Store: w.store, Tokens: w, Log: slog.New(slog.NewTextHandler(&w.log, nil))})
	for i := range n {
		x := drover.Tenant{ID: drover.TenantID(fmt.Sprintf("%08x-0000-4000-8000-000000000000", i*7919)), Name: fmt.Sprint("t", i), App: "default", State: drover.Paused, Sources: []drover.SourceID{drover.GraphAlerts}}
		w.book.tenants = append(w.book.tenants, x)
		if err := w.store.Seal(t.Context(), x, drover.NewSecret("canary-token")); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// Renew stands in for entra.Tokens.
func (w *world) Renew(ctx context.Context, t drover.Tenant) error {
	w.mu.Lock()
	w.asked[t.ID] = append(w.asked[t.ID], time.Now())
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		if err := answer(t); err != nil {
			return err
		}
	}
	r, _, err := w.store.Load(ctx, t)
	if err == nil {
		err = w.store.Save(ctx, t, drover.Refresh{Token: r.Token, Version: r.Version})
	}
	return err
}

// days lets drover run for some days.
func (w *world) days(t *testing.T, n int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.keeper.Run(ctx) }()
	time.Sleep(time.Duration(n) * day)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestHundredsOfTenantsThatSignedInOnOneDayAreRenewedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 600
		w := newWorld(t, n)
		begun := time.Now()
		w.days(t, 30)
		perHour, longest := make(map[time.Duration]int), time.Duration(0)
		for id, times := range w.asked {
			last := begun
			for _, at := range times {
				longest = max(longest, at.Sub(last))
				last = at
				perHour[at.Sub(begun)/time.Hour]++
			}
			longest = max(longest, time.Since(last))
			if len(times) < 4 || len(times) > 6 {
				t.Errorf("%s was renewed %d times in 30 days", id, len(times))
			}
		}
		most := 0
		for _, c := range perHour {
			most = max(most, c)
		}
		if len(w.asked) != n || longest > 7*day || most > n/12 {
			t.Errorf("%d tenants were renewed, at most %v apart, up to %d in one hour", len(w.asked), longest, most)
		}
	})
}

func TestAfterALongStopTheOldestIsRenewedFirstAndNotAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 50)
		time.Sleep(day)
		late := w.book.tenants[7]
		if err := w.store.Seal(t.Context(), late, drover.NewSecret("newer")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(60 * day)
		begun := time.Now()
		w.days(t, 1)
		var first, last time.Time
		for id, times := range w.asked {
			if len(times) != 1 {
				t.Errorf("%s was asked for %d times", id, len(times))
			}
			if first.IsZero() || times[0].Before(first) {
				first = times[0]
			}
			if times[0].After(last) {
				last = times[0]
			}
		}
		if got := w.asked[late.ID]; len(got) != 1 || !got[0].Equal(last) {
			t.Error("the newest was not the last")
		}
		if first.Sub(begun) < time.Minute || last.Sub(first) < 49*apart {
			t.Errorf("the first after %v, all within %v", first.Sub(begun), last.Sub(first))
		}
	})
}

func TestARefusalIsSaidOnceAskedAgainAndEndsWithANewSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		x := w.book.tenants[0]
		ended := &drover.Error{Op: "get a token", Tenant: x.ID, Kind: drover.Denied, Code: "AADSTS50173", Hint: "the sign-in was revoked", Err: errors.New("AADSTS50173")}
		w.answer = func(t drover.Tenant) error {
			if t.ID == x.ID {
				return ended
			}
			return nil
		}
		w.days(t, 10)
		if n := strings.Count(w.log.String(), "level=ERROR"); n != 1 || !strings.Contains(w.log.String(), "drover tenant connect t0") {
			t.Errorf("said %d times:\n%s", n, w.log.String())
		}
		times := w.asked[x.ID]
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d < deniedAgain || d > deniedAgain+2*lookEvery {
				t.Errorf("asked again after %v", d)
			}
		}
		s, ok, _ := w.keeper.Of(t.Context(), x)
		_, refused, err := w.keeper.Items(t.Context())
		if !ok || s.Trouble == nil || s.Hint == "" || err != nil || len(refused) != 1 {
			t.Errorf("%+v, refused %v, %v", s, refused, err)
		}
		if err := w.store.Seal(t.Context(), x, drover.NewSecret("new")); err != nil {
			t.Fatal(err)
		}
		if s, _, _ := w.keeper.Of(t.Context(), x); s.Trouble != nil {
			t.Errorf("after a new sign-in there is still trouble: %v", s.Trouble)
		}
		if strings.Contains(w.log.String(), "canary") {
			t.Error("the log holds a token")
		}
	})
}

func TestTroubleOfTheAppIsSaidOnceForAllItsTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 30)
		w.answer = func(x drover.Tenant) error {
			return &drover.Error{Op: "get a token", Tenant: x.ID, Kind: drover.Denied, App: true, Err: errors.New("AADSTS7000222")}
		}
		w.days(t, 9)
		if n := strings.Count(w.log.String(), "level=ERROR"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestAClockThatWasAheadDelaysNoRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		x := w.book.tenants[0]
		c := w.book.rows[x.ID]
		c.Stored = drover.InstantOf(time.Now().Add(365 * day))
		w.book.rows[x.ID] = c
		w.days(t, 1)
		if len(w.asked[x.ID]) != 1 {
			t.Errorf("asked %d times", len(w.asked[x.ID]))
		}
	})
}

func TestWhatCannotBeRenewedIsSpokenOfAfter60And80Days(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		begun := time.Now()
		for _, tt := range []struct {
			days    int
			reached bool
			alarm   bool
			ended   bool
		}{{59, false, false, false}, {60, true, false, false}, {79, true, false, false}, {80, true, true, false}, {90, true, true, true}} {
			time.Sleep(time.Until(begun.Add(time.Duration(tt.days) * day)))
			items, _, err := w.keeper.Items(t.Context())
			if err != nil || len(items) != 1 {
				t.Fatal(items, err)
			}
			i, now := items[0], time.Now()
			if _, ok := i.Reached(now); ok != tt.reached || i.Alarming(now) != tt.alarm || i.Ended(now) != tt.ended {
				t.Errorf("after %d days: reached %v, alarm %v, ended %v", tt.days, ok, i.Alarming(now), i.Ended(now))
			}
		}
	})
}

func TestATenantWhoseTokenCannotBeOpenedHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		x := w.book.tenants[1]
		w.book.broken[x.ID] = errors.New("open the credential: not sealed with this key")
		w.days(t, 8)
		if len(w.asked) != 2 {
			t.Errorf("%d tenants were renewed", len(w.asked))
		}
		if n := strings.Count(w.log.String(), "could not be renewed"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}
