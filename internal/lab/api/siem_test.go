package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/api"
	"drover/internal/lab/estate"
)

const detections = "https://wdatp-alertexporter-eu.windows.com/api/alerts"

// detection is what tests look at in a row.
type detection struct {
	FullID    string    `json:"FullId"`
	AlertPart int       `json:"AlertPart"`
	Processed time.Time `json:"LastProcessedTimeUtc"`
	Group     *string   `json:"MachineGroup"`
	DeviceTag *string   `json:"DeviceCreatedMachineTags"`
	CloudTag  *string   `json:"CloudCreatedMachineTags"`
}

func (c *cloud) detections(resp *http.Response) (list []detection) {
	c.Helper()
	body := text(resp)
	if resp.StatusCode != 200 || !strings.HasPrefix(body, "[") {
		c.Fatalf("%d %.200s", resp.StatusCode, body)
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		c.Fatal(err)
	}
	return list
}

var siemStory = estate.Options{ID: contoso, Backlog: 150, BacklogSpan: 6 * time.Hour, SIEM: true, Reprocess: true}

func siemCloud(t *testing.T, sw api.Switches) *cloud {
	c := newCloud(t, sw, siemStory)
	c.now = c.now.Add(5 * time.Minute)
	return c
}

func TestEverySpellingOfARequestForDetectionsIsTaken(t *testing.T) {
	c := siemCloud(t, api.Switches{})
	for _, path := range []string{"/api/alerts", "/api/alerts/", "/api/Alerts/", "/api/Alerts", "//api/alerts", "/API//ALERTS"} {
		if resp := c.ask("https://siem-eu.lab.test" + path); resp.StatusCode != 200 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if resp := c.ask("https://siem-eu.lab.test/api/alert"); resp.StatusCode != 404 || !strings.Contains(text(resp), `"Message"`) {
		t.Errorf("/api/alert: %d", resp.StatusCode)
	}
	since := noon.Add(-90 * time.Minute)
	want := len(c.detections(c.ask(detections + "?sinceTimeUtc=" + since.Format("2006-01-02T15:04:05"))))
	if want < 20 {
		t.Fatalf("%d rows say little", want)
	}
	for name, spelling := range map[string]string{
		"three digits, no zone":             since.Format("2006-01-02T15:04:05.000"),
		"two digits, no zone":               since.Format("2006-01-02T15:04:05.00"),
		"RFC 3339":                          since.Format(time.RFC3339),
		"with fraction":                     since.Format("2006-01-02T15:04:05.0000000Z"),
		"local time with an offset":         since.In(time.FixedZone("", 7200)).Format("2006-01-02T15:04:05.0000000-07:00"),
		"an offset behind Greenwich":        since.In(time.FixedZone("", -5*3600)).Format("2006-01-02T15:04:05.0000000-07:00"),
		"quoted, with a blank for the T":    `"` + since.Format("2006-01-02 15:04:05") + `"`,
		"a blank for the T, without quotes": since.Format("2006-01-02 15:04:05"),
	} {
		for _, escape := range []func(string) string{url.QueryEscape, func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, " ", "%20"), `"`, "%22") }} {
			if got := len(c.detections(c.ask(detections + "?SINCETIMEUTC=" + escape(spelling)))); got != want {
				t.Errorf("%s: %d rows, want %d", name, got, want)
			}
		}
	}
	for ago, d := range map[string]time.Duration{"PT10M": 10 * time.Minute, "PT2H": 2 * time.Hour, "P1D": 24 * time.Hour, "P1DT2H": 26 * time.Hour, "PT90.5S": 90500 * time.Millisecond, "P1W": 168 * time.Hour, "PT1H30M": 90 * time.Minute, "P0Y0M0DT5M": 5 * time.Minute} {
		a := len(c.detections(c.ask(detections + "?ago=" + ago)))
		b := len(c.detections(c.ask(detections + "?sinceTimeUtc=" + c.now.Add(-d).Format("2006-01-02T15:04:05.0000000Z"))))
		if a != b || a == 0 && d > 10*time.Minute {
			t.Errorf("ago=%s: %d rows, since the same time %d", ago, a, b)
		}
	}
	for _, bad := range []string{"ago=10m", "ago=P", "ago=PT", "ago=PT10", "ago=-PT1H", "ago=PT1H&sinceTimeUtc=2026-03-02", "ago=PT1H&untilTimeUtc=2026-03-02", "sinceTimeUtc=yesterday", "sinceTimeUtc=2026-13-01", "untilTimeUtc=x", "limit=x", "limit=-1", "limit=1&limit=2",
		"DeviceCreatedMachineTags=a&DeviceCreatedMachineTags=b", "ago=P99999999999Y"} {
		if resp := c.ask(detections + "?" + bad); resp.StatusCode != 400 || !strings.Contains(text(resp), `"Message"`) {
			t.Errorf("%s: %d", bad, resp.StatusCode)
		}
	}
}

func TestAWindowOfDetectionsHoldsWhatWasProcessedInIt(t *testing.T) {
	c := siemCloud(t, api.Switches{})
	all := c.detections(c.ask(detections + "?ago=P30D"))
	byTime := make(map[string]bool)
	for _, d := range all {
		byTime[d.FullID] = true
	}
	if len(byTime) != len(all) || len(all) < 150 {
		t.Fatalf("%d rows, %d identities", len(all), len(byTime))
	}
	two, inWindow := 0, 0
	from, to := c.now.Add(-3*time.Hour), c.now.Add(-time.Hour)
	edge := all[0].Processed // a bound on a row: it is in above, not below
	atEdge, aboveEdge, hourBefore := 0, 0, 0
	for _, d := range all {
		if !d.Processed.Before(c.now.Add(-2*time.Hour)) && d.Processed.Before(c.now) {
			two++
		}
		if !d.Processed.Before(from) && d.Processed.Before(to) {
			inWindow++
		}
		if d.Processed.Equal(edge) {
			atEdge++
		}
		if !d.Processed.Before(edge) {
			aboveEdge++
		} else if !d.Processed.Before(edge.Add(-time.Hour)) {
			hourBefore++
		}
	}
	for query, want := range map[string]int{
		"": two,
		"?sinceTimeUtc=" + stamp(from) + "&untilTimeUtc=" + stamp(to):                                   inWindow,
		"?sinceTimeUtc=" + stamp(to) + "&untilTimeUtc=" + stamp(from):                                   0,
		"?sinceTimeUtc=" + stamp(edge):                                                                  aboveEdge,
		"?sinceTimeUtc=" + stamp(edge) + "&untilTimeUtc=" + stamp(edge.Add(100)):                        atEdge,
		"?sinceTimeUtc=" + stamp(edge.Add(-time.Hour)) + "&untilTimeUtc=" + stamp(edge.Add(-time.Hour)): 0,
		"?sinceTimeUtc=" + stamp(edge.Add(-time.Hour)) + "&untilTimeUtc=" + stamp(edge):                 hourBefore,
		"?ago=P30D&limit=0":    0,
		"?ago=P30D&limit=7":    7,
		"?ago=P30D&limit=9999": len(all),
	} {
		if got := len(c.detections(c.ask(detections + query))); got != want {
			t.Errorf("%s: %d rows, want %d", query, got, want)
		}
	}
	// limit keeps the newest.
	newest := c.detections(c.ask(detections + "?ago=P30D&limit=7"))
	for _, d := range all {
		in := false
		for _, n := range newest {
			in = in || n.FullID == d.FullID
		}
		for _, n := range newest {
			if !in && d.Processed.After(n.Processed) {
				t.Fatal("limit left out a newer row")
			}
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func TestDetectionsAreChosenByGroupsAndTags(t *testing.T) {
	c := siemCloud(t, api.Switches{})
	all := c.detections(c.ask(detections + "?ago=P30D"))
	is := func(p *string, list ...string) bool {
		for _, v := range list {
			if p != nil && *p == v {
				return true
			}
		}
		return false
	}
	for query, want := range map[string]func(detection) bool{
		"machinegroups=UKMachines":                                  func(d detection) bool { return is(d.Group, "UKMachines") },
		"machinegroups=UKMachines&machinegroups=FranceMachines":     func(d detection) bool { return is(d.Group, "UKMachines", "FranceMachines") },
		"MachineGroups=Servers%20%26%20more":                        func(d detection) bool { return is(d.Group, "Servers & more") },
		"DeviceCreatedMachineTags=vip":                              func(d detection) bool { return is(d.DeviceTag, "vip") },
		"CloudCreatedMachineTags=vip&CloudCreatedMachineTags=kiosk": func(d detection) bool { return is(d.CloudTag, "vip", "kiosk") },
		"machinegroups=UKMachines&DeviceCreatedMachineTags=vip&CloudCreatedMachineTags=kiosk": func(d detection) bool {
			return is(d.Group, "UKMachines") && (is(d.DeviceTag, "vip") || is(d.CloudTag, "kiosk"))
		},
	} {
		n := 0
		for _, d := range all {
			if want(d) {
				n++
			}
		}
		got := c.detections(c.ask(detections + "?ago=P30D&" + query))
		for _, d := range got {
			if !want(d) {
				t.Errorf("%s: %s does not belong", query, d.FullID)
			}
		}
		if n == 0 || len(got) != n {
			t.Errorf("%s: %d rows, want %d", query, len(got), n)
		}
	}
	if n := len(c.detections(c.ask(detections + "?ago=P30D&machinegroups=None"))); n != 0 {
		t.Errorf("%d rows of a group that is not there", n)
	}
}

func TestOverlappingWindowsRepeatARowInTheSameBytes(t *testing.T) {
	c := siemCloud(t, api.Switches{})
	seen := make(map[string]string)
	repeats, shuffled := 0, false
	for range 5 {
		var rows []json.RawMessage
		if err := json.Unmarshal([]byte(text(c.ask(detections+"?ago=PT3H"))), &rows); err != nil {
			t.Fatal(err)
		}
		var last time.Time
		for _, raw := range rows {
			var d detection
			if err := json.Unmarshal(raw, &d); err != nil {
				t.Fatal(err)
			}
			shuffled = shuffled || d.Processed.After(last) && !last.IsZero()
			last = d.Processed
			key := fmt.Sprint(d.FullID, d.Processed)
			if old, ok := seen[key]; ok {
				repeats++
				if old != string(raw) {
					t.Fatalf("%s differs", key)
				}
			}
			seen[key] = string(raw)
		}
	}
	if repeats < 100 || !shuffled {
		t.Errorf("%d repeats, shuffled %v", repeats, shuffled)
	}
}

func TestTheYearsOfTheDetectionSchemaAreSwitches(t *testing.T) {
	c := siemCloud(t, api.Switches{})
	for n, last := range map[int]string{0: "LinkToMTP", 33: "Sha256", 46: "CommandLine", 48: "ReportID", 50: "IncidentLinkToMTP"} {
		c.api.Switch(func(s *api.Switches) { s.SIEMFields = n })
		var rows []map[string]any
		if err := json.Unmarshal([]byte(text(c.ask(detections+"?limit=1"))), &rows); err != nil || len(rows) != 1 {
			t.Fatal(err, len(rows))
		}
		want := n
		if n == 0 {
			want = 50
		}
		if _, ok := rows[0][last]; len(rows[0]) != want || !ok {
			t.Errorf("%d fields, want %d", len(rows[0]), want)
		}
		if _, ok := rows[0]["AlertPart"].(float64); !ok {
			t.Error("AlertPart is no number")
		}
	}
	c.api.Switch(func(s *api.Switches) { *s = api.Switches{SIEMNulls: true, SIEMCommas: true, SIEMOldTagNames: true} })
	body := text(c.ask(detections + "?limit=1"))
	for _, want := range []string{`"Actor":null`, `"InternalIPv4List":"10.4.18.162, 127.0.0.1"`, `"UserDefinedMachineTags":`, `"IoaDefinitiondId":"b20af1d2`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestAHostOfAnotherRegionRefuses(t *testing.T) {
	c := siemCloud(t, api.Switches{})
	hosts := map[string]bool{"wdatp-alertexporter-eu.windows.com": true, "wdatp-alertexporter-us.windows.com": false, "wdatp-alertexporter-uk.windows.com": false,
		"wdatp-alertexporter-eu.securitycenter.windows.com": true, "wdatp-alertexporter-uk.securitycenter.windows.com": false,
		"wdatp-alertexporter-us.gcc.securitycenter.windows.us": false, "WDATP-alertexporter-EU.windows.com:443": true, "siem-eu.lab.test:8443": true, "siem-us.lab.test": false, "127.0.0.1:8443": true}
	for host, right := range hosts {
		for _, strict := range []bool{false, true} {
			c.api.Switch(func(s *api.Switches) { s.StrictRegion = strict })
			want := 200
			if strict && !right {
				want = 403
			}
			if resp := c.ask("https://" + host + "/api/alerts"); resp.StatusCode != want {
				t.Errorf("%s, strict %v: %d", host, strict, resp.StatusCode)
			}
		}
	}
	c.api.Switch(func(s *api.Switches) { s.SIEMOff = true })
	if resp := c.ask(detections); resp.StatusCode != 410 {
		t.Errorf("switched off: %d", resp.StatusCode)
	}
	c.api.Switch(func(s *api.Switches) { *s = api.Switches{SIEMPerMinute: 2} })
	for _, want := range []int{200, 200, 429} {
		if resp := c.ask(detections); resp.StatusCode != want {
			t.Errorf("status %d, want %d", resp.StatusCode, want)
		}
	}
	if resp := c.ask(detections, "Authorization", ""); resp.StatusCode != 401 || !strings.Contains(text(resp), "Message") {
		t.Errorf("without a token: %d", resp.StatusCode)
	}
}
