package estate_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"drover/internal/lab/estate"
)

// live is a story of incidents that are watched while they change.
var live = estate.Options{ID: tenant, PerMinute: 30, Horizon: 20 * time.Minute, Updates: 1.5, Silent: 0.5, LateShare: 0.1, LateMax: 10 * time.Minute, Incidents: true, MDE: true, Foreign: 2, Unnamed: 3, Bad: 4}

func TestMergedIncidentsAreRedirectedAndTheirAlertsMoveAtOneTime(t *testing.T) {
	e := estate.New(5, noon, nil)
	e.Add(live)
	incidents, alerts := watch(e, estate.Incidents, time.Second, 40*time.Minute), watch(e, estate.Graph, time.Second, 40*time.Minute)
	at := make(map[time.Time]int) // alerts that a change moved
	for _, s := range alerts {
		if s.row.Rev > 0 {
			at[s.row.Changed]++
		}
	}
	redirected, tied, silent, after := 0, 0, 0, make(map[string]bool)
	times := make(map[string]time.Time)
	for _, s := range incidents {
		if after[s.row.ID] && s.row.Kind == "" {
			t.Errorf("%s lives on behind its merge", s.row.ID)
		}
		if s.row.Word("status") == "redirected" {
			redirected++
			after[s.row.ID] = true
			tied = max(tied, at[s.row.Changed])
			if at[s.row.Changed] == 0 {
				t.Errorf("no alert of %s moved", s.row.ID)
			}
		}
		if s.row.Rev > 0 && times[s.row.ID].Equal(s.row.Changed) {
			silent++
		}
		times[s.row.ID] = s.row.Changed
	}
	if redirected < 10 || tied < 4 || silent < 10 {
		t.Errorf("%d merges, at most %d alerts moved at once, %d silent changes of %d states", redirected, tied, silent, len(incidents))
	}
}

// Every row of the new sources is what its kind says, and of one seed there is
// one story.
func TestIncidentsAndEndpointAlertsFollowFromTheSeed(t *testing.T) {
	type state struct {
		source, id, text string
		rev              int
	}
	tell := func(seed uint64) (list []state) {
		e := estate.New(seed, noon, nil)
		e.Add(live)
		for at := noon; at.Before(noon.Add(40 * time.Minute)); at = at.Add(2 * time.Minute) {
			e.See(tenant, estate.Incidents, at, func(v estate.View) {
				for _, r := range v.Rows {
					list = append(list, state{estate.Incidents, r.ID, string(e.RenderIncident(nil, r, estate.Within(v.Alerts, r.ID), v)), r.Rev})
				}
			})
			e.See(tenant, estate.MDE, at, func(v estate.View) {
				for _, r := range v.Rows {
					list = append(list, state{estate.MDE, r.ID, string(e.RenderEndpoint(nil, r, v.Read, v.Opt, true)), r.Rev})
				}
			})
		}
		return list
	}
	a := tell(7)
	if !slices.Equal(a, tell(7)) || slices.Equal(a, tell(8)) {
		t.Error("the same seed tells another story, or another one the same")
	}
	e := estate.New(7, noon, nil)
	e.Add(live)
	for source, member := range map[string]string{estate.Incidents: "tenantId", estate.MDE: "aadTenantId"} {
		kinds := make(map[string]int)
		for _, s := range watch(e, source, time.Minute, 2*time.Hour) {
			raw := e.RenderIncident(nil, &s.row, nil, estate.View{})
			if source == estate.MDE {
				raw = e.RenderEndpoint(nil, &s.row, 0, estate.Options{}, true)
			}
			var row map[string]any
			if err := json.Unmarshal(raw, &row); err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			kind := s.row.Kind
			switch {
			case kind == "foreign" && row[member] != s.row.Claims, kind == "" && s.row.Claims == "" && (row[member] != tenant || row["id"] != s.row.ID), kind == "bad" && row["id"] == s.row.ID && row["noid"] != nil:
				t.Errorf("a %q row is %s", kind, raw)
			case kind == "" && s.row.Claims != "":
				kind = "unnamed"
			}
			kinds[kind]++
		}
		if kinds["foreign"] != 2 || kinds["bad"] != 4 || kinds["unnamed"] < 3 || kinds[""] < 50 {
			t.Errorf("%s: %v", source, kinds)
		}
	}
}

// A story without incidents is the one that it was, and detections do not
// depend on them.
func TestIncidentsChangeNothingElseOfAStory(t *testing.T) {
	list := func(incidents bool) (texts []string) {
		e := estate.New(9, noon, nil)
		e.Add(estate.Options{ID: tenant, Backlog: 200, SIEM: true, Updates: 1, Incidents: incidents, MDE: incidents})
		e.See(tenant, estate.SIEM, noon, func(v estate.View) {
			for _, r := range v.Rows {
				texts = append(texts, string(e.RenderDetection(nil, r, estate.Shape{})))
			}
		})
		return texts
	}
	if a := list(false); len(a) < 200 || !slices.Equal(a, list(true)) {
		t.Error("with incidents the detections are others")
	}
}

func TestIncidentsAndTheirAlertsAreChangedByHand(t *testing.T) {
	e := estate.New(1, noon, nil)
	e.Add(estate.Options{ID: tenant, Backlog: 60, Incidents: true, MDE: true})
	look := func(source string, at time.Time) map[string]estate.Row {
		rows := make(map[string]estate.Row)
		e.See(tenant, source, at, func(v estate.View) {
			for _, r := range v.Rows {
				rows[r.ID] = *r
			}
		})
		return rows
	}
	in := func(id string, at time.Time) (n int) {
		e.See(tenant, estate.Incidents, at, func(v estate.View) { n = len(estate.Within(v.Alerts, id)) })
		return n
	}
	at := noon.Add(time.Minute)
	before := look(estate.Incidents, at)
	e.ChangeIncident(tenant, "1002", at, true)
	e.ChangeIncident(tenant, "1003", at, false)
	e.ChangeIncident(tenant, "none", at, false)
	after := look(estate.Incidents, at)
	if len(after) != len(before) || !after["1002"].Changed.Equal(before["1002"].Changed) || after["1002"].Rev != 1 || !after["1003"].Changed.Equal(at) || after["1003"].Rev != 1 {
		t.Errorf("%+v\n%+v", after["1002"], after["1003"])
	}
	n, m := in("1002", at), in("1003", at)
	at = at.Add(time.Minute)
	e.MergeIncident(tenant, "1002", "1003", at)
	e.MergeIncident(tenant, "1003", "none", at)
	r := look(estate.Incidents, at)["1002"]
	if n == 0 || r.Word("status") != "redirected" || in("1002", at) != 0 || in("1003", at) != n+m || look(estate.Incidents, at)["1003"].Rev != 1 {
		t.Errorf("%d and %d alerts; behind the merge %d and %d, %s", n, m, in("1002", at), in("1003", at), r.Word("status"))
	}
	// What is made or changed at Graph shows at Defender for Endpoint as well.
	var id string
	e.See(tenant, estate.Graph, at, func(v estate.View) {
		for _, r := range v.Rows {
			if r.Service() == "microsoftDefenderForEndpoint" && r.Rev == 0 {
				id = r.ID
			}
		}
	})
	was := look(estate.MDE, at)[id[2:]]
	e.Change(tenant, id, at, false)
	if now := look(estate.MDE, at)[id[2:]]; now.Rev != was.Rev+1 || !now.Changed.Equal(at) {
		t.Errorf("%+v", now)
	}
	look(estate.Graph, at)
	e.Return(tenant, id, at.Add(time.Second))
	if now := look(estate.MDE, at.Add(time.Second))[id[2:]]; now.Rev != was.Rev+2 || !now.Changed.Equal(was.Changed) {
		t.Errorf("%+v", now)
	}
	made := 0
	for i := range 300 { // by the length of its ID it has another product
		e.Put(tenant, estate.Graph, estate.Row{ID: "da" + string(make([]byte, i)) + "x", Created: at, Changed: at, Visible: at})
	}
	e.See(tenant, estate.MDE, at.Add(time.Second), func(v estate.View) {
		for _, r := range v.Rows {
			if r.Changed.Equal(at) {
				made++
			}
		}
	})
	if made < 30 || in("1003", at.Add(time.Second)) != n+m {
		t.Errorf("%d of them show there", made)
	}
}
