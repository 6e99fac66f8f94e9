package coverage

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"drover"
)

func TestAProductIsToldByTheAlertsOwnWords(t *testing.T) {
	for row, want := range map[string]string{
		`{"serviceSource":"microsoftDefenderForEndpoint","detectionSource":"customDetection"}`:        "Defender for Endpoint",
		`{"serviceSource":"microsoftDefenderForIdentity"}`:                                            "Defender for Identity",
		`{"serviceSource":"microsoftDefenderForCloudApps"}`:                                           "Defender for Cloud Apps",
		`{"serviceSource":"microsoftDefenderForOffice365","detectionSource":"manual"}`:                "Defender for Office 365",
		`{"serviceSource":"microsoft365Defender","detectionSource":"microsoftDefenderForEndpoint"}`:   "Defender XDR",
		`{"serviceSource":"azureAdIdentityProtection"}`:                                               "Entra ID Protection",
		`{"serviceSource":"microsoftAppGovernance"}`:                                                  "App governance",
		`{"serviceSource":"dataLossPrevention"}`:                                                      "Data Loss Prevention",
		`{"serviceSource":"microsoftDefenderForCloud"}`:                                               "Defender for Cloud",
		`{"serviceSource":"microsoftSentinel"}`:                                                       "Sentinel",
		`{"serviceSource":"microsoftInsiderRiskManagement"}`:                                          "Insider Risk Management",
		`{"serviceSource":"microsoftThreatIntelligence"}`:                                             "Threat Intelligence",
		`{"serviceSource":"microsoftSecurityForAI"}`:                                                  "Security for AI",
		`{"serviceSource":"MicrosoftDefenderATP"}`:                                                    "Defender for Endpoint",
		`{"serviceSource":"OfficeATP"}`:                                                               "Defender for Office 365",
		`{"serviceSource":"MicrosoftCloudAppSecurity"}`:                                               "Defender for Cloud Apps",
		`{"productName":"Microsoft Defender for Identity"}`:                                           "Defender for Identity",
		`{"serviceSource":"unknownFutureValue","productName":"Microsoft Sentinel"}`:                   "Sentinel",
		`{"serviceSource":"unknownFutureValue","detectionSource":"microsoftDefenderForKeyVault"}`:     "Defender for Cloud",
		`{"serviceSource":"unknown","productName":"","detectionSource":"cloudAppSecurity"}`:           "Defender for Cloud Apps",
		`{"serviceSource":null,"id":"fa12"}`:                                                          "Defender for Office 365",
		`{"id":"ca5f0a4c-90b2-4d0e-8a55-3f1f0d0b7711"}`:                                               "unnamed", // a GUID, by chance
		`{"id":"dl6f0a4c1e-90b2-4d0e-8a55-3f1f0d0b7711"}`:                                             "Data Loss Prevention",
		`{"serviceSource":"microsoftDefenderForToasters"}`:                                            "microsoftDefenderForToasters",
		`{"serviceSource":"microsoftDefenderForToasters","id":"sn1"}`:                                 "Sentinel",
		`{"evidence":[{"serviceSource":"microsoftSentinel"}],"serviceSource":"microsoft365Defender"}`: "Defender XDR",
		`{"serv\u0069ceSource":"microsoft\u0053entinel"}`:                                             "Sentinel",
		`{"Source":"EDR"}`: "unnamed", // the SIEM API's member says nothing here
		`no JSON`:          "unnamed",
	} {
		var id struct {
			ID string `json:"id"`
		}
		_ = json.Unmarshal([]byte(row), &id)
		if got := nameOf(productOf(drover.GraphAlerts, id.ID, []byte(row))); got != want {
			t.Errorf("%s: %s, want %s", row, got, want)
		}
	}
	for _, tt := range []struct {
		source    drover.SourceID
		row, want string
	}{
		{drover.MDEAlerts, `{"detectionSource":"WindowsDefenderAv"}`, "Defender for Endpoint"},
		{drover.MDEAlerts, `{"detectionSource":"WindowsDefenderAtp"}`, "Defender for Endpoint"},
		{drover.MDEAlerts, `{"detectionSource":"somethingNew"}`, "Defender for Endpoint"},
		{drover.MDEAlerts, `{"detectionSource":"MCAS"}`, "Defender for Cloud Apps"},
		{drover.SIEMDetections, `{"Source":"Antivirus"}`, "Defender for Endpoint"},
		{drover.SIEMDetections, `{"Source":"Device Guard"}`, "Defender for Endpoint"},
		{drover.SIEMDetections, `{"serviceSource":"microsoftSentinel"}`, "Defender for Endpoint"},
		{drover.GraphIncidents, `{"displayName":"x"}`, "Incidents"},
	} {
		if got := nameOf(productOf(tt.source, "x", []byte(tt.row))); got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.source, tt.row, got, tt.want)
		}
	}
}

func TestNoWordNamesTwoProductsAndAllAreReduced(t *testing.T) {
	n := 0
	for _, p := range products {
		for _, w := range p.words {
			n++
			if word(w) != w || byWord[w] != p.id {
				t.Errorf("%s: %q is not reduced, or another product's too", p.name, w)
			}
		}
	}
	if n != len(byWord) {
		t.Errorf("%d words, %d in the table", n, len(byWord))
	}
	for prefix, id := range prefixes {
		if _, ok := places[id]; !ok || len(prefix) != 2 {
			t.Errorf("the prefix %q leads to %q", prefix, id)
		}
	}
}

func TestWhatAnAPICallsAbsentIsFound(t *testing.T) {
	for says, want := range map[string]string{"Microsoft/microsoftDefenderForIdentity": "defender_for_identity", "Microsoft/Microsoft Defender for Cloud Apps": "defender_for_cloud_apps", "Contoso/Toaster": "", "": ""} {
		if got := named(says); got != want {
			t.Errorf("%q: %q", says, got)
		}
	}
}

// rows are texts at whose top members are looked for.
var rows = []string{
	`{}`, `[]`, ``, `{"a":1}`, `{"a":"x","b":"y"}`, ` { "a" : "x" , "b" : "y" } `, "{\n\t\"a\":\"x\",\r\n\"b\":{\"a\":\"no\",\"b\":[\"no\",{\"a\":\"no\"}]},\"c\":null}",
	`{"c":"}{][\",","a":"x"}`, `{"c":"\\","a":"x"}`, `{"c":"\\\"","a":"x","b":"\u0079\n"}`, `{"\u0061":"x"}`, `{"a":{"b":"no"},"b":[1,2,{"a":"no"}]}`, `{"a":true,"b":-1.5e9,"c":[]}`,
	`{"c":[[[{"a":["no"]}]]],"b":"y"}`, `{"a":"ä€😀"}`, `{"c":"a","b":":"}`,
}

func TestMembersAreThoseThatADecoderFinds(t *testing.T) {
	for _, row := range rows {
		var want map[string]any
		_ = json.Unmarshal([]byte(row), &want)
		var got [2]string
		members([]byte(row), []string{"a", "b"}, got[:])
		for i, name := range []string{"a", "b"} {
			if text, _ := want[name].(string); got[i] != text {
				t.Errorf("%s: %s is %q, want %q", row, name, got[i], text)
			}
		}
	}
}

func TestARowCutAnywhereOrDeepIsLookedThrough(t *testing.T) {
	var out [1]string
	for _, row := range rows {
		for i := range row {
			members([]byte(row[:i]), []string{"zz"}, out[:])
			members([]byte(row[i:]), []string{"zz"}, out[:])
		}
	}
	deep := `{"c":` + strings.Repeat(`[`, 1e6) + strings.Repeat(`]`, 1e6) + `,"a":"x"}`
	members([]byte(deep), []string{"a"}, out[:])
	if out[0] != "x" {
		t.Error("what stands behind a deep value is not found")
	}
}

func FuzzMembers(f *testing.F) {
	for _, row := range rows {
		f.Add([]byte(row))
	}
	f.Fuzz(func(t *testing.T, row []byte) {
		var got [2]string
		members(row, []string{"a", "b"}, got[:])
		var want map[string]json.RawMessage
		if json.Unmarshal(row, &want) != nil || !utf8.Valid(row) || strings.Count(string(row), "a")+strings.Count(string(row), "\\") > 1 {
			return // no JSON, bytes that a decoder changes, or a name that may be there twice
		}
		var text string
		if json.Unmarshal(want["a"], &text) == nil && got[0] != text {
			t.Errorf("%q, want %q", got[0], text)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	raw := []byte(`{"id":"da1","evidence":[` + strings.Repeat(`{"@odata.type":"#microsoft.graph.security.deviceEvidence","text":"some \"quoted\" text of a row"},`, 60) + `{}],"serviceSource":"microsoftSentinel"}`)
	at := drover.InstantOf(testStart)
	tally := NewTally(drover.GraphAlerts, at, at.Add(720*hour))
	b.SetBytes(int64(len(raw)))
	for i := range b.N {
		tally.Add(&drover.Revision{AlertID: fmt.Sprint(i), Created: at, Raw: raw})
	}
}

func TestWhatIsWatchedForSilenceIsInTheTable(t *testing.T) {
	for name, tt := range map[string]struct {
		source  drover.SourceID
		id, row string
		wants   string
	}{
		"a product of the table": {drover.GraphAlerts, "x1", `{"serviceSource":"microsoftDefenderForIdentity"}`, "Defender for Identity"},
		"by its ID alone":        {drover.GraphAlerts, "da1_2", `{}`, "Defender for Endpoint"},
		"the one that it has":    {drover.SIEMDetections, "1:2", `{"Source":"EDR"}`, "Defender for Endpoint"},
		"a stranger":             {drover.GraphAlerts, "x1", `{"serviceSource":"somethingNew"}`, ""},
		"no word at all":         {drover.GraphAlerts, "x1", `{}`, ""},
		"an incident":            {drover.GraphIncidents, "17", `{}`, ""},
	} {
		if got := Product(tt.source, tt.id, []byte(tt.row)); got != tt.wants {
			t.Errorf("%s: %q, want %q", name, got, tt.wants)
		}
	}
}
