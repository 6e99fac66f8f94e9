package admin_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drover"
	"drover/internal/admin"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/ledger/sqlite/sqlitetest"
	"drover/internal/proof"
)

const nobodys = "00000000-0000-4000-8000-0000000000ff"

func idOf(i int) string { return string(feed(i).Tenant) }

// story of what a list comes to, tenant by tenant.
func told(res admin.Applied) (out []string) {
	for _, r := range res.Tenants {
		line := r.Name + " " + r.What
		for _, c := range r.Changes {
			line += fmt.Sprintf(", %s: %s → %s", c.Member, c.Old, c.New)
		}
		out = append(out, line)
	}
	return out
}

func TestAListIsAppliedOnceAndThenItIsAsItSays(t *testing.T) {
	for _, beside := range []bool{false, true} {
		w := newWorld(t, "contoso", "fabrikam", "adatum")
		w.local.Clouds, w.local.Apps = []string{"worldwide", "gcc"}, []string{"default", "gov"}
		n := 0
		w.each(func(api admin.API) {
			if n++; (n == 2) != beside {
				return
			}
			o := admin.ApplyOrder{DryRun: true, Tenants: []admin.NewTenant{
				{ID: idOf(0), Name: "contoso-emea", Customer: "contoso", Region: "eu", Sources: []drover.SourceID{drover.GraphAlerts, drover.MDEAlerts}, State: drover.Paused, Start: "30d"},
				{ID: nobodys, Name: "contoso", App: "gov", Cloud: "gcc"}, // takes the name that becomes free
				{ID: idOf(1), Name: "fabrikam", Sources: []drover.SourceID{drover.SIEMDetections, drover.GraphAlerts}},
			}}
			want := []string{"contoso-emea changed, name: contoso → contoso-emea, region: none → eu, sources: graph.alerts, siem.detections → graph.alerts, mde.alerts, state: active → paused",
				"contoso added", "fabrikam unchanged", "adatum surplus"}
			before, err := w.ListTenants(w.Context())
			w.must(err)
			g, _ := w.Generation(w.Context())
			for range 2 {
				res, err := api.ApplyTenants(w.Context(), o)
				w.must(err)
				if diff := cmp.Diff(want, told(res)); diff != "" || len(res.Wrong) > 0 {
					t.Errorf("dry: %s %v", diff, res.Wrong)
				}
			}
			if after, _ := w.ListTenants(w.Context()); !cmp.Equal(before, after) {
				t.Errorf("a dry run has changed %s", cmp.Diff(before, after))
			}
			o.DryRun = false
			res, err := api.ApplyTenants(w.Context(), o)
			w.must(err)
			if diff := cmp.Diff(want, told(res)); diff != "" {
				t.Errorf("applied: %s", diff)
			}
			if g2, _ := w.Generation(w.Context()); g2 != g+2 {
				t.Errorf("%d transactions of two tenants", g2-g)
			}
			res, err = api.ApplyTenants(w.Context(), o)
			w.must(err)
			if got := told(res); !slices.Equal(got, []string{"contoso-emea unchanged", "contoso unchanged", "fabrikam unchanged", "adatum surplus"}) {
				t.Errorf("again: %q", got)
			}
			x, err := w.FindTenant(w.Context(), "contoso-emea")
			w.must(err)
			if string(x.ID) != idOf(0) || x.State != drover.Paused || x.Region != "eu" || x.Primary() != drover.GraphAlerts || x.Customer != "contoso" || x.Start != before[1].Start {
				t.Errorf("%+v", x)
			}
			// What is left out stays as it is.
			res, err = api.ApplyTenants(w.Context(), admin.ApplyOrder{Tenants: []admin.NewTenant{{ID: idOf(0), Name: "contoso-emea"}}})
			w.must(err)
			if told(res)[0] != "contoso-emea unchanged" {
				t.Errorf("of a name alone: %q", told(res))
			}
		})
	}
}

// Each of these lists has one thing wrong, and something right that must not be
// done.
func TestNothingIsChangedIfAnythingIsWrong(t *testing.T) {
	w := newWorld(t, "contoso", "fabrikam", "adatum", "gone")
	w.local.Clouds, w.local.Apps = []string{"worldwide", "gcc"}, []string{"default"}
	w.local.Serves = func(_ drover.Tenant, s drover.SourceID) error {
		if s == drover.MDEAlerts {
			return &drover.Error{Op: "find the API", Hint: "another cloud has it", Err: errors.New("the cloud has no such API")}
		}
		return nil
	}
	w.must(w.RemoveTenant(t.Context(), feed(3).Tenant))
	w.must(w.HoldTenant(t.Context(), feed(2).Tenant, "litigation"))
	right := admin.NewTenant{ID: nobodys, Name: "new"}
	refused, cases := 0, map[string]struct {
		list  []admin.NewTenant
		prune bool
		row   int
		key   string
		says  []string
	}{
		"an unknown app":          {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso", App: "gov"}}, false, 1, "app", []string{`no app named "gov"`, "known are: default", "apps: in the config"}},
		"an unknown cloud":        {[]admin.NewTenant{right, {ID: strings.Replace(nobodys, "ff", "fe", 1), Name: "x", Cloud: "moon"}}, false, 1, "cloud", []string{`no cloud named "moon"`, "clouds: in the config"}},
		"another cloud":           {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso", Cloud: "gcc"}}, false, 1, "cloud", []string{"cannot change; it is worldwide", "drover tenant remove contoso"}},
		"another start":           {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso", Start: "2020-01-01"}}, false, 1, "start", []string{"cannot change", "drover backfill --tenant contoso --from 2020-01-01"}},
		"a source that is not":    {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso", Sources: []drover.SourceID{drover.MDEAlerts}}}, false, 1, "sources", []string{"cannot be read by mde.alerts", "another cloud has it"}},
		"a region that is not":    {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso", Region: "mars"}}, false, 1, "region", []string{`no region named "mars"`}},
		"another ledger's region": {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso", Regions: []string{"eu"}}}, false, 1, "regions", []string{"may be kept in eu only", "bound to no region"}},
		"a removed tenant":        {[]admin.NewTenant{right, {ID: idOf(3), Name: "gone"}}, false, 1, "id", []string{"was removed", "drover tenant add " + idOf(3)}},
		"a removed one's name":    {[]admin.NewTenant{right, {ID: idOf(0), Name: "gone"}}, false, 1, "name", []string{"was that of the tenant " + idOf(3)}},
		"another's name":          {[]admin.NewTenant{right, {ID: idOf(0), Name: "fabrikam"}}, false, 1, "name", []string{"is that of the tenant " + idOf(1), "an ID never changes"}},
		"the name of one that stays": {[]admin.NewTenant{{ID: nobodys, Name: "contoso"}, {ID: idOf(0), Name: "contoso"}}, false, 0, "name",
			[]string{"is that of the tenant " + idOf(0)}},
		"exchanged names":      {[]admin.NewTenant{right, {ID: idOf(0), Name: "fabrikam"}, {ID: idOf(1), Name: "contoso"}}, false, 1, "name", []string{"exchange their names"}},
		"an ID twice":          {[]admin.NewTenant{right, right}, false, 1, "id", []string{"is entry 1 already"}},
		"a bad ID":             {[]admin.NewTenant{right, {ID: "x", Name: "x"}}, false, 1, "id", []string{"is not a tenant ID"}},
		"a bad name":           {[]admin.NewTenant{right, {ID: idOf(0), Name: "Contoso Ltd."}}, false, 1, "name", []string{"short name"}},
		"prune of a held one":  {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso"}}, true, -1, "", []string{"adatum is not in the list and is held: litigation", "drover tenant hold adatum --release"}},
		"prune of everything":  {nil, true, -1, "", []string{"names no tenant"}},
		"an app, in a dry run": {[]admin.NewTenant{right, {ID: idOf(0), Name: "contoso", App: "gov"}}, false, 1, "app", []string{"gov"}},
	}
	before, err := w.ListTenants(t.Context())
	w.must(err)
	for name, tt := range cases {
		for _, dry := range []bool{false, true} {
			res, err := w.local.ApplyTenants(t.Context(), admin.ApplyOrder{Tenants: tt.list, Prune: tt.prune, DryRun: dry})
			w.must(err)
			i := slices.IndexFunc(res.Wrong, func(x admin.Wrong) bool { return x.Row == tt.row && x.Key == tt.key })
			if i < 0 || len(res.Tenants) > 0 {
				t.Errorf("%s: %+v", name, res)
				continue
			}
			for _, says := range tt.says {
				if !strings.Contains(res.Wrong[i].Error(), says) {
					t.Errorf("%s: says %q, want %q in it", name, res.Wrong[i].Error(), says)
				}
			}
			if after, _ := w.ListTenants(t.Context()); !cmp.Equal(before, after) {
				t.Errorf("%s has changed %s", name, cmp.Diff(before, after))
				continue
			}
			refused++
		}
	}
	proof.Ran(t, "tenants.apply", "%d of %d lists that a ledger or a drover.yaml forbids: refused by name and member, and nothing changed", refused, 2*len(cases))
}

func TestALedgerTakesOnlyTenantsThatMayBeKeptInItsRegion(t *testing.T) {
	store := sqlitetest.Open(t, t.TempDir(), sqlite.Options{Region: "eu"})
	defer func() { _ = store.Close() }()
	l := &admin.Local{Store: store}
	for i, tt := range []struct {
		regions []string
		ok      bool
	}{{nil, true}, {[]string{"eu"}, true}, {[]string{"us", "eu"}, true}, {[]string{"us"}, false}, {[]string{"EU"}, false}} {
		n := admin.NewTenant{ID: idOf(i), Name: fmt.Sprint("t-", i), Regions: tt.regions}
		res, err := l.ApplyTenants(t.Context(), admin.ApplyOrder{Tenants: []admin.NewTenant{n}, DryRun: true})
		if err != nil || (len(res.Wrong) == 0) != tt.ok {
			t.Errorf("%v: %+v, %v", tt.regions, res, err)
		}
		if !tt.ok && !strings.Contains(res.Wrong[0].Error(), "this ledger is bound to the region eu") {
			t.Errorf("%v: %s", tt.regions, res.Wrong[0].Error())
		}
		if rows, err := l.ImportTenants(t.Context(), admin.ImportOrder{Tenants: []admin.NewTenant{n}, DryRun: true}); err != nil || (rows[0].What == admin.Added) != tt.ok {
			t.Errorf("imported %v: %+v, %v", tt.regions, rows, err)
		}
		if _, err := l.AddTenant(t.Context(), n); (err == nil) != tt.ok {
			t.Errorf("added %v: %v", tt.regions, err)
		}
	}
}

func TestPruneRemovesWhatIsNotInTheListOnceItHasDrained(t *testing.T) {
	w := newWorld(t, "contoso", "fabrikam", "adatum")
	w.local.Routed = func(drover.Tenant, drover.SourceID, drover.SinkID) bool { return true }
	w.must(w.Sinks(t.Context(), []ledger.SinkPlace{{Sink: "soc", FromAll: true}}))
	w.commit(feed(1), state(1, 1, "high", "new", "x"))
	o := admin.ApplyOrder{Tenants: []admin.NewTenant{{ID: idOf(0), Name: "contoso"}}, Prune: true, DryRun: true}
	apply := func(want ...string) admin.Applied {
		t.Helper()
		res, err := w.local.ApplyTenants(t.Context(), o)
		w.must(err)
		if got := told(res); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		return res
	}
	apply("contoso unchanged", "adatum removed", "fabrikam removed")
	o.DryRun = false
	res := apply("contoso unchanged", "adatum removed", "fabrikam leaving")
	if res.Tenants[2].Owed["soc"] != 1 {
		t.Errorf("owed: %v", res.Tenants[2].Owed)
	}
	if x, _ := w.FindTenant(t.Context(), "fabrikam"); x.State != drover.Paused {
		t.Errorf("one that is leaving is %s", x.State)
	}
	w.must(w.Settle(t.Context(), ledger.Settle{Sink: "soc", Done: []drover.Range{{Feed: feed(1), First: 1, Last: 1}}, Taken: 1}))
	apply("contoso unchanged", "fabrikam removed")
	apply("contoso unchanged")
}

func TestRowsAreImportedOneByOne(t *testing.T) {
	told := 0
	for _, beside := range []bool{false, true} {
		w := newWorld(t, "contoso", "gone")
		w.local.Apps = []string{"default"}
		w.must(w.RemoveTenant(t.Context(), feed(1).Tenant))
		n := 0
		w.each(func(api admin.API) {
			if n++; (n == 2) != beside {
				return
			}
			rows := []admin.NewTenant{{ID: idOf(5), Name: "a"}, {ID: idOf(6), Name: "a"}, {ID: idOf(5), Name: "b"}, {ID: idOf(0), Name: "contoso", Region: "eu"}, {ID: idOf(0), Name: "contoso"},
				{ID: idOf(1), Name: "gone"}, {ID: idOf(7), Name: "c", App: "none"}, {ID: idOf(8), Name: "gone"}, {ID: idOf(9), Name: "z", State: drover.Paused}}
			want := []string{"added", "refused: the name a is that of the tenant " + idOf(5), "exists", "exists", "exists", "refused: this tenant was removed", "refused: there is no app named \"none\"", "refused: the name gone is that of", "added"}
			for _, dry := range []bool{true, true, false} {
				list, err := api.ImportTenants(w.Context(), admin.ImportOrder{Tenants: rows, DryRun: dry})
				w.must(err)
				for i, r := range list {
					got := strings.TrimSuffix(r.What+": "+r.Why, ": ")
					if !strings.HasPrefix(got, want[i]) || r.Row != i {
						t.Errorf("dry %t, row %d: %q, want %q", dry, i, got, want[i])
					} else {
						told++
					}
				}
			}
			x, err := w.FindTenant(w.Context(), "z")
			w.must(err)
			if c, _ := w.FindTenant(w.Context(), "contoso"); x.State != drover.Paused || c.Region != "" {
				t.Errorf("%+v %+v", x, c)
			}
			if all, _ := w.ListTenants(w.Context()); len(all) != 4 {
				t.Errorf("%d tenants", len(all))
			}
		})
	}
	proof.Ran(t, "tenants.import", "%d of 54 rows told as they are (added, exists, refused and why), dry and done, beside a running drover and alone", told)
}

func TestAHoldIsShownAndKeepsTheTenant(t *testing.T) {
	w := newWorld(t, "contoso")
	w.each(func(api admin.API) {
		if err := api.HoldTenant(w.Context(), "contoso", " "); !strings.Contains(drover.HintOf(err), "--why") {
			t.Errorf("without a reason: %v", err)
		}
		w.must(api.HoldTenant(w.Context(), "contoso", "litigation"))
		s, err := api.Tenant(w.Context(), "contoso")
		w.must(err)
		if s.Held == nil || s.Held.Why != "litigation" || !s.Held.Since.Known() {
			t.Errorf("held: %+v", s.Held)
		}
		for _, discard := range []bool{false, true} {
			_, err := api.RemoveTenant(w.Context(), "contoso", discard)
			if drover.KindOf(err) != drover.Refused || !strings.Contains(err.Error(), "held: litigation") || !strings.Contains(drover.HintOf(err), "drover tenant hold contoso --release") {
				t.Errorf("removed: %v", err)
			}
		}
		if s, _ := api.Tenant(w.Context(), "contoso"); s.State != drover.Active {
			t.Errorf("a removal that was refused has made it %s", s.State)
		}
		w.must(api.ReleaseTenant(w.Context(), "contoso", ""))
		if s, _ := api.Tenant(w.Context(), "contoso"); s.Held != nil {
			t.Errorf("released, and held: %+v", s.Held)
		}
		if err := api.ReleaseTenant(w.Context(), "contoso", ""); !strings.Contains(err.Error(), "is not held") {
			t.Errorf("twice: %v", err)
		}
	})
}

// What follows from a change by the routes is said with it.
func TestAChangeSaysWhereAlertsGoFromNowOn(t *testing.T) {
	w := newWorld(t, "contoso")
	w.local.Sinks = []drover.SinkID{"soc", "theirs"}
	w.local.Routed = func(x drover.Tenant, _ drover.SourceID, to drover.SinkID) bool {
		return to == "soc" || x.Name == "contoso"
	}
	res, err := w.local.ApplyTenants(t.Context(), admin.ApplyOrder{DryRun: true, Tenants: []admin.NewTenant{{ID: idOf(0), Name: "other", Sources: []drover.SourceID{drover.SIEMDetections}}}})
	w.must(err)
	if got := res.Tenants[0].Notes; !slices.Equal(got, []string{"its alerts are told by siem.detections, no longer by graph.alerts", "by the routes, siem.detections goes to the sink theirs no longer"}) {
		t.Errorf("notes: %q", got)
	}
}

// taken is a ledger in which somebody else changes a tenant just before.
type taken struct{ ledger.Store }

func (x taken) ListTenants(ctx context.Context) ([]drover.Tenant, error) {
	list, err := x.Store.ListTenants(ctx)
	return list, errors.Join(err, x.SetTenantState(ctx, list[0].ID, drover.Paused))
}

func TestATenantThatSomebodyElseChangesFailsAlone(t *testing.T) {
	w := newWorld(t, "contoso", "fabrikam")
	l := &admin.Local{Store: taken{w.Store}}
	res, err := l.ApplyTenants(t.Context(), admin.ApplyOrder{Tenants: []admin.NewTenant{{ID: idOf(0), Name: "contoso", Region: "eu"}, {ID: idOf(1), Name: "fabrikam", Region: "eu"}}})
	w.must(err)
	if got := told(res); !slices.Equal(got, []string{"contoso failed", "fabrikam changed, region: none → eu"}) || !strings.Contains(res.Tenants[0].Why, "apply the list again") {
		t.Errorf("%q %+v", got, res)
	}
	if x, _ := w.FindTenant(t.Context(), "contoso"); x.Region != "" || x.State != drover.Paused {
		t.Errorf("%+v", x)
	}
}

func TestANewTenantIsPutUnderTheOldOnesCustomer(t *testing.T) {
	w := newWorld(t, "contoso", "woodgrove", "gone")
	w.must(w.RemoveTenant(t.Context(), feed(2).Tenant))
	w.local.Sinks = []drover.SinkID{"theirs"}
	w.local.Routed = func(x drover.Tenant, s drover.SourceID, _ drover.SinkID) bool {
		return x.Customer == "contoso" && !x.Secondary(s)
	}
	n := 0
	w.each(func(api admin.API) {
		want := []string{"customer: woodgrove → contoso", "by the routes, graph.alerts goes to the sink theirs from now on"}
		if n++; n == 2 {
			want = nil
		}
		r, err := api.MoveTenant(w.Context(), "contoso", idOf(1))
		w.must(err)
		var got []string
		for _, c := range r.Changes {
			got = append(got, c.Member+": "+c.Old+" → "+c.New)
		}
		if got = append(got, r.Notes...); !slices.Equal(got, want) || r.Name != "woodgrove" {
			t.Errorf("%+v", r)
		}
		if x, _ := w.FindTenant(w.Context(), "woodgrove"); x.Customer != "contoso" || x.State != drover.Active {
			t.Errorf("%+v", x)
		}
		for to, says := range map[string]string{"nobody": "drover tenant add TENANT-ID --name … --customer contoso", idOf(0): "the old one, then the new one", "gone": "drover tenant add " + idOf(2) + " --customer contoso"} {
			if _, err := api.MoveTenant(w.Context(), "contoso", to); drover.KindOf(err) != drover.Refused || !strings.Contains(drover.HintOf(err), says) {
				t.Errorf("to %s: %v, %s", to, err, drover.HintOf(err))
			}
		}
	})
}

// halting stops the one who asks after the first tenant.
type halting struct {
	ledger.Store
	stop context.CancelFunc
}

func (h halting) AddTenant(ctx context.Context, t drover.Tenant) error {
	defer h.stop()
	return h.Store.AddTenant(ctx, t)
}

func TestWhoStopsAListIsToldWhatWasDone(t *testing.T) {
	w := newWorld(t)
	o := []admin.NewTenant{{ID: idOf(0), Name: "a", Region: "EU"}, {ID: idOf(1), Name: "b"}}
	for i := range 2 {
		ctx, stop := context.WithCancel(t.Context())
		l := &admin.Local{Store: halting{w.Store, stop}}
		var got []string
		var err error
		if i == 0 {
			var res admin.Applied
			res, err = l.ApplyTenants(ctx, admin.ApplyOrder{Tenants: o})
			got = told(res)
		} else {
			var rows []admin.TenantResult
			rows, err = l.ImportTenants(ctx, admin.ImportOrder{Tenants: []admin.NewTenant{o[1], {ID: idOf(2), Name: "c"}}})
			got = told(admin.Applied{Tenants: rows})
		}
		if want := [][]string{{"a added", "b failed"}, {"b added"}}[i]; !errors.Is(err, context.Canceled) || !slices.Equal(got, want) {
			t.Errorf("%q, %v", got, err)
		}
		if list, _ := w.ListTenants(t.Context()); len(list) != i+1 || list[0].Region != "eu" {
			t.Errorf("%+v", list)
		}
		stop()
	}
}

func TestWhatRemainsOfARemovedTenantIsTold(t *testing.T) {
	w := newWorld(t, "contoso")
	w.must(w.Sinks(t.Context(), []ledger.SinkPlace{{Sink: "soc", FromAll: true}}))
	w.commit(feed(0), state(1, 1, "high", "new", "kan4rie"))
	w.each(func(api admin.API) {
		if r, err := api.RemoveTenant(w.Context(), "contoso", true); err != nil || !r.Removed {
			t.Fatalf("%+v, %v", r, err)
		}
		list, err := api.Erasures(w.Context())
		w.must(err)
		want := []admin.ErasureStatus{{ID: feed(0).Tenant, Name: "contoso", Customer: "contoso", At: drover.InstantOf(began), Incarnation: w.Identity().Incarnation, Host: list[0].Host,
			Counts: map[drover.SinkID]map[string]int64{"": {"revisions": 1}, "soc": {"discarded": 1}}}}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Error(diff)
		}
	})
}
