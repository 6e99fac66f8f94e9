package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/proof"
)

const incidents = "https://graph.lab.test/v1.0/security/incidents"

// incident is what tests look at in a row.
type incident struct {
	ID          string            `json:"id"`
	TenantID    string            `json:"tenantId"`
	Status      string            `json:"status"`
	Severity    string            `json:"severity"`
	Redirect    *string           `json:"redirectIncidentId"`
	DisplayName string            `json:"displayName"`
	AssignedTo  *string           `json:"assignedTo"`
	Created     time.Time         `json:"createdDateTime"`
	Changed     time.Time         `json:"lastUpdateDateTime"`
	Alerts      []json.RawMessage `json:"alerts"`
}

func (c *cloud) incidents(rows []json.RawMessage) []incident {
	c.Helper()
	list := make([]incident, len(rows))
	for i, raw := range rows {
		if err := json.Unmarshal(raw, &list[i]); err != nil {
			c.Fatalf("%v in %s", err, raw)
		}
	}
	return list
}

var incidentStory = estate.Options{ID: contoso, Backlog: 700, BacklogSpan: 48 * time.Hour, Updates: 1, Incidents: true, MDE: true, Crowd: 12}

func incidentCloud(t *testing.T, sw api.Switches) *cloud {
	c := newCloud(t, sw, incidentStory)
	c.now = c.now.Add(5 * time.Minute)
	return c
}

// known asks for the newer members of enumerations.
var known = []string{"Prefer", "include-unknown-enum-members"}

// by asks for a list with options as name and value in turn, and for new enum
// members.
func (c *cloud) by(base string, options ...string) *http.Response {
	c.Helper()
	return c.ask(base+encoded(options), known...)
}

func TestAPageOfIncidentsHoldsFiftyAndNoMoreCanBeAsked(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	p := c.page(c.by(incidents))
	if len(p.Value) != 50 || !strings.HasSuffix(p.Next, "/v1.0/security/incidents?$skip=50") || !strings.HasSuffix(p.Context, "/v1.0/$metadata#security/incidents") {
		t.Errorf("%d rows, next %s, context %s", len(p.Value), p.Next, p.Context)
	}
	resp := c.by(incidents, "$top", "51")
	body := text(resp)
	if want := `{"error":{"code":"","message":"The query specified in the URI is not valid. The limit of '50' for Top query has been exceeded. The value from the incoming request is '51'.","details":[],"innerError":{`; resp.StatusCode != 400 || !strings.HasPrefix(body, want) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for _, bad := range [][]string{{"$top", "100"}, {"$top", "x"}, {"$skip", "501"}, {"$filter", "serviceSource eq 'microsoftDefenderForEndpoint'"}, {"$filter", "displayName eq 'x'"}, {"$filter", "status eq 'new'"}, {"$orderby", "serviceSource"},
		{"$expand", "comments"}, {"$search", "x"}, {"$select", "evidence"}, {"$skiptoken", "x"}} {
		if resp := c.by(incidents, bad...); resp.StatusCode != 400 {
			t.Errorf("%v: %d", bad, resp.StatusCode)
		}
	}
	all := c.walk(c.by(incidents, "$count", "true"), nil, known...)
	list := c.incidents(all)
	ids := make(map[string]bool)
	for i, x := range list {
		ids[x.ID] = true
		if x.TenantID != contoso || x.DisplayName == "" || x.Created.After(x.Changed) || i > 0 && x.Changed.After(list[i-1].Changed) {
			t.Errorf("row %d: %+v", i, x)
		}
	}
	if len(ids) != len(list) || len(list) < 150 {
		t.Errorf("%d rows, %d identities", len(list), len(ids))
	}
	if p := c.page(c.by(incidents, "$count", "true", "$top", "3", "$orderby", "lastUpdateDateTime", "$select", "id,status")); p.Count == nil || *p.Count != len(list) || len(p.Value) != 3 || strings.Contains(string(p.Value[0]), "severity") {
		t.Errorf("count %v of %d, %d rows, %s", p.Count, len(list), len(p.Value), p.Value[0])
	}
	c.api.Switch(func(s *api.Switches) { s.SkipToken = true })
	if p := c.page(c.by(incidents)); !strings.HasSuffix(p.Next, "?$skiptoken=50") || len(c.walk(c.by(incidents), nil, known...)) != len(list) {
		t.Errorf("next %s", p.Next)
	}
	one := list[7]
	for _, path := range []string{"/" + one.ID, "('" + one.ID + "')", "/" + one.ID + "/"} {
		if resp := c.by(incidents + path); resp.StatusCode != 200 || !slices.Equal([]byte(text(resp)), all[7]) {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	for path, want := range map[string]int{"/none": 404, "/none/alerts": 404, "/" + one.ID + "/comments": 404, "/" + one.ID + "?$select=id": 400} {
		if resp := c.by(incidents + path); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestIncidentsAreFilteredByTheDocumentedProperties(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	all := c.incidents(c.walk(c.by(incidents), nil, known...))
	at := all[len(all)/2].Changed
	for filter, want := range map[string]func(incident) bool{
		"lastUpdateDateTime ge " + stamp(at):                                                        func(x incident) bool { return !x.Changed.Before(at) },
		"lastUpdateDateTime gt " + stamp(at):                                                        func(x incident) bool { return x.Changed.After(at) },
		"createdDateTime lt " + stamp(at):                                                           func(x incident) bool { return x.Created.Before(at) },
		"status eq 'redirected'":                                                                    func(x incident) bool { return x.Status == "redirected" },
		"status in ('awaitingAction','resolved')":                                                   func(x incident) bool { return x.Status == "awaitingAction" || x.Status == "resolved" },
		"severity eq 'high' and assignedTo eq null":                                                 func(x incident) bool { return x.Severity == "high" && x.AssignedTo == nil },
		"not (status eq 'active') or lastUpdateDateTime ge " + stamp(at):                            func(x incident) bool { return x.Status != "active" || !x.Changed.Before(at) },
		"lastUpdateDateTime ge " + stamp(at) + " and lastUpdateDateTime lt " + stamp(at.Add(86400)): func(x incident) bool { return x.Changed.Equal(at) },
	} {
		n := 0
		for _, x := range all {
			if want(x) {
				n++
			}
		}
		got := c.incidents(c.walk(c.by(incidents, "$filter", filter, "$orderby", "lastUpdateDateTime asc", "$top", "50"), nil, known...))
		for i, x := range got {
			if !want(x) || i > 0 && x.Changed.Before(got[i-1].Changed) {
				t.Errorf("%s: %s does not belong there", filter, x.ID)
			}
		}
		if n == 0 || len(got) != n {
			t.Errorf("%s: %d rows, want %d", filter, len(got), n)
		}
	}
	hidden, waiting := 0, 0
	for _, x := range c.incidents(c.walk(c.ask(incidents), nil)) {
		if x.Status == "unknownFutureValue" {
			hidden++
		}
	}
	for _, x := range all {
		if x.Status == "awaitingAction" {
			waiting++
		}
	}
	if hidden == 0 || hidden != waiting {
		t.Errorf("%d read as unknownFutureValue without Prefer, %d await action", hidden, waiting)
	}
}

// What an incident holds are the alerts that name it, and its own time says
// nothing of theirs.
func TestAnIncidentHoldsTheAlertsThatNameIt(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	byIncident := make(map[string][]string)
	newest := make(map[string]time.Time)
	for _, raw := range c.walk(c.by(alerts, "$top", "1000"), nil, known...) {
		var a struct {
			Incident string    `json:"incidentId"`
			Changed  time.Time `json:"lastUpdateDateTime"`
		}
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatal(err)
		}
		byIncident[a.Incident] = append(byIncident[a.Incident], string(raw))
		if a.Changed.After(newest[a.Incident]) {
			newest[a.Incident] = a.Changed
		}
	}
	c.log.Reset()
	behind, redirected, most := 0, 0, 0
	for _, x := range c.incidents(c.walk(c.by(incidents, "$expand", "alerts"), nil, known...)) {
		var in []string
		for _, raw := range x.Alerts {
			in = append(in, string(raw))
		}
		slices.Sort(in)
		slices.Sort(byIncident[x.ID])
		if !slices.Equal(in, byIncident[x.ID]) || x.Alerts == nil {
			t.Errorf("%s holds %d alerts, %d name it", x.ID, len(in), len(byIncident[x.ID]))
		}
		if (x.Redirect != nil) != (x.Status == "redirected") || x.Redirect != nil && (len(in) > 0 || len(byIncident[*x.Redirect]) == 0) {
			t.Errorf("%s is %s, with %d alerts and redirect %v", x.ID, x.Status, len(in), x.Redirect)
		}
		if x.Redirect != nil {
			redirected++
		}
		if x.Changed.Before(newest[x.ID]) {
			behind++
		}
		most = max(most, len(in))
		delete(byIncident, x.ID)
	}
	if len(byIncident) > 0 || redirected < 3 || behind < 20 || most < incidentStory.Crowd {
		t.Errorf("%d incidents that only alerts know, %d redirected, %d behind their alerts, the biggest has %d", len(byIncident), redirected, behind, most)
	}
	if n := len(c.events("served")); n < 150 {
		t.Errorf("%d rows in the log", n)
	}
	for _, e := range c.events("served") {
		if e["source"] != "graph.incidents" {
			t.Fatalf("%v", e)
		}
	}
	big := c.incidents(c.page(c.by(incidents, "$orderby", "createdDateTime", "$top", "1", "$expand", "alerts")).Value)[0]
	c.log.Reset()
	p := c.page(c.by(incidents + "/" + big.ID + "/alerts"))
	if len(p.Value) != len(big.Alerts) || !strings.HasSuffix(p.Context, "#security/incidents('"+big.ID+"')/alerts") || len(c.events("served")) != len(p.Value) || c.events("served")[0]["source"] != "graph.alerts" {
		t.Errorf("%d alerts of %s, want %d", len(p.Value), big.ID, len(big.Alerts))
	}

	// Big ones fail with their alerts, again and again, and nothing else does.
	c.api.Switch(func(s *api.Switches) { s.ExpandLimit = len(big.Alerts) - 1 })
	c.log.Reset()
	for range 3 {
		for _, at := range []string{incidents + encoded([]string{"$orderby", "createdDateTime", "$top", "1", "$expand", "alerts"}), incidents + "/" + big.ID + "?$expand=alerts"} {
			if resp := c.ask(at); resp.StatusCode != 500 || !strings.Contains(text(resp), `"code":"UnknownError","message":""`) {
				t.Errorf("%s: %d", at, resp.StatusCode)
			}
		}
	}
	if n := len(c.events("served")); n > 0 {
		t.Errorf("%d rows are said to be served", n)
	}
	if resp := c.by(incidents, "$orderby", "createdDateTime", "$top", "1"); resp.StatusCode != 200 {
		t.Errorf("without its alerts: %d", resp.StatusCode)
	}
	proof.Ran(t, "promise.lab.incidents", "%d incidents are behind the newest change of their alerts, %d were merged into others, a big one answers 500 with its alerts each time", behind, redirected)
}

func TestIncidentsWantTheirOwnPermission(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	for role, want := range map[string]int{"SecurityAlert.Read.All": 403, "SecurityIncident.Read.All": 200, "SecurityIncident.ReadWrite.All": 200, "Alert.Read.All": 403} {
		resp := c.ask(incidents, "Authorization", "Bearer "+contoso+"_app_"+role)
		body := text(resp)
		if resp.StatusCode != want || want == 403 && !strings.Contains(body, "API required roles: SecurityIncident.Read.All,SecurityIncident.ReadWrite.All, application roles: "+role+".") {
			t.Errorf("%s: %d %.300s", role, resp.StatusCode, body)
		}
	}
	if resp := c.ask(incidents, "Authorization", "Bearer x"); resp.StatusCode != 401 {
		t.Errorf("no token: %d", resp.StatusCode)
	}
}

func TestTwoQuotasHoldAtOnceAndA429TellsWhich(t *testing.T) {
	for name, base := range map[string]string{"incidents": incidents, "Defender for Endpoint": mdeAlerts} {
		t.Run(name, func(t *testing.T) {
			c := incidentCloud(t, api.Switches{IncidentsPerMinute: 5, IncidentsPerHour: 12, MDEPerMinute: 5, MDEPerHour: 12, Code429: "number"})
			get := func() (status int, body, wait string) {
				resp := c.ask(base + "?$top=1")
				return resp.StatusCode, text(resp), resp.Header.Get("Retry-After")
			}
			for round, taken := range []int{5, 5, 2} {
				for i := range taken {
					if status, body, _ := get(); status != 200 {
						t.Fatalf("round %d, request %d: %d %s", round, i, status, body)
					}
				}
				c.now = c.now.Add(time.Minute)
			}
			if status, body, wait := get(); status != 429 || !strings.Contains(body, `"code":"429","message":"API calls quota exceeded! maximum allowed 12 per 01:00:00"`) || wait == "" {
				t.Errorf("%d %s, Retry-After %q", status, body, wait)
			}
			// As a window the hour ends an hour behind its first request.
			c = incidentCloud(t, api.Switches{IncidentsPerMinute: 5, IncidentsPerHour: 3, MDEPerMinute: 5, MDEPerHour: 3, HourWindow: true, Code429: "turns"})
			for range 3 {
				if status, body, _ := get(); status != 200 {
					t.Fatalf("%d %s", status, body)
				}
			}
			c.now = c.now.Add(20 * time.Minute)
			codes := make(map[bool]int)
			for range 4 {
				status, body, wait := get()
				if status != 429 || wait != "2400" {
					t.Errorf("%d, Retry-After %q", status, wait)
				}
				codes[strings.Contains(body, `"429"`)]++
			}
			if codes[true] != 2 || codes[false] != 2 {
				t.Errorf("codes: %v", codes)
			}
			if n := len(c.events("early")); n != 3 {
				t.Errorf("%d early requests, want 3", n)
			}
			c.now = c.now.Add(40 * time.Minute)
			if status, body, _ := get(); status != 200 {
				t.Errorf("a new window: %d %s", status, body)
			}
		})
	}
}
