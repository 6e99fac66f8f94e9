package admin_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/ledger/sqlite/sqlitetest"
	"drover/internal/proof"
)

var began = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// world is a ledger with a story, and the plainest memory of it.
type world struct {
	*testing.T
	ledger.Store
	clock  time.Time
	told   []drover.Revision // every revision, in the order of commits
	epochs map[drover.Feed]drover.Epoch
	local  *admin.Local
}

func newWorld(t *testing.T, tenants ...string) *world {
	t.Helper()
	w := &world{T: t, clock: began, epochs: make(map[drover.Feed]drover.Epoch)}
	w.Store = sqlitetest.Open(t, t.TempDir(), sqlite.Options{Clock: func() time.Time { return w.clock }})
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, name := range tenants {
		x := drover.Tenant{ID: drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), Name: name, Customer: drover.CustomerID(strings.SplitN(name, "-", 2)[0]), Cloud: "worldwide", App: "default",
			State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts, drover.SIEMDetections}}
		w.must(w.AddTenant(t.Context(), x))
		for _, s := range x.Sources {
			f := drover.Feed{Tenant: x.ID, Source: s}
			st, err := w.Take(t.Context(), f)
			w.must(err)
			w.epochs[f] = st.Epoch
		}
	}
	w.local = &admin.Local{Store: w.Store}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func feed(i int) drover.Feed {
	return drover.Feed{Tenant: drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), Source: drover.GraphAlerts}
}

// commit stores states as a reader would: each names the newest before it.
func (w *world) commit(f drover.Feed, revs ...drover.Revision) {
	w.Helper()
	for i := range revs {
		r := &revs[i]
		r.Sum = sha256.Sum256(r.Raw)
		k, err := w.Newest(w.Context(), f, ledger.AlertHash(r.AlertID), r.Created)
		if err == nil {
			r.Previous = k.Seq
		} else if !errors.Is(err, ledger.ErrNotFound) {
			w.Fatal(err)
		}
	}
	_, err := w.Commit(w.Context(), ledger.Commit{Feed: f, Epoch: w.epochs[f], Revisions: revs, Whole: drover.NoInstant})
	w.must(err)
	for i := range revs {
		r := revs[i]
		r.Stored = drover.InstantOf(w.clock)
		w.told = append(w.told, r)
	}
}

// state makes the n-th state of an alert; it changes n minutes after it began.
func state(alert, n int, severity, status, text string) drover.Revision {
	created := drover.InstantOf(began.Add(time.Duration(alert) * time.Second))
	raw, _ := json.Marshal(map[string]any{"id": fmt.Sprint("alert-", alert), "title": fmt.Sprint("Alert ", alert), "status": status, "n": n, "description": text})
	return drover.Revision{AlertID: fmt.Sprint("alert-", alert), Created: created, Changed: created.Add(time.Duration(n) * time.Minute), Severity: severity, Status: status, Raw: raw}
}

// expect is the plainest answer to a query.
func (w *world) expect(q admin.AlertQuery) (ids []string) {
	newest := make(map[string]drover.Instant)
	at := func(r *drover.Revision) string { return r.Feed.String() + r.AlertID }
	then := func(r *drover.Revision) bool { return !q.AsOf.Known() || r.Stored <= q.AsOf }
	for i := range w.told {
		if r := &w.told[i]; then(r) {
			newest[at(r)] = max(newest[at(r)], r.Changed)
		}
	}
	list := slices.Clone(w.told)
	slices.SortStableFunc(list, func(a, b drover.Revision) int { return int(b.Changed - a.Changed) })
	for i := range list {
		r := &list[i]
		tenant, _ := w.Tenant(w.Context(), r.Feed.Tenant)
		switch {
		case !then(r), !q.All && newest[at(r)] != r.Changed, tenant.State == drover.Removed,
			q.Tenant != "" && q.Tenant != tenant.Name, q.Customer != "" && q.Customer != tenant.Customer, q.Source != "" && q.Source != r.Feed.Source,
			q.ID != "" && q.ID != r.AlertID, q.Since.Known() && r.Changed < q.Since, q.Until.Known() && r.Changed >= q.Until,
			len(q.Severity) > 0 && !slices.Contains(q.Severity, r.Severity), len(q.Status) > 0 && !slices.Contains(q.Status, r.Status):
			continue
		}
		var row struct{ Description string }
		w.must(json.Unmarshal(r.Raw, &row))
		if !strings.Contains(strings.ToLower(row.Description), strings.ToLower(q.Text)) {
			continue
		}
		ids = append(ids, r.EventID(0))
	}
	return ids
}

// each asks the ledger and a running process.
func (w *world) each(f func(api admin.API)) {
	w.Helper()
	f(w.local)
	dir, err := os.MkdirTemp("", "drover") // a socket's path must be short
	w.must(err)
	l, err := net.Listen("unix", filepath.Join(dir, admin.SocketName))
	w.must(err)
	ctx, stop := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- admin.Serve(ctx, l, w.local) }()
	f(admin.Dial(dir))
	stop()
	w.must(<-done)
	w.must(os.RemoveAll(dir))
}

func all(q admin.AlertQuery) admin.AlertQuery {
	for _, i := range []*drover.Instant{&q.Since, &q.Until, &q.AsOf} {
		if *i == 0 {
			*i = drover.NoInstant
		}
	}
	return q
}

// told puts a few hundred states of alerts into several feeds, with late ones.
func story(t *testing.T) *world {
	w := newWorld(t, "contoso", "fabrikam-east", "fabrikam-west")
	texts := []string{"nothing", `C:\Users\eve "x"`, "Überfall – 攻撃 🐑", "mimikatz.exe"}
	for hour := range 8 {
		w.clock = began.Add(time.Duration(hour+1) * time.Hour)
		for i := range 3 {
			var revs []drover.Revision
			for a := range 24 {
				if n := (hour*7 + a*3 + i) % 10; (a+hour+i)%3 == 0 { // not in the order of time: some are late
					revs = append(revs, state(a*3+i, n*8+hour, []string{"high", "medium", "low"}[(a+n)%3], []string{"new", "resolved"}[(a+n+hour)%2], texts[(a+n)%4]))
				}
			}
			w.commit(feed(i), revs...)
		}
	}
	return w
}

func TestAListOfAlertsIsWhatAPlainLookAtEverythingFinds(t *testing.T) {
	w := story(t)
	at := func(h int) drover.Instant { return drover.InstantOf(began.Add(time.Duration(h) * time.Hour)) }
	queries := map[string]admin.AlertQuery{
		"everything":                  {},
		"every state":                 {All: true},
		"a tenant":                    {Tenant: "contoso"},
		"a customer":                  {Customer: "fabrikam", All: true},
		"a source":                    {Source: drover.SIEMDetections},
		"since":                       {Since: at(1)},
		"a span":                      {Since: at(0).Add(20 * time.Minute), Until: at(1), All: true},
		"severities":                  {Severity: []string{"high", "low"}},
		"a status":                    {Status: []string{"resolved"}, All: true},
		"text, in any case":           {Text: "MIMIKATZ"},
		"text with a backslash":       {Text: `c:\users\EVE "`, All: true},
		"text beyond ASCII":           {Text: "überfall – 攻撃 🐑", All: true},
		"text that is nowhere":        {Text: "nowhere"},
		"an ID":                       {ID: "alert-4", All: true},
		"an ID as of":                 {ID: "alert-4", AsOf: at(5)},
		"before anything":             {AsOf: at(0)},
		"as of, and text, and a span": {AsOf: at(6), Text: "nothing", Since: at(0).Add(10 * time.Minute), Until: at(1)},
	}
	for h := range 9 {
		queries[fmt.Sprint("as of ", h)] = admin.AlertQuery{AsOf: at(h)}
		queries[fmt.Sprint("as of, every state ", h)] = admin.AlertQuery{AsOf: at(h), All: true}
	}
	found, wrong := 0, 0
	for name, q := range queries {
		q = all(q)
		want := w.expect(q)
		w.each(func(api admin.API) {
			var got []string
			end, err := api.Alerts(t.Context(), q, func(a admin.AlertLine) error {
				got = append(got, a.EventID)
				return nil
			})
			w.must(err)
			order := slices.Clone(got)
			slices.Sort(got)
			sorted := slices.Clone(want)
			slices.Sort(sorted)
			if !slices.Equal(got, sorted) || end != (admin.AlertsEnd{}) {
				wrong++
				t.Errorf("%s: %d found, want %d; %+v", name, len(got), len(want), end)
			}
			found += len(got)
			for _, limit := range []int{1, len(want) / 2, len(want), len(want) + 1} {
				if limit == 0 {
					continue
				}
				q, n := q, 0
				q.Limit = limit
				end, err := api.Alerts(t.Context(), q, func(a admin.AlertLine) error {
					if n < len(order) && a.EventID != order[n] {
						t.Errorf("%s: with a limit of %d another one comes", name, limit)
					}
					n++
					return nil
				})
				if w.must(err); n != min(limit, len(want)) || end.More != (limit < len(want)) {
					t.Errorf("%s: limit %d of %d: %d come, more %v", name, limit, len(want), n, end.More)
				}
			}
		})
	}
	if found < 500 {
		t.Errorf("only %d alerts were found in all", found)
	}
	proof.Ran(t, "query.list", "%d questions, by the ledger and by its socket, %d alerts found: answers that a plain look does not give %d", len(queries), found, wrong)
}

func TestTheNewestChangeComesFirstAcrossTenants(t *testing.T) {
	w := story(t)
	last := drover.Instant(1 << 62)
	n := 0
	_, err := w.local.Alerts(t.Context(), all(admin.AlertQuery{All: true}), func(a admin.AlertLine) error {
		if a.Changed > last {
			t.Errorf("%s after %s", a.Changed, last)
		}
		last, n = a.Changed, n+1
		if a.Title == "" || a.Name == "" || !a.Stored.Known() || a.Severity == "" {
			t.Errorf("incomplete: %+v", a)
		}
		return nil
	})
	if w.must(err); n != len(w.told) {
		t.Errorf("%d of %d", n, len(w.told))
	}
}

func TestARemovedTenantsAlertsAreNotShown(t *testing.T) {
	w := story(t)
	w.must(w.RemoveTenant(t.Context(), feed(1).Tenant))
	w.each(func(api admin.API) {
		n := 0
		_, err := api.Alerts(t.Context(), all(admin.AlertQuery{All: true}), func(a admin.AlertLine) error {
			if n++; a.Tenant == feed(1).Tenant {
				t.Error("an alert of a removed tenant is shown")
			}
			return nil
		})
		if w.must(err); n == 0 {
			t.Error("nothing is shown")
		}
		_, err = api.Alerts(t.Context(), all(admin.AlertQuery{Tenant: "fabrikam-east"}), func(admin.AlertLine) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "was removed") {
			t.Errorf("asked for by name: %v", err)
		}
		if _, err := api.Alert(t.Context(), admin.AlertRef{ID: "alert-4"}); err == nil || !strings.Contains(err.Error(), "has no alert") {
			t.Errorf("one of its alerts: %v", err)
		}
	})
}

func TestWhatTheRetentionHasTakenIsCounted(t *testing.T) {
	w := newWorld(t, "contoso")
	w.commit(feed(0), state(1, 1, "high", "new", ""), state(2, 1, "high", "new", ""), state(1, 2, "high", "new", ""))
	w.clock = began.Add(100 * 24 * time.Hour)
	late := state(1, 200*24*60, "high", "resolved", "")
	w.commit(feed(0), late)
	_, err := w.Prune(t.Context(), ledger.PruneOrder{Now: drover.InstantOf(w.clock), Bodies: 24 * time.Hour, Confirmed: true})
	w.must(err)
	for _, tt := range []struct {
		q    admin.AlertQuery
		n    int
		gone int64
	}{{admin.AlertQuery{}, 1, 1}, {admin.AlertQuery{All: true}, 1, 3}} {
		n := 0
		end, err := w.local.Alerts(t.Context(), all(tt.q), func(admin.AlertLine) error { n++; return nil })
		if w.must(err); n != tt.n || end.Gone != tt.gone {
			t.Errorf("%+v: %d shown, %d gone, want %d and %d", tt.q, n, end.Gone, tt.n, tt.gone)
		}
	}
	s, err := w.local.Alert(t.Context(), admin.AlertRef{ID: "alert-1"})
	if w.must(err); len(s.History) != 3 || !s.History[0].Gone || s.History[2].Gone || s.Shown.N != 3 {
		t.Errorf("history %+v", s.History)
	}
	if _, err := w.local.AlertBody(t.Context(), admin.AlertRef{ID: "alert-1", Revision: 1}); err == nil || !strings.Contains(err.Error(), "thrown away") {
		t.Errorf("a body that is gone: %v", err)
	}
}

// bounded fails when a search may hold more keys than it may.
type bounded struct {
	ledger.Store
	feeds, asked int
}

func (b *bounded) States(ctx context.Context, f drover.Feed, o ledger.StateOrder) (ledger.StatePage, error) {
	b.asked = max(b.asked, o.Rows*b.feeds)
	return b.Store.States(ctx, f, o)
}

func TestASearchOverManyFeedsHoldsFewKeysOfEach(t *testing.T) {
	var names []string
	for i := range 400 {
		names = append(names, fmt.Sprint("t", i))
	}
	w := newWorld(t, names...)
	w.commit(feed(7), state(1, 1, "high", "new", ""))
	b := &bounded{Store: w.Store, feeds: 800}
	_, err := (&admin.Local{Store: b}).Alerts(t.Context(), all(admin.AlertQuery{}), func(admin.AlertLine) error { return nil })
	if w.must(err); b.asked > 16_384 || b.asked == 0 {
		t.Errorf("up to %d keys of all feeds at once", b.asked)
	}
}

func TestAnAlertsStoryTellsStatesAndWhereEachWent(t *testing.T) {
	w := newWorld(t, "contoso", "fabrikam")
	f := feed(0)
	w.commit(f, state(1, 1, "low", "new", "a"))
	w.must(w.Sinks(t.Context(), []ledger.SinkPlace{{Sink: "all", FromAll: true}, {Sink: "new"}, {Sink: "slow", FromAll: true}, {Sink: "picky", FromAll: true}}))
	w.clock = w.clock.Add(time.Hour)
	second := state(1, 2, "high", "new", "b")
	second.Changes, second.Flags = []string{"description", "severity"}, drover.Late
	w.commit(f, second)
	w.commit(feed(1), state(1, 9, "low", "new", "another's"))
	done := []drover.Range{{Feed: f, First: 1, Last: 2}}
	w.must(w.Settle(t.Context(), ledger.Settle{Sink: "all", Lane: "l", Done: done, Taken: 2}))
	w.must(w.Settle(t.Context(), ledger.Settle{Sink: "slow", Lane: "l", Done: done[:0:0]}))
	w.must(w.Settle(t.Context(), ledger.Settle{Sink: "picky", Lane: "l", Done: done, Taken: 1, Aside: []ledger.Aside{{Feed: f, Seq: 2, Reason: "refused", Detail: "too blue"}}}))
	w.local.Sinks = []drover.SinkID{"all", "new", "picky", "slow", "unserved", "unrouted"}
	w.must(w.Sinks(t.Context(), []ledger.SinkPlace{{Sink: "all"}, {Sink: "new"}, {Sink: "slow"}, {Sink: "picky"}, {Sink: "unrouted", FromAll: true}}))
	w.must(w.Settle(t.Context(), ledger.Settle{Sink: "unrouted", Lane: "l", Done: done, Unrouted: 2}))
	w.local.Routed = func(_ drover.Tenant, _ drover.SourceID, s drover.SinkID) bool { return s != "unrouted" }
	w.each(func(api admin.API) {
		if _, err := api.Alert(t.Context(), admin.AlertRef{ID: "alert-1"}); err == nil || !strings.Contains(err.Error(), "several feeds") {
			t.Errorf("an ID of two tenants: %v", err)
		}
		ref := admin.AlertRef{ID: "alert-1", Tenant: "contoso"}
		s, err := api.Alert(t.Context(), ref)
		w.must(err)
		if len(s.History) != 2 || s.Shown.N != 2 || s.Title != "Alert 1" || s.History[1].Severity != "high" || !slices.Equal(s.History[1].Changes, second.Changes) ||
			!slices.Equal(s.History[1].Flags, []string{"late"}) || s.History[0].Stored != drover.InstantOf(began) || s.History[1].EventID != w.told[1].EventID(0) {
			t.Errorf("story: %+v", s)
		}
		if !slices.Contains(s.Fields, admin.AlertField{Name: "description", Value: "b"}) || !slices.Contains(s.Fields, admin.AlertField{Name: "n", Value: "2"}) {
			t.Errorf("fields: %+v", s.Fields)
		}
		got := make(map[drover.SinkID]string)
		for _, a := range s.Sinks {
			got[a.Sink] = a.State + " " + a.Why
		}
		for sink, want := range map[drover.SinkID]string{"all": "taken ", "new": "pending ", "picky": "set aside refused: too blue", "slow": "pending ", "unserved": "no place the sink has never been served", "unrouted": "passed over no route leads there now"} {
			if got[sink] != want {
				t.Errorf("sink %s: %q, want %q", sink, got[sink], want)
			}
		}
		ref.Revision = 1
		s, err = api.Alert(t.Context(), ref)
		if w.must(err); s.Shown.N != 1 || s.Sinks[1].State != "before its start" || s.Sinks[2].State != "taken" {
			t.Errorf("the first state: %+v", s)
		}
		b, err := api.AlertBody(t.Context(), ref)
		if w.must(err); string(b.Raw) != string(w.told[0].Raw) {
			t.Errorf("body %s", b.Raw)
		}
		ref.Revision = 0
		for _, tt := range [][2]int{{0, 0}, {0, 2}, {1, 2}} {
			d, err := api.AlertDiff(t.Context(), ref, tt[0], tt[1])
			if w.must(err); d.From.N != 1 || d.To.N != 2 || len(d.Changes) != 2 || d.Changes[0].Path != "description" || d.Changes[0].Before != `"a"` || d.Changes[1].After != "2" {
				t.Errorf("%v: %+v", tt, d)
			}
		}
		for _, tt := range [][2]int{{0, 1}, {1, 3}, {-1, 2}} {
			if _, err := api.AlertDiff(t.Context(), ref, tt[0], tt[1]); drover.KindOf(err) != drover.Refused {
				t.Errorf("%v: %v", tt, err)
			}
		}
	})
}

func TestWhoStopsListeningEndsAList(t *testing.T) {
	w := story(t)
	enough := errors.New("enough")
	w.each(func(api admin.API) {
		if _, err := api.Alerts(t.Context(), all(admin.AlertQuery{All: true}), func(admin.AlertLine) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("got %v", err)
		}
	})
}
