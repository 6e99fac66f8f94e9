package api_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

var story = estate.Options{ID: contoso, Backlog: 150, BacklogSpan: time.Hour, Updates: 1}

func TestQueryOptionsAreTakenOrRefusedAsDocumented(t *testing.T) {
	c := newCloud(t, api.Switches{}, story)
	c.faults.Set() // none
	for name, tt := range map[string]struct {
		option, value string
		want          int
	}{
		"a filter over a time":                   {"$filter", "lastUpdateDateTime ge 2026-03-02T08:00:00Z", 200},
		"with seven digits":                      {"$filter", "lastUpdateDateTime gt 2023-10-20T09:54:07.5033333Z", 200},
		"with an offset":                         {"$filter", "createdDateTime le 2026-03-02T08:00:00+02:00", 200},
		"with an offset whose + was not escaped": {"$filter", "createdDateTime le 2026-03-02T08:00:00 02:00", 400},
		"without a zone":                         {"$filter", "createdDateTime le 2026-03-02T08:00:00", 400},
		"with a quoted time":                     {"$filter", "createdDateTime le '2026-03-02T08:00:00Z'", 400},
		"with a day only":                        {"$filter", "createdDateTime le 2026-03-02", 400},
		"two conditions":                         {"$filter", "severity eq 'high' and status ne 'resolved'", 200},
		"or and parentheses":                     {"$filter", "(severity eq 'high' or severity eq 'low') and not (status eq 'new')", 200},
		"a list":                                 {"$filter", "severity in ('high','low')", 200},
		"a list of times":                        {"$filter", "createdDateTime in (2026-03-02T08:00:00Z,2026-03-02T09:00:00Z)", 200},
		"null":                                   {"$filter", "assignedTo eq null", 200},
		"a quote in a text":                      {"$filter", "assignedTo eq 'o''brien@x.example'", 200},
		"not without parentheses":                {"$filter", "not severity eq 'high'", 400},
		"an order between words":                 {"$filter", "severity ge 'medium'", 400},
		"a word that is no member":               {"$filter", "severity eq 'purple'", 400},
		"a member in other case":                 {"$filter", "severity eq 'High'", 400},
		"a word without quotes":                  {"$filter", "severity eq high", 400},
		"a property that cannot be filtered by":  {"$filter", "investigationState eq 'queued'", 400},
		"the title":                              {"$filter", "title eq 'x'", 400},
		"the ID":                                 {"$filter", "id eq 'x'", 400},
		"a function":                             {"$filter", "contains(title,'x')", 400},
		"an operator of another language":        {"$filter", "severity = 'high'", 400},
		"an operator in capitals":                {"$filter", "severity EQ 'high'", 400},
		"half a condition":                       {"$filter", "severity eq", 400},
		"an open parenthesis":                    {"$filter", "(severity eq 'high'", 400},
		"an open quote":                          {"$filter", "severity eq 'high", 400},
		"an open list":                           {"$filter", "severity in ('high'", 400},
		"something behind":                       {"$filter", "severity eq 'high' 'low'", 400},
		"a thousand parentheses":                 {"$filter", strings.Repeat("(", 1000), 400},
		"top":                                    {"$top", "1000", 200},
		"top above the cap":                      {"$top", "1001", 200},
		"top 0":                                  {"$top", "0", 200},
		"top below 0":                            {"$top", "-1", 400},
		"top that is no number":                  {"$top", "all", 400},
		"top that is empty":                      {"$top", "", 400},
		"skip":                                   {"$skip", "500", 200},
		"skip too deep":                          {"$skip", "501", 400},
		"skip below 0":                           {"$skip", "-1", 400},
		"order":                                  {"$orderby", "lastUpdateDateTime asc", 200},
		"order by two":                           {"$orderby", "severity desc, createdDateTime", 200},
		"order by what cannot be sorted by":      {"$orderby", "title", 400},
		"order in a third direction":             {"$orderby", "createdDateTime up", 400},
		"count":                                  {"$count", "true", 200},
		"count that is neither":                  {"$count", "yes", 400},
		"select":                                 {"$select", "id,title", 200},
		"select of an unknown property":          {"$select", "id,titel", 400},
		"expand":                                 {"$expand", "alerts", 400},
		"search":                                 {"$search", "x", 400},
		"apply":                                  {"$apply", "x", 400},
		"an option in capitals":                  {"$Filter", "x", 400},
		"a token that is none":                   {"$skiptoken", "abc", 400},
		"an option without a $ is no business of ours": {"filter", "severity eq", 200},
	} {
		t.Run(name, func(t *testing.T) {
			resp := c.query(tt.option, tt.value)
			if resp.StatusCode != tt.want {
				t.Fatalf("status %d, want %d: %s", resp.StatusCode, tt.want, text(resp))
			}
			if tt.want == 200 {
				return
			}
			var body struct {
				Error struct {
					Code       *string
					Message    string
					InnerError map[string]string `json:"innerError"`
				}
			}
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Error.Code == nil || body.Error.Message == "" || body.Error.InnerError["request-id"] == "" {
				t.Errorf("not Graph's error form: %+v, %v", body, err)
			}
			if _, err := time.Parse("2006-01-02T15:04:05", body.Error.InnerError["date"]); err != nil {
				t.Errorf("the date has a zone or a fraction: %v", err)
			}
		})
	}
	if resp := c.ask(alerts + "?$top=1&$top=2"); resp.StatusCode != 400 {
		t.Errorf("an option twice is answered with %d", resp.StatusCode)
	}
}

func TestATopAboveTheCapIsClampedOrRefused(t *testing.T) {
	c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 1100, BacklogSpan: time.Hour})
	c.now = c.now.Add(10 * time.Minute)
	if p := c.page(c.query("$top", "5000")); len(p.Value) != 1000 || p.Next == "" {
		t.Errorf("%d rows, next %q", len(p.Value), p.Next)
	}
	if p := c.page(c.query()); len(p.Value) != 100 {
		t.Errorf("%d rows without $top", len(p.Value))
	}
	if p := c.page(c.query("$top", "0", "$count", "true")); len(p.Value) != 0 || p.Next != "" || p.Count == nil || *p.Count != 1100 {
		t.Errorf("top 0: %d rows, next %q, count %v", len(p.Value), p.Next, p.Count)
	}
	c.api.Switch(func(s *api.Switches) { s.TopRefused = true })
	resp := c.query("$top", "5000")
	if body := text(resp); resp.StatusCode != 400 || !strings.Contains(body, `"code":""`) || !strings.Contains(body, `"details":[]`) || !strings.Contains(body, "The limit of '1000' for Top query has been exceeded. The value from the incoming request is '5000'.") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestAFilterFindsExactlyWhatItSays(t *testing.T) {
	c := newCloud(t, api.Switches{}, story)
	all := c.alerts(c.walk(c.query("$top", "1000"), nil))
	at := all[len(all)/3].Changed
	lit := at.Format("2006-01-02T15:04:05.9999999Z")
	is := func(p *string, v string) bool { return p != nil && *p == v }
	for filter, want := range map[string]func(alert) bool{
		"lastUpdateDateTime ge " + lit:                             func(a alert) bool { return !a.Changed.Before(at) },
		"lastUpdateDateTime gt " + lit:                             func(a alert) bool { return a.Changed.After(at) },
		"lastUpdateDateTime le " + lit:                             func(a alert) bool { return !a.Changed.After(at) },
		"lastUpdateDateTime lt " + lit:                             func(a alert) bool { return a.Changed.Before(at) },
		"lastUpdateDateTime eq " + lit:                             func(a alert) bool { return a.Changed.Equal(at) },
		"lastUpdateDateTime ne " + lit:                             func(a alert) bool { return !a.Changed.Equal(at) },
		"lastUpdateDateTime in (" + lit + ",2020-01-01T00:00:00Z)": func(a alert) bool { return a.Changed.Equal(at) },
		"createdDateTime ge " + lit:                                func(a alert) bool { return !a.Created.Before(at) },
		"severity eq 'high'":                                       func(a alert) bool { return a.Severity == "high" },
		"status ne 'new'":                                          func(a alert) bool { return a.Status != "new" },
		"assignedTo eq null":                                       func(a alert) bool { return a.AssignedTo == nil },
		"assignedTo ne null":                                       func(a alert) bool { return a.AssignedTo != nil },
		"assignedTo eq ''":                                         func(alert) bool { return false },
		"assignedTo eq 'analyst@mssp.example'":                     func(a alert) bool { return is(a.AssignedTo, "analyst@mssp.example") },
		"classification eq 'truePositive'":                         func(a alert) bool { return is(a.Classification, "truePositive") },
		"classification ne 'truePositive'":                         func(a alert) bool { return !is(a.Classification, "truePositive") },
		"determination eq 'other'":                                 func(a alert) bool { return is(a.Determination, "other") },
		"serviceSource in ('microsoft365Defender','microsoftDefenderForIdentity')": func(a alert) bool {
			return a.ServiceSource == "microsoft365Defender" || a.ServiceSource == "microsoftDefenderForIdentity"
		},
		"severity eq 'high' or severity eq 'low' and status eq 'new'":                         func(a alert) bool { return a.Severity == "high" || a.Severity == "low" && a.Status == "new" },
		"(severity eq 'high' or severity eq 'low') and status eq 'new'":                       func(a alert) bool { return (a.Severity == "high" || a.Severity == "low") && a.Status == "new" },
		"not(severity eq 'high') and lastUpdateDateTime ge " + lit:                            func(a alert) bool { return a.Severity != "high" && !a.Changed.Before(at) },
		"severity eq 'high' or lastUpdateDateTime ge " + lit:                                  func(a alert) bool { return a.Severity == "high" || !a.Changed.Before(at) },
		"(lastUpdateDateTime ge " + lit + " or severity eq 'high') and status eq 'new'":       func(a alert) bool { return (!a.Changed.Before(at) || a.Severity == "high") && a.Status == "new" },
		"not (lastUpdateDateTime ge " + lit + ")":                                             func(a alert) bool { return a.Changed.Before(at) },
		"lastUpdateDateTime ge " + lit + " and (severity eq 'high' or not (status eq 'new'))": func(a alert) bool { return !a.Changed.Before(at) && (a.Severity == "high" || a.Status != "new") },
	} {
		got := make(map[string]bool)
		for _, a := range c.alerts(c.walk(c.query("$filter", filter, "$top", "1000", "$orderby", "lastUpdateDateTime"), nil)) {
			got[a.ID] = true
		}
		n := 0
		for _, a := range all {
			if want(a) {
				n++
			}
			if want(a) != got[a.ID] {
				t.Errorf("%s: %s is there: %v", filter, a.ID, got[a.ID])
				break
			}
		}
		if n == 0 && !strings.Contains(filter, "''") || n == len(all) {
			t.Errorf("%s: %d of %d rows: says nothing", filter, n, len(all))
		}
	}
}

// What other collectors send, as seen in public ones, is answered.
func TestOtherCollectorsQueriesAreAnswered(t *testing.T) {
	c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 620, BacklogSpan: time.Hour})
	c.now = c.now.Add(10 * time.Minute) // the youngest have shown
	for name, target := range map[string]string{
		"newest first, with no options":    alerts,
		"ascending, a page of 500":         alerts + "?$orderby=lastUpdateDateTime%20asc&$top=500",
		"plus for a blank, dollars as %24": alerts + "?%24filter=lastUpdateDateTime+ge+2026-03-01T00:00:00Z&%24top=300",
		"by creation":                      alerts + "?$orderby=createdDateTime%20desc&$top=1000&$count=true",
		"another case of the path":         "https://graph.lab.test/V1.0/Security/Alerts_V2/?$top=999",
	} {
		t.Run(name, func(t *testing.T) {
			var counts []int
			rows := c.alerts(c.walk(c.ask(target), func(p page) {
				if p.Count != nil {
					counts = append(counts, *p.Count)
				}
				if p.Next != "" && !strings.HasPrefix(p.Next, "https://graph.lab.test/") {
					t.Errorf("next link %s", p.Next)
				}
			}))
			seen := make(map[string]bool)
			for i, a := range rows {
				seen[a.ID] = true
				if a.TenantID != contoso {
					t.Fatalf("tenantId %s", a.TenantID)
				}
				if i > 0 && strings.Contains(target, "asc") && a.Changed.Before(rows[i-1].Changed) || i > 0 && target == alerts && a.Changed.After(rows[i-1].Changed) ||
					i > 0 && strings.Contains(target, "createdDateTime%20desc") && a.Created.After(rows[i-1].Created) {
					t.Fatalf("row %d is out of order", i)
				}
			}
			if len(seen) != 620 || len(rows) != 620 {
				t.Errorf("%d rows, %d alerts", len(rows), len(seen))
			}
			if want := strings.Contains(target, "count"); want != slices.Equal(counts, []int{620}) {
				t.Errorf("counts %v", counts)
			}
		})
	}
	p := c.page(c.query("$skip", "490", "$top", "20"))
	if !strings.Contains(p.Next, "$skiptoken=510") {
		t.Errorf("a deep link is %s", p.Next)
	}
	one := c.alerts(p.Value)[3]
	for _, target := range []string{alerts + "/" + one.ID, alerts + "('" + one.ID + "')"} {
		if resp := c.ask(target); resp.StatusCode != 200 || !strings.Contains(text(resp), one.ID) {
			t.Errorf("%s: %d", target, resp.StatusCode)
		}
	}
	p = c.page(c.query("$select", "id,severity", "$top", "1"))
	var row map[string]any
	if err := json.Unmarshal(p.Value[0], &row); err != nil || len(row) != 2 || row["id"] == nil || row["severity"] == nil || !strings.HasSuffix(p.Context, "alerts_v2(id,severity)") {
		t.Errorf("selected %s of %s", p.Value[0], p.Context)
	}
}

// An offset in the link is what makes this lab as hard as the real one: the
// reader that follows links loses rows, and one that goes by keys does not.
func TestAReaderThatFollowsOffsetLinksLosesRowsWhenOthersChange(t *testing.T) {
	const runs = 8
	lostByLinks, lostByKeys := 0, 0
	for _, order := range []string{"lastUpdateDateTime asc", "lastUpdateDateTime desc"} {
		for seed := range uint64(runs) {
			for _, keyset := range []bool{false, true} {
				if keyset && order != "lastUpdateDateTime asc" {
					continue
				}
				c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 60, BacklogSpan: time.Hour})
				rng := rand.New(rand.NewPCG(seed, 1))
				all := c.alerts(c.page(c.query("$top", "1000")).Value)
				seen := make(map[string]bool)
				between := func() {
					c.now = c.now.Add(time.Second)
					c.estate.Change(contoso, all[rng.IntN(len(all))].ID, c.now, false)
				}
				filter := "lastUpdateDateTime ge 2020-01-01T00:00:00Z"
				if !keyset {
					c.walk(c.query("$filter", filter, "$orderby", order, "$top", "10"), func(p page) {
						for _, a := range c.alerts(p.Value) {
							seen[a.ID] = true
						}
						between()
					})
				}
				for range 100 { // more changes than pages: it ends when all is read
					if !keyset {
						break
					}
					list := c.alerts(c.page(c.query("$filter", filter, "$orderby", order, "$top", "10")).Value)
					for _, a := range list {
						seen[a.ID] = true
					}
					if len(list) < 10 {
						break
					}
					filter = "lastUpdateDateTime ge " + list[len(list)-1].Changed.Format("2006-01-02T15:04:05.9999999Z")
					between()
				}
				if lost := len(all) - len(seen); keyset {
					lostByKeys += lost
				} else {
					lostByLinks += lost
				}
			}
		}
	}
	if lostByLinks == 0 || lostByKeys != 0 {
		t.Fatalf("lost by links %d, by keys %d", lostByLinks, lostByKeys)
	}
	proof.Ran(t, "P07", "the pretend cloud: %d runs, one change a page: a reader of links lost %d rows, one by keys %d", 2*runs, lostByLinks, lostByKeys)
}

func TestNewerEnumMembersAreHiddenFromThoseWhoDoNotAsk(t *testing.T) {
	c := newCloud(t, api.Switches{}, story)
	const newer = `"serviceSource":"microsoftDefenderForCloud"`
	hidden := text(c.query("$top", "1000"))
	if almost := text(c.ask(alerts+"?$top=1000", "Prefer", "include-unknown-enum-members-too")); almost != hidden {
		t.Error("another preference counts as this one")
	}
	shown := text(c.ask(alerts+"?$top=1000", "Prefer", "odata.maxpagesize=5, include-unknown-enum-members"))
	if !strings.Contains(shown, newer) || !strings.Contains(shown, `"remediationStatus":"active"`) || strings.Contains(shown, "unknownFutureValue") {
		t.Error("a client that asks does not get the newer members")
	}
	if strings.Contains(hidden, newer) || strings.Contains(hidden, `"remediationStatus":"active"`) || strings.Contains(hidden, `"microsoftDefenderForServers"`) || !strings.Contains(hidden, `"serviceSource":"unknownFutureValue"`) {
		t.Error("a client that does not ask gets the newer members")
	}
	if a, b := strings.Count(hidden, "unknownFutureValue"), strings.Count(shown, newer); a < b || b == 0 {
		t.Errorf("%d hidden, %d to hide", a, b)
	}
	if !json.Valid([]byte(hidden)) {
		t.Error("no JSON any more")
	}
}

func TestARequestWithoutRightsIsRefusedInTheRightForm(t *testing.T) {
	c := newCloud(t, api.Switches{}, story)
	for name, tt := range map[string]struct {
		header, target string
		status         int
		want           string
	}{
		"no token":               {"", alerts, 401, "InvalidAuthenticationToken"},
		"a broken token":         {"Bearer x", alerts, 401, "InvalidAuthenticationToken"},
		"another scheme":         {"Basic " + reader, alerts, 401, "InvalidAuthenticationToken"},
		"the scheme in any case": {"bearer " + reader, alerts, 200, ""},
		"no roles":               {"Bearer " + contoso + "_app", alerts, 403, "Missing application roles. API required roles: SecurityAlert.Read.All,SecurityAlert.ReadWrite.All,SecurityIncident.Read.All,SecurityIncident.ReadWrite.All, application roles: ."},
		"another role":           {"Bearer " + contoso + "_app_SecurityAlert.Read", alerts, 403, "application roles: SecurityAlert.Read."},
		"the incidents' role":    {"Bearer " + contoso + "_app_SecurityIncident.Read.All", alerts, 200, ""},
		"another collection":     {"Bearer " + reader, "https://graph.lab.test/v1.0/security/alerts", 404, "ResourceNotFound"},
		"deeper":                 {"Bearer " + reader, alerts + "/x/comments", 404, "ResourceNotFound"},
		"an unknown alert":       {"Bearer " + reader, alerts + "/da0", 404, "itemNotFound"},
		"the cloud without":      {"Bearer " + reader, "https://microsoftgraph.chinacloudapi.cn/v1.0/security/alerts_v2", 404, "ResourceNotFound"},
	} {
		resp := c.ask(tt.target, "Authorization", tt.header)
		if body := text(resp); resp.StatusCode != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %.300s", name, resp.StatusCode, body)
		}
		if resp.Header.Get("request-id") == "" || resp.Header.Get("client-request-id") == "" || resp.Header.Get("Date") == "" || (resp.StatusCode == 401) != (resp.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: headers %v", name, resp.Header)
		}
	}
	resp := c.ask(alerts, "client-request-id", "mine")
	if resp.Header.Get("client-request-id") != "mine" {
		t.Error("the client's request ID does not come back")
	}
	c.faults.Set(fault.Rule{Kind: fault.Status, Param: 403})
	if body := text(c.ask(alerts)); strings.Contains(body, "Missing") || !strings.Contains(body, `"Forbidden"`) {
		t.Errorf("the other form of 403: %s", body)
	}
}

func TestAnAppThatAsksTooOftenIsThrottledInItsTenantAlone(t *testing.T) {
	for _, form := range []string{"integer", "fractional", "none"} {
		c := newCloud(t, api.Switches{PerMinute: 150, RetryAfter: form}, story, estate.Options{ID: fabrikam, Backlog: 1})
		served := 0
		for range 200 {
			c.now = c.now.Add(10 * time.Millisecond)
			resp := c.query("$top", "1")
			if resp.StatusCode == 200 {
				served++
				continue
			}
			wait := resp.Header.Get("Retry-After")
			if resp.StatusCode != 429 || (wait == "") != (form == "none") || strings.Contains(wait, ".") && form != "fractional" {
				t.Fatalf("%s: status %d, Retry-After %q", form, resp.StatusCode, wait)
			}
		}
		// 150 at once and 2.5 more each second; those refused count too.
		if served < 150 || served > 200-5 {
			t.Errorf("%s: %d of 200 served", form, served)
		}
		if resp := c.ask(alerts, "Authorization", "Bearer "+fabrikam+"_app_SecurityAlert.Read.All"); resp.StatusCode != 200 {
			t.Errorf("another tenant gets %d", resp.StatusCode)
		}
		if resp := c.ask(alerts, "Authorization", "Bearer "+contoso+"_other_SecurityAlert.Read.All"); resp.StatusCode != 200 {
			t.Errorf("another app gets %d", resp.StatusCode)
		}
		if early := len(c.events("early")); (early > 0) != (form != "none") {
			t.Errorf("%s: %d early requests noted", form, early)
		}
		if form == "none" {
			continue
		}
		// Whoever waits as told is served.
		resp := c.query("$top", "1")
		wait, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s")
		if err != nil {
			t.Fatal(err)
		}
		if wait < 10*time.Second || wait > 20*time.Second {
			t.Errorf("%s: the wait is %v though what was refused counts", form, wait)
		}
		early := len(c.events("early"))
		c.now = c.now.Add(wait)
		if resp := c.query("$top", "1"); resp.StatusCode != 200 || len(c.events("early")) != early {
			t.Errorf("%s: after the wait of %v: %d", form, wait, resp.StatusCode)
		}
	}
}

func TestTheTruthLogHoldsExactlyWhatWasSent(t *testing.T) {
	c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 120, BacklogSpan: time.Hour, Updates: 1, Shuffle: true, LiveField: true, SIEM: true, Foreign: 3, Bad: 4})
	c.faults.Set(fault.Rule{Kind: fault.Cut, Param: 999, Share: 0.2}, fault.Rule{Kind: fault.Trailing, Share: 0.1}, fault.Rule{Kind: fault.Encoding, Share: 0.1}, fault.Rule{Kind: fault.GzipBomb, Count: 1},
		fault.Rule{Kind: fault.BadRow, Value: "foreign", Share: 0.1}, fault.Rule{Kind: fault.BadRow, API: "siem", Value: "dup_id", Share: 0.1}, fault.Rule{Kind: fault.Status, Param: 500, Share: 0.1})
	want := make(map[string]int) // request and hash → times
	wholes := 0
	for n := range 90 {
		c.now = c.now.Add(time.Second)
		target := fmt.Sprintf("%s?$top=%d&$skip=%d", alerts, 1+n%25, n%110)
		if n%3 == 0 {
			target = "https://siem-eu.lab.test/api/alerts?ago=PT4H"
		}
		resp := c.ask(target)
		body := []byte(text(resp))
		var rows []json.RawMessage
		var p page
		if resp.Header.Get("Content-Encoding") != "" {
			continue
		}
		if json.Unmarshal(body, &rows) != nil {
			if json.Unmarshal(body, &p) != nil {
				continue
			}
			rows = p.Value
		}
		for _, raw := range rows {
			want[fmt.Sprint(n+1, sum(raw))]++
		}
		wholes++
	}
	got := make(map[string]int)
	for _, e := range append(c.events("served"), c.events("row")...) {
		got[fmt.Sprint(e["request"], e["sha256"])]++
	}
	rows, missing, extra := 0, 0, 0
	for k, n := range want {
		rows += n
		missing += max(0, n-got[k])
	}
	for k, n := range got {
		extra += max(0, n-want[k])
	}
	if missing+extra > 0 || rows < 500 || wholes > 80 {
		t.Fatalf("%d rows in %d answers; not in the log %d, too many in the log %d", rows, wholes, missing, extra)
	}
	if n := len(c.events("request")); n != 90 {
		t.Errorf("%d requests in the log", n)
	}
	proof.Ran(t, "I1", "the pretend cloud: %d rows in %d whole answers of 90: missing in the truth log %d, there though cut %d", rows, wholes, missing, extra)
}

func TestTheSameSeedAndClockTellTheSameStoryInTheSameBytes(t *testing.T) {
	run := func() string {
		c := newCloud(t, api.Switches{PerMinute: 150}, estate.Options{ID: contoso, Backlog: 100, PerMinute: 20, Horizon: time.Hour, Updates: 1, LateShare: 0.2, LateMax: 10 * time.Minute, Ties: 9, Silent: 0.2,
			Shuffle: true, LiveField: true, Replicas: true, Foreign: 2, Unnamed: 2, Bad: 4, SIEM: true, Reprocess: true})
		c.faults.Set(fault.Rule{Kind: fault.Status, Param: 429, Share: 0.1}, fault.Rule{Kind: fault.Unordered, Share: 0.1}, fault.Rule{Kind: fault.HTML200, Share: 0.1}, fault.Rule{Kind: fault.NullBody, Share: 0.1})
		var all strings.Builder
		for range 30 {
			c.now = c.now.Add(2 * time.Minute)
			all.WriteString(text(c.query("$top", "20")))
			all.WriteString(text(c.ask("https://siem-eu.lab.test/api/alerts?limit=20")))
		}
		return all.String() + c.log.String()
	}
	one, two := run(), run()
	if one != two {
		t.Fatal("two runs differ")
	}
	if len(one) < 1<<19 {
		t.Errorf("%d bytes say little", len(one))
	}
}

func TestOnlyReadingIsServed(t *testing.T) {
	c := newCloud(t, api.Switches{}, story)
	for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodPut} {
		for _, target := range []string{alerts, "https://siem-eu.lab.test/api/alerts"} {
			if resp := c.do(method, target); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET" {
				t.Errorf("%s %s: %d", method, target, resp.StatusCode)
			}
		}
	}
}
