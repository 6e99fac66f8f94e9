package estate_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/proof"
)

const tenant = "11111111-0000-4000-8000-000000000001"

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// shown is one state as it was first seen.
type shown struct {
	row estate.Row
	at  time.Time
}

// watch looks every step and returns each state when it first shows.
func watch(e *estate.Estate, source string, step, span time.Duration) (list []shown) {
	type key struct {
		id  string
		rev int
	}
	seen := make(map[key]bool)
	for at := noon; !at.After(noon.Add(span)); at = at.Add(step) {
		e.See(tenant, source, at, func(v estate.View) {
			for _, r := range v.Rows {
				if k := (key{r.ID, r.Rev}); !seen[k] {
					seen[k] = true
					list = append(list, shown{*r, at})
				}
			}
		})
	}
	return list
}

func TestARowShowsNoLaterThanItsBoundAndSomeDoShowLate(t *testing.T) {
	const late = 20 * time.Minute
	e := estate.New(3, noon, nil)
	e.Add(estate.Options{ID: tenant, Backlog: 50, PerMinute: 10, Horizon: time.Hour, Updates: 1, LateShare: 0.3, LateMax: late})
	n, behind, worst := 0, 0, time.Duration(0)
	for _, s := range watch(e, estate.Graph, time.Second, 2*time.Hour) {
		if s.at.Equal(noon) { // the backlog: when it showed is not seen
			continue
		}
		lag := s.at.Sub(s.row.Changed)
		if s.row.Visible.After(s.at) || lag > late+time.Second || lag < 0 {
			t.Fatalf("%s shows %v after its change", s.row.ID, lag)
		}
		n++
		if lag > time.Minute {
			behind++
		}
		worst = max(worst, lag)
	}
	if n < 700 || behind < n/10 || worst < late*8/10 {
		t.Fatalf("%d states, %d late, worst %v", n, behind, worst)
	}
	proof.Ran(t, "P09", "the pretend cloud: of %d states %d show more than a minute late, the worst %v, the bound %v", n, behind, worst.Truncate(time.Second), late)
}

func TestChangeTimesLieOnTheGridAndTie(t *testing.T) {
	const ties = 60
	e := estate.New(1, noon, nil)
	e.Add(estate.Options{ID: tenant, PerMinute: 20, Horizon: 30 * time.Minute, Updates: 1, Ties: ties})
	var tied []time.Time
	off, lengths, n := 0, make(map[int]bool), 0
	at := make(map[time.Time]int)
	for _, s := range watch(e, estate.Graph, time.Second, time.Hour) {
		n++
		// n/300 s, cut to 100 ns
		ns := int64(s.row.Changed.Nanosecond())
		k := (ns*300 + 300*100 - 1) / 1e9
		if ns != k*1e9/300/100*100 {
			off++
		}
		if s.row.Rev == 0 {
			at[s.row.Changed]++
		}
		for _, text := range []string{s.row.Text, estate.Text(s.row.Created)} {
			_, fraction, _ := strings.Cut(strings.TrimSuffix(text, "Z"), ".")
			lengths[len(fraction)] = true
		}
		tied = append(tied, s.row.Changed)
	}
	most := 0
	for _, k := range at {
		most = max(most, k)
	}
	if off > 0 || most < ties || len(tied) < 600 {
		t.Fatalf("%d of %d off the grid, at most %d with one time", off, n, most)
	}
	for digits := range 8 {
		if !lengths[digits] {
			t.Errorf("no time has %d digits", digits)
		}
	}
	proof.Ran(t, "P14", "the pretend cloud: %d states, off the 1/300 s grid %d, with one and the same time %d", n, off, most)
}

func TestReplicasAnswerInTurnAndTheSilentChangeArrives(t *testing.T) {
	e := estate.New(1, noon, nil)
	e.Add(estate.Options{ID: tenant, PerMinute: 10, Horizon: 10 * time.Minute, Silent: 0.5, Replicas: true})
	at := noon.Add(20 * time.Minute)
	reads := make([]map[string]string, 4)
	for i := range reads {
		reads[i] = make(map[string]string)
		e.See(tenant, estate.Graph, at, func(v estate.View) {
			for _, r := range v.Rows {
				reads[i][r.ID] = string(e.Render(nil, r, v.Read, v.Opt))
			}
		})
	}
	differ, times := 0, 0
	for id, a := range reads[0] {
		b := reads[1][id]
		if a != b {
			differ++
			if changed(t, a) != changed(t, b) {
				times++
			}
		}
		if a != reads[2][id] || b != reads[3][id] {
			t.Fatal("replicas do not come in turn")
		}
	}
	if differ < 10 || times > 0 {
		t.Fatalf("%d of %d rows differ between the replicas, %d in their time", differ, len(reads[0]), times)
	}
	proof.Ran(t, "P11", "the pretend cloud: %d of %d rows differ between two replicas that answer in turn, their change times in %d", differ, len(reads[0]), times)
}

func changed(t *testing.T, row string) string {
	t.Helper()
	var a struct {
		Changed string `json:"lastUpdateDateTime"`
	}
	if err := json.Unmarshal([]byte(row), &a); err != nil {
		t.Fatal(err)
	}
	return a.Changed
}

func TestAnAlertThatReturnsHasItsOldBytesAndTime(t *testing.T) {
	e := estate.New(1, noon, nil)
	e.Add(estate.Options{ID: tenant, Backlog: 3})
	look := func(at time.Time) (id, row string) {
		e.See(tenant, estate.Graph, at, func(v estate.View) {
			id, row = v.Rows[0].ID, string(e.Render(nil, v.Rows[0], v.Read, v.Opt))
		})
		return id, row
	}
	id, a := look(noon.Add(time.Second))
	e.Change(tenant, id, noon.Add(2*time.Second), true)
	_, b := look(noon.Add(2 * time.Second))
	e.Return(tenant, id, noon.Add(3*time.Second))
	_, again := look(noon.Add(3 * time.Second))
	if a == b || changed(t, a) != changed(t, b) || again != a {
		t.Errorf("silent change seen %v, returned %v", a != b, again == a)
	}
}

func TestASourceCanBeSeenAsItWas(t *testing.T) {
	story := estate.Options{ID: tenant, Backlog: 30, PerMinute: 10, Horizon: time.Hour, Updates: 2, LateShare: 0.2, LateMax: 5 * time.Minute}
	was, now := estate.New(1, noon, nil), estate.New(1, noon, nil)
	was.Add(story)
	now.Add(story)
	list := func(rows []*estate.Row) (keys []string) {
		for _, r := range rows {
			keys = append(keys, fmt.Sprint(r.ID, r.Rev))
		}
		return keys
	}
	for at := noon; at.Before(noon.Add(time.Hour)); at = at.Add(10 * time.Minute) {
		var want, got []string
		was.See(tenant, estate.Graph, at, func(v estate.View) { want = list(v.Rows) })
		now.See(tenant, estate.Graph, noon.Add(2*time.Hour), func(v estate.View) { got = list(estate.AsOf(v.Rows, at)) })
		if !slices.Equal(want, got) || len(want) < 30 {
			t.Fatalf("at %v: %d rows then, %d by looking back", at, len(want), len(got))
		}
	}
}

func TestAllTypesOfEvidenceOccurAndEndSomewhere(t *testing.T) {
	types := strings.Fields(`activeDirectoryDomain aiAgent amazonResource analyzedMessage azureResource blobContainer blob cloudApplication cloudLogonRequest cloudLogonSession container containerImage
		containerRegistry device dns file fileHash gitHubOrganization gitHubRepo gitHubUser googleCloudResource hostLogonSession ioTDevice ip kubernetesCluster kubernetesController kubernetesNamespace
		kubernetesPod kubernetesSecret kubernetesServiceAccount kubernetesService mailboxConfiguration mailbox mailCluster malware networkConnection nic oauthApplication process registryKey registryValue
		sasToken securityGroup servicePrincipal submissionMail teamsMessage url user`)
	if len(types) != 48 {
		t.Fatalf("the list has %d", len(types))
	}
	e := estate.New(1, noon, nil)
	e.Add(estate.Options{ID: tenant, Backlog: 3000})
	seen, deepest, unheard := make(map[string]int), 0, 0
	e.See(tenant, estate.Graph, noon.Add(time.Hour), func(v estate.View) {
		for _, r := range v.Rows {
			var a struct {
				TenantID string           `json:"tenantId"`
				Evidence []map[string]any `json:"evidence"`
				Title    string           `json:"title"`
				Incident string           `json:"incidentId"`
				Comments []any            `json:"comments"`
			}
			raw := e.Render(nil, r, v.Read, v.Opt)
			if err := json.Unmarshal(raw, &a); err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			if a.TenantID != tenant || a.Title == "" || a.Incident == "" || len(a.Evidence) == 0 {
				t.Fatalf("%.300s", raw)
			}
			for _, piece := range a.Evidence {
				kind, _ := piece["@odata.type"].(string)
				kind = strings.TrimSuffix(strings.TrimPrefix(kind, "#microsoft.graph.security."), "Evidence")
				seen[kind]++
				for _, name := range []string{"createdDateTime", "verdict", "remediationStatus", "remediationStatusDetails", "roles", "detailedRoles", "tags"} {
					if _, ok := piece[name]; !ok {
						t.Fatalf("%s has no %s", kind, name)
					}
				}
				deepest = max(deepest, depth(piece))
			}
		}
	})
	for _, k := range types {
		if seen[k] == 0 {
			t.Errorf("no %sEvidence", k)
		}
		delete(seen, k)
	}
	for k, n := range seen {
		if k != "someNew" {
			t.Errorf("unknown type %s", k)
		}
		unheard += n
	}
	if unheard == 0 || deepest < 3 || deepest > 12 {
		t.Errorf("%d of an unheard-of type, %d deep", unheard, deepest)
	}
}

func depth(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			n = max(n, depth(x))
		}
		return n + 1
	case []any:
		for _, x := range v {
			n = max(n, depth(x))
		}
		return n + 1
	}
	return 0
}

func TestTwinsHaveOneIDInTwoTenants(t *testing.T) {
	const other = "22222222-0000-4000-8000-000000000002"
	e := estate.New(1, noon, nil)
	ids := make(map[string]int)
	for _, id := range []string{tenant, other} {
		e.Add(estate.Options{ID: id, Backlog: 50, Twins: 7})
		e.See(id, estate.Graph, noon.Add(time.Hour), func(v estate.View) {
			for _, r := range v.Rows {
				ids[r.ID]++
			}
		})
	}
	twins := 0
	for _, n := range ids {
		if n == 2 {
			twins++
		}
	}
	if twins != 7 || len(ids) != 93 {
		t.Errorf("%d twins, %d IDs", twins, len(ids))
	}
}

// Files of each form give rows that have the bytes of the file.
func TestDataKeepsTheBytesOfTheFile(t *testing.T) {
	dir := t.TempDir()
	const spaced = "{\n      \"id\": \"da1\",\n\t\"tenantId\": \"3C9F6B1E-0d0b-4a77-9d34-1b2c3d4e5f60\" ,\r\n \"lastUpdateDateTime\": \"2023-04-14T09:53:09.27Z\", \"severity\":\"low\", \"n\":18446744073709551616}"
	for name, text := range map[string]string{
		"graph_alerts/collection.json": `{"@odata.context":"x","value":[` + spaced + ` , {"id":"da2","lastUpdateDateTime":"2023-04-14T09:53:09Z","tenantId":"none"}]}`,
		"graph_alerts/lines.ndjson":    `{"id":"da3","lastUpdateDateTime":"2023-04-14T09:53:09Z"}` + "\n\n" + ` {"id":"da4","lastUpdateDateTime":"2023-04-14T09:53:09Z","assignedTo":"x"} ` + "\r\n",
		"graph_alerts/one.json":        "\n" + `{"id":"da1","tenantId":"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60","lastUpdateDateTime":"2023-04-15T00:00:00Z"}` + "\n",
		"graph_alerts/note.md":         "no row",
		"graph_alerts/other.json":      `{"comment":"no alert"}`,
		"graph_incidents/all.json":     `{"value":[ {"id":"7","tenantId":"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "lastUpdateDateTime":"2021-09-30T09:35:45.1133333Z","createdDateTime":"2021-09-30T09:00:00Z","status":"Active"} ]}`,
		"graph_incidents/older.ndjson": `{"incidentId":8,"lastUpdateTime":"2021-09-30T09:35:45.1133333Z"}`,
		"mde_alerts/lines.ndjson": `{"id":"da6_-8", "incidentId":7587, "investigationId":null,"lastUpdateTime":"2020-07-20T10:53:50.19Z","alertCreationTime":"2020-07-20T10:00:00Z","lastEventTime":"2020-07-20T09:00:00.5Z","aadTenantId":"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60","detectionSource":"WindowsDefenderAv","category":"Malware","severity":"Low"}
{"id":"da6_-9","lastUpdateTime":"2020-07-20T10:53:50.19Z","aadTenantId":"651x"}`,
		"siem_detections/array.json": `[ {"FullId":"636:x=","LastProcessedTimeUtc":"2020-01-01T00:01:00.1234567Z","MachineGroup":"UK"} ]`,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := estate.ReadData(dir)
	if err != nil {
		t.Fatal(err)
	}
	home := "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"
	if !slices.Equal(d.Tenants(), []string{home}) || d.Files != 8 || len(d.Skipped) != 2 || len(d.Rows[home][estate.Graph]) != 2 || len(d.Rows[""][estate.Graph]) != 3 || len(d.Rows[""][estate.SIEM]) != 1 {
		t.Fatalf("%+v", d)
	}
	found := false
	for _, r := range d.Rows[home][estate.Graph] {
		found = found || string(r.Raw) == spaced && r.Word("severity") == "low" && r.Word("status") == ""
	}
	if !found {
		t.Error("the row with odd blanks has other bytes")
	}
	in, mde := d.Rows[home][estate.Incidents], d.Rows[home][estate.MDE]
	if len(in) != 1 || in[0].ID != "7" || in[0].Text != "2021-09-30T09:35:45.1133333Z" || in[0].Word("status") != "Active" || in[0].Created.Hour() != 9 {
		t.Errorf("incidents: %+v", in)
	}
	if len(mde) != 1 || len(d.Rows[""][estate.MDE]) != 1 || mde[0].ID != "da6_-8" || mde[0].Text != "2020-07-20T10:53:50.19Z" || mde[0].Created.Hour() != 10 || mde[0].LastEvent().Hour() != 9 || mde[0].Word("incidentId") != "7587" ||
		mde[0].Word("investigationId") != "" || mde[0].Word("category") != "Malware" || mde[0].Word("detectionSource") != "WindowsDefenderAv" || mde[0].Word("severity") != "Low" {
		t.Errorf("Defender for Endpoint: %+v", mde)
	}
	if r := d.Rows[""][estate.SIEM][0]; r.Group() != "UK" {
		t.Errorf("group %q", r.Group())
	}
	e := estate.New(1, noon, nil)
	e.Serve(d, tenant, home, 5*time.Second)
	var rendered []string
	for _, at := range []time.Time{noon, noon.Add(10 * time.Second)} { // two states of one alert
		e.See(tenant, estate.Graph, at, func(v estate.View) {
			for _, r := range v.Rows {
				rendered = append(rendered, string(e.Render(nil, r, v.Read, v.Opt)))
			}
		})
	}
	if len(rendered) != 2 || !slices.Contains(rendered, spaced) || rendered[0] == rendered[1] {
		t.Errorf("%q", rendered)
	}
	if _, err := estate.ReadData(t.TempDir()); err == nil {
		t.Error("a directory without rows is taken")
	}
}
