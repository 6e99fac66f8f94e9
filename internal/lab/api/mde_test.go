package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

const mdeAlerts = "https://mde.lab.test/api/alerts"

// endpointAlert is what tests look at in a row.
type endpointAlert struct {
	ID            string            `json:"id"`
	IncidentID    *int64            `json:"incidentId"`
	Investigation *int64            `json:"investigationId"`
	TenantID      string            `json:"aadTenantId"`
	Severity      string            `json:"severity"`
	Status        string            `json:"status"`
	Category      string            `json:"category"`
	Source        string            `json:"detectionSource"`
	AssignedTo    *string           `json:"assignedTo"`
	Created       time.Time         `json:"alertCreationTime"`
	Changed       time.Time         `json:"lastUpdateTime"`
	LastEvent     time.Time         `json:"lastEventTime"`
	Machine       *string           `json:"machineId"`
	Techniques    []string          `json:"mitreTechniques"`
	Evidence      []json.RawMessage `json:"evidence"`
}

func encoded(options []string) string {
	v := url.Values{}
	for i := 0; i < len(options); i += 2 {
		v.Set(options[i], options[i+1])
	}
	return "?" + v.Encode()
}

func (c *cloud) endpoint(options ...string) (list []endpointAlert, p page) {
	c.Helper()
	p = c.page(c.ask(mdeAlerts + encoded(options)))
	for _, raw := range p.Value {
		var a endpointAlert
		if err := json.Unmarshal(raw, &a); err != nil {
			c.Fatalf("%v in %s", err, raw)
		}
		list = append(list, a)
	}
	return list, p
}

func TestDefenderForEndpointShowsItsAlertsNewestFirstAndNoLink(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	all, p := c.endpoint()
	if p.Next != "" || p.Context != "https://mde.lab.test/api/$metadata#Alerts" || len(all) < 100 {
		t.Fatalf("%d rows, next %q, context %q", len(all), p.Next, p.Context)
	}
	for i, a := range all {
		if i > 0 && a.Changed.After(all[i-1].Changed) || a.TenantID != contoso || a.IncidentID == nil || a.Evidence == nil || len(a.Evidence) > 0 || len(a.Techniques) == 0 {
			t.Fatalf("row %d: %+v", i, a)
		}
	}
	if first, p := c.endpoint("$top", "10", "$expand", "evidence"); len(first) != 10 || p.Next != "" || first[0].ID != all[0].ID || !slices.ContainsFunc(first, func(a endpointAlert) bool { return len(a.Evidence) > 0 }) {
		t.Errorf("%d rows, next %q, evidence %d", len(first), p.Next, len(first[0].Evidence))
	}
	if rest, _ := c.endpoint("$skip", "90", "$top", "5"); len(rest) != 5 || rest[0].ID != all[90].ID {
		t.Errorf("$skip: %d rows", len(rest))
	}
	c.api.Switch(func(s *api.Switches) { s.MDECap = 30 })
	if capped, p := c.endpoint("$top", "9999"); len(capped) != 30 || p.Next != "" || capped[29].ID != all[29].ID {
		t.Errorf("capped: %d rows, next %q", len(capped), p.Next)
	}
	c.api.Switch(func(s *api.Switches) { s.MDETopRefused = true })
	if resp := c.ask(mdeAlerts + "?$top=31"); resp.StatusCode != 400 || !strings.Contains(text(resp), `"code":"BadRequest","message":"The query specified in the URI is not valid. The limit of '30'`) {
		t.Errorf("above the cap: %d", resp.StatusCode)
	}
	c.api.Switch(func(s *api.Switches) { s.MDELinks = true })
	if rows := c.walk(c.ask(mdeAlerts), nil); len(rows) != len(all) {
		t.Errorf("by links %d rows, want %d", len(rows), len(all))
	}
	one := mdeAlerts + "/" + all[3].ID
	for _, bare := range []bool{false, true} {
		c.api.Switch(func(s *api.Switches) { s.MDEOneBare = bare })
		for _, expand := range []string{"", "?$expand=evidence"} {
			resp := c.ask(one + expand)
			body := text(resp)
			if resp.StatusCode != 200 || !strings.Contains(body, `"id":"`+all[3].ID+`"`) || strings.Contains(body, `"evidence":[]`) != (bare && expand == "") {
				t.Errorf("bare %v %s: %d %s", bare, expand, resp.StatusCode, body)
			}
		}
	}
	for path, want := range map[string]int{"/api/alerts/none": 404, "/api/alerts/" + all[0].ID + "/machine": 404, "/api/v1.0/alerts": 200, "/API/v1.0/Alerts/": 200, "/mde/api/alerts": 200, "/mde/api/v1.0/alerts/" + all[0].ID: 200, "/api/incidents": 404, "/api/v2.0/alerts": 404} {
		if resp := c.ask("https://mde.lab.test" + path); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
	if resp := c.do(http.MethodPost, mdeAlerts); resp.StatusCode != 405 {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}

func TestDefenderForEndpointFiltersByTheDocumentedProperties(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	all, _ := c.endpoint()
	at, some := all[len(all)/2].Changed, all[5]
	is := func(p *int64, n int64) bool { return p != nil && *p == n }
	for filter, want := range map[string]func(endpointAlert) bool{
		"lastUpdateTime ge " + stamp(at): func(a endpointAlert) bool { return !a.Changed.Before(at) },
		"lastUpdateTime ge " + stamp(at) + " and lastUpdateTime lt " + stamp(at.Add(time.Hour)): func(a endpointAlert) bool { return !a.Changed.Before(at) && a.Changed.Before(at.Add(time.Hour)) },
		"lastUpdateTime gt " + stamp(at.Add(-100)):                                              func(a endpointAlert) bool { return !a.Changed.Before(at) },
		"alertCreationTime lt " + stamp(at):                                                     func(a endpointAlert) bool { return a.Created.Before(at) },
		"lastEventTime ge " + stamp(some.LastEvent):                                             func(a endpointAlert) bool { return !a.LastEvent.Before(some.LastEvent) },
		fmt.Sprintf("incidentId eq %d", *some.IncidentID):                                       func(a endpointAlert) bool { return is(a.IncidentID, *some.IncidentID) },
		fmt.Sprintf("incidentId gt %d", *some.IncidentID):                                       func(a endpointAlert) bool { return *a.IncidentID > *some.IncidentID },
		"InvestigationId eq null":                                                               func(a endpointAlert) bool { return a.Investigation == nil },
		"investigationId gt 0":                                                                  func(a endpointAlert) bool { return a.Investigation != nil },
		"id in ('" + all[0].ID + "','" + all[9].ID + "')":                                       func(a endpointAlert) bool { return a.ID == all[0].ID || a.ID == all[9].ID },
		"status eq 'New' and severity ne 'Low'":                                                 func(a endpointAlert) bool { return a.Status == "New" && a.Severity != "Low" },
		"assignedTo eq null":                                                                    func(a endpointAlert) bool { return a.AssignedTo == nil },
		"detectionSource eq 'CustomDetection'":                                                  func(a endpointAlert) bool { return a.Source == "CustomDetection" },
		"category eq '" + some.Category + "'":                                                   func(a endpointAlert) bool { return a.Category == some.Category },
	} {
		n := 0
		for _, a := range all {
			if want(a) {
				n++
			}
		}
		got, _ := c.endpoint("$filter", filter)
		for _, a := range got {
			if !want(a) {
				t.Errorf("%s: %s does not belong there", filter, a.ID)
			}
		}
		if n == 0 || n == len(all) || len(got) != n {
			t.Errorf("%s: %d rows of %d, want %d", filter, len(got), len(all), n)
		}
	}
	refused := func(options ...string) {
		t.Helper()
		if resp := c.ask(mdeAlerts + encoded(options)); resp.StatusCode != 400 || !strings.HasPrefix(text(resp), `{"error":{"code":"BadRequest",`) {
			t.Errorf("%v: %d", options, resp.StatusCode)
		}
	}
	for _, bad := range []string{"lastUpdateDateTime ge 2026-01-01T00:00:00Z", "machineId eq 'x'", "status eq 'new'", "incidentId eq '7'", "lastUpdateTime ge '2026-01-01'", "title eq 'x'", "incidentId gt null"} {
		refused("$filter", bad)
	}
	refused("$expand", "alerts")
	refused("$search", "x")
	if got, p := c.endpoint("$orderby", "lastUpdateTime", "$top", "3", "$count", "true", "$select", "id,lastUpdateTime"); len(got) != 3 || got[0].Changed.After(got[2].Changed) || p.Count == nil || *p.Count != len(all) || got[0].Status != "" {
		t.Errorf("what no page lists: %+v", got)
	}
	c.api.Switch(func(s *api.Switches) { s.MDEFewerFilters, s.MDEStrictOptions = true, true })
	for _, o := range [][]string{{"$filter", "assignedTo eq null"}, {"$filter", "lastEventTime ge 2026-01-01T00:00:00Z"}, {"$filter", "id eq 'x'"}, {"$orderby", "lastUpdateTime"}, {"$select", "id"}, {"$count", "true"}} {
		refused(o...)
	}
	if got, _ := c.endpoint("$filter", "lastUpdateTime ge "+stamp(at), "$top", "2"); len(got) != 2 {
		t.Errorf("%d rows", len(got))
	}
}

// The same alert, as both APIs show it.
func TestAnAlertOfDefenderForEndpointIsTheOneThatGraphShows(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	type graphAlert struct {
		Provider    string    `json:"providerAlertId"`
		Service     string    `json:"serviceSource"`
		Incident    string    `json:"incidentId"`
		Title       string    `json:"title"`
		Severity    string    `json:"severity"`
		Status      string    `json:"status"`
		Created     time.Time `json:"createdDateTime"`
		Changed     time.Time `json:"lastUpdateDateTime"`
		Evidence    []any     `json:"evidence"`
		Description string    `json:"description"`
	}
	graph := make(map[string]graphAlert)
	for _, raw := range c.walk(c.by(alerts, "$top", "1000"), nil, known...) {
		var a graphAlert
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatal(err)
		}
		if a.Service == "microsoftDefenderForEndpoint" {
			graph[a.Provider] = a
		}
	}
	_, p := c.endpoint("$expand", "evidence")
	flat := 0
	for _, raw := range p.Value {
		var m struct {
			endpointAlert
			Title       string           `json:"title"`
			Description string           `json:"description"`
			Evidence    []map[string]any `json:"evidence"`
		}
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatal(err)
		}
		g, ok := graph[m.ID]
		if !ok || fmt.Sprint(*m.IncidentID) != g.Incident || m.Title != g.Title || m.Description != g.Description || !strings.EqualFold(m.Status, g.Status) || m.Status == g.Status || !strings.EqualFold(m.Severity, g.Severity) ||
			!m.Created.Equal(g.Created) || !m.Changed.Equal(g.Changed) || len(m.Evidence) > len(g.Evidence) {
			t.Fatalf("%+v\n%+v", m, g)
		}
		for _, e := range m.Evidence {
			if flat++; len(e) != 25 || e["entityType"] == "" || e["evidenceCreationTime"] == nil {
				t.Fatalf("%d members: %v", len(e), e)
			}
		}
		delete(graph, m.ID)
	}
	if len(graph) > 0 || flat < 100 {
		t.Errorf("%d alerts that only Graph shows, %d pieces of evidence", len(graph), flat)
	}
	proof.Ran(t, "promise.lab.mde", "%d alerts are the same at Graph and at Defender for Endpoint, with %d pieces of evidence", len(p.Value), flat)
}

func TestATokenForDefenderForEndpointIsCheckedByItself(t *testing.T) {
	c := incidentCloud(t, api.Switches{})
	status := func(token string) (int, string) {
		resp := c.ask(mdeAlerts+"?$top=1", "Authorization", "Bearer "+token)
		return resp.StatusCode, text(resp)
	}
	if got, body := status(contoso + "_app_SecurityAlert.Read.All"); got != 403 || !strings.Contains(body, `"code":"Forbidden","message":"Missing application roles. API required roles: Alert.Read.All,Alert.ReadWrite.All, application roles: SecurityAlert.Read.All.","target":"`) {
		t.Errorf("another API's permission: %d %s", got, body)
	}
	if got, body := status("x"); got != 401 || !strings.Contains(body, `"code":"Unauthorized"`) {
		t.Errorf("no token: %d %s", got, body)
	}
	// Strict, nothing of the test's is the right audience.
	c.api.Switch(func(s *api.Switches) { s.MDEStrictAudience = true })
	if got, body := status(reader); got != 403 || !strings.Contains(body, `"code":"Forbidden"`) {
		t.Errorf("another audience: %d %s", got, body)
	}
	c.api.Switch(func(s *api.Switches) { s.MDEAudience401 = true })
	if got, body := status(reader); got != 401 || !strings.Contains(body, `"message":"Invalid Authorization payload."`) {
		t.Errorf("another audience: %d %s", got, body)
	}
	// A tenant without a licence says so with a token that is good, and the others
	// do not.
	c = newCloud(t, api.Switches{}, incidentStory, estate.Options{ID: fabrikam, Backlog: 50, MDE: true})
	c.faults.Set(fault.Rule{Kind: fault.Status, API: "mde", Tenant: contoso, Param: 401, Body: "inactive"})
	if got, body := status(reader); got != 401 || !strings.Contains(body, "Account mode is inactive") {
		t.Errorf("inactive: %d %s", got, body)
	}
	if got, body := status(fabrikam + "_app_Alert.Read.All"); got != 200 {
		t.Errorf("the other tenant: %d %s", got, body)
	}
	if resp := c.by(incidents); resp.StatusCode != 200 {
		t.Errorf("Graph: %d", resp.StatusCode)
	}
	c.api.Switch(func(s *api.Switches) { s.MDERetired = "gone" })
	if got, body := status(fabrikam + "_app_Alert.Read.All"); got != 410 || !strings.Contains(body, "retired") {
		t.Errorf("retired: %d %s", got, body)
	}
	client, at := c.wire(false)
	for _, how := range []string{"unresolved", "refused"} {
		c.api.Switch(func(s *api.Switches) { s.MDERetired = how })
		if a := c.fetch(client, at+mdeList); a.err == nil {
			t.Errorf("%s: %v", how, a)
		}
		if a := c.fetch(client, at+incidentList); a.err != nil || a.status != 200 {
			t.Errorf("%s, incidents: %v", how, a)
		}
	}
}

func TestABadRowIsBadAtIncidentsAndDefenderForEndpointToo(t *testing.T) {
	want := map[string]string{"no_id": `"noid":"`, "null_id": `"id":null`, "number_id": `"id":7`, "dup_id": `{"id":"twice","id":"`, "foreign": `"TENANT":"0f0f0f0f-`, "no_tenant": `TenantId":"` + contoso,
		"null_tenant": `"TENANT":null`, "text_tenant": `"TENANT":"contoso"`, "no_time": `"noCHANGED":`, "null_time": `"CHANGED":null`, "junk_time": `"CHANGED":"yesterday"`, "second_60": `:60Z"`,
		"year_1": `"CHANGED":"0001-01-01T00:00:00Z"`, "year_9999": `"CHANGED":"9999-12-31T23:59:59.9999999Z"`, "offset_time": `+02:00"`, "no_zone": `"CHANGED":"20`, "nine_digits": `00Z"`, "bad_utf8": "\xff\xfe",
		"raw_nul": "a\x00b", "escaped_nul": `"a\u0000b"`, "surrogate": `"a\ud800b"`, "deep": "[[[[", "huge_number": `"huge":1e999`, "big_integer": `18446744073709551617`, "large": strings.Repeat("x", 40_000)}
	kind := map[string]string{"no_id": "bad", "null_id": "bad", "number_id": "bad", "dup_id": "bad", "foreign": "foreign"}
	for _, b := range fault.BadRows {
		for _, at := range []struct{ api, target, changed, tenant string }{
			{"graph.incidents", incidents + "?$orderby=lastUpdateDateTime&$top=3", "lastUpdateDateTime", "tenantId"},
			{"mde", mdeAlerts + "?$orderby=lastUpdateTime&$top=3", "lastUpdateTime", "aadTenantId"},
		} {
			c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 60, Incidents: true, MDE: true})
			value := b[0]
			if value == "large" {
				value = "large 40000"
			}
			c.faults.Set(fault.Rule{Kind: fault.BadRow, API: at.api, Value: value, Param: 1})
			body := text(c.ask(at.target))
			part := strings.NewReplacer("TENANT", at.tenant, "CHANGED", at.changed).Replace(want[b[0]])
			if part == "" || !strings.Contains(body, part) {
				t.Errorf("%s at %s: no %.40s in %.600s", b[0], at.api, part, body)
			}
			served, special := c.events("served"), c.events("row")
			if k := kind[b[0]]; k == "" && (len(served) != 3 || len(special) != 0) || k != "" && (len(served) != 2 || len(special) != 1 || special[0]["kind"] != k) {
				t.Errorf("%s at %s: %d served, special %v", b[0], at.api, len(served), special)
			}
		}
	}
}
