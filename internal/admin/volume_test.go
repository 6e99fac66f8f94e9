package admin

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/ledger/sqlite/sqlitetest"
	"drover/internal/proof"
	"drover/internal/revision"
)

// told is a state of an alert as the test knows it.
type told struct {
	alert string
	at    time.Time
	touch bool
	late  bool // it is older than the state that was read before it
}

// TestVolumeCountsWhatEachChoiceWouldHaveSent compares with counting by hand,
// over a period that begins in the middle of the story.
func TestVolumeCountsWhatEachChoiceWouldHaveSent(t *testing.T) {
	dir := t.TempDir()
	counted, wrong := 0, 0
	synctest.Test(t, func(t *testing.T) {
		store := sqlitetest.Open(t, dir, sqlite.Options{Place: "test"})
		defer func() { _ = store.Close() }()
		rng := rand.New(rand.NewPCG(5, 5))
		stories := make(map[drover.TenantID][]told)
		for n, name := range []string{"contoso", "fabrikam", "tailspin"} {
			x := drover.Tenant{ID: drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)), Name: name, Customer: "c", Sources: []drover.SourceID{drover.GraphAlerts}}
			if err := store.AddTenant(t.Context(), x); err != nil {
				t.Fatal(err)
			}
		}
		list, err := store.ListTenants(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 900 {
			for _, x := range list[:2] {
				stories[x.ID] = append(stories[x.ID], tell(t, store, x, rng)...)
			}
			time.Sleep(time.Duration(rng.IntN(10*60)) * time.Second)
		}
		l := &Local{Store: store, Sinks: []drover.SinkID{"soc", "archive"}, Revisions: map[drover.SinkID]revision.Choice{"soc": revision.Settled},
			Routed: func(t drover.Tenant, _ drover.SourceID, s drover.SinkID) bool {
				return t.Name == "contoso" || s == "archive" && t.Name == "fabrikam"
			}}
		for _, days := range []int{1, 2, 30} {
			got, err := l.Volume(t.Context(), VolumeQuery{Days: days})
			if err != nil {
				t.Fatal(err)
			}
			var want []VolumeStatus
			for _, x := range list {
				v := byHand(stories[x.ID], time.Now().AddDate(0, 0, -days))
				v.Tenant, v.Name = x.ID, x.Name
				for _, s := range map[string][]drover.SinkID{"contoso": {"soc", "archive"}, "fabrikam": {"archive"}, "tailspin": {""}}[x.Name] {
					v.Sink, v.Revisions = s, l.Revisions[s]
					want = append(want, v)
					counted += int(v.All)
				}
			}
			if !slices.Equal(got, want) {
				wrong++
				t.Errorf("%d days:\n got %+v\nwant %+v", days, got, want)
			}
		}
		one, err := l.Volume(t.Context(), VolumeQuery{Tenants: []string{"fabrikam"}, Days: 30})
		if err != nil || len(one) != 1 || one[0].Name != "fabrikam" {
			t.Errorf("of one tenant: %+v, %v", one, err)
		}
		for _, q := range []VolumeQuery{{Tenants: []string{"woodgrove"}, Days: 1}, {Days: 0}, {Days: 4000}} {
			if _, err := l.Volume(t.Context(), q); drover.KindOf(err) != drover.Refused {
				t.Errorf("%+v: %v", q, err)
			}
		}
	})
	proof.Ran(t, "sink.volume", "%d records of two tenants in three periods: counts that differ from those made by hand %d", counted, wrong)
}

// tell stores some states of a tenant's alerts.
func tell(t *testing.T, store ledger.Store, x drover.Tenant, rng *rand.Rand) (out []told) {
	t.Helper()
	f := drover.Feed{Tenant: x.ID, Source: drover.GraphAlerts}
	var revs []drover.Revision
	for n := range 8 {
		alert, touch := fmt.Sprint("alert", n), rng.IntN(3) == 0
		if rng.IntN(4+3*n) > 0 {
			continue
		}
		raw := fmt.Appendf(nil, "%d", rng.Uint64())
		before, _ := store.Newest(t.Context(), f, ledger.AlertHash(alert), 1)
		rev := drover.Revision{AlertID: alert, Created: 1, Changed: drover.InstantOf(time.Now()), Sum: sha256.Sum256(raw), Raw: raw, Previous: before.Seq}
		if touch {
			rev.Flags = drover.Touch
		}
		late := before.Seq > 0 && rng.IntN(5) == 0
		if late {
			rev.Changed = drover.Instant(rng.Int64N(1e9) - 1e10)
		}
		revs = append(revs, rev)
		out = append(out, told{alert, time.Now(), touch, late})
	}
	st, err := store.Take(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Commit(t.Context(), ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: revs, Whole: drover.NoInstant}); err != nil {
		t.Fatal(err)
	}
	return out
}

// byHand counts in the plainest way.
func byHand(story []told, since time.Time) VolumeStatus {
	v := VolumeStatus{Since: drover.NoInstant}
	for i, s := range story {
		if s.at.Before(since) {
			continue
		}
		if v.All++; v.All == 1 {
			v.Since = drover.InstantOf(s.at)
		}
		if !s.touch {
			v.NoTouches++
		}
		same := func(o told) bool { return o.alert == s.alert }
		if !slices.ContainsFunc(story[:i], same) {
			v.Created++
		}
		next := slices.IndexFunc(story[i+1:], func(o told) bool { return same(o) && !o.late })
		if next < 0 || s.late || story[i+1+next].at.Sub(s.at) >= revision.Quiet || !story[i+1+next].at.Truncate(time.Hour).Equal(s.at.Truncate(time.Hour)) {
			v.Settled++
		}
	}
	return v
}

func TestACountHoldsNoMoreThanItsWindow(t *testing.T) {
	var n tally
	at := drover.Instant(0)
	for seq := uint64(1); seq <= 3*volumeWindow; seq++ {
		if seq%1000 == 0 {
			at = at.Add(time.Millisecond)
		}
		n.add(&drover.Revision{Seq: seq, Changed: at}, at, 0)
	}
	held := 0
	for i := range n.window {
		held += len(n.window[i].versions)
	}
	if held > volumeWindow || held != n.rows || n.all != 3*volumeWindow {
		t.Errorf("%d held, %d noted, %d counted", held, n.rows, n.all)
	}
	n.add(&drover.Revision{Seq: 3*volumeWindow + 1, Changed: at}, at.Add(revision.Quiet), 0)
	if n.rows != 1 {
		t.Errorf("%d are held that nothing can outrun", n.rows)
	}
}
