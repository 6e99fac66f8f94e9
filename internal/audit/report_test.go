package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"drover"
)

func sample() *Report {
	f := &ReportFeed{Tenant: tenantID, Name: "contoso", Customer: "contoso", Source: drover.GraphAlerts, Route: graphAlerts.says, By: "created", Through: begin}
	f.add(Difference{What: Missing, Where: "ledger", Why: Unexplained, AlertID: "da<script>alert(1)</script>\x1b[31m", Changed: begin, Created: begin, Severity: "high", Detail: "a & b \u2028 \u202e"})
	f.add(Difference{What: Missing, Where: "ledger", Why: WhyGap, AlertID: "da2", Changed: begin, Created: drover.NoInstant, Detail: "gap 3"})
	r := &Report{Format: Format, Made: begin, Version: "1", Ledger: Ledger{"id", "life"}, Window: Window{begin, begin + 1}, Feeds: []*ReportFeed{f}, CannotSee: blind([]drover.SourceID{drover.GraphAlerts})}
	r.close()
	return r
}

func TestAReportThatWasTouchedIsTold(t *testing.T) {
	r := sample()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, text, "", "\t"); err != nil {
		t.Fatal(err)
	}
	for _, same := range [][]byte{text, pretty.Bytes()} {
		if got, err := Verify(same); err != nil || got.Verdict != Differ {
			t.Errorf("as it was made: %v, %v", got, err)
		}
	}
	for from, to := range map[string]string{`"verdict":"differ"`: `"verdict":"agree"`, `"incarnation":"life"`: `"incarnation":"live"`, `"unexplained":1`: `"unexplained":0`, `"why":"gap"`: `"why":"late"`, `"format":"drover.audit.1"`: `"format":"drover.audit.1","extra":1`} {
		touched := strings.Replace(string(text), from, to, 1)
		if touched == string(text) {
			t.Fatalf("%s is not in the report", from)
		}
		if _, err := Verify([]byte(touched)); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestThePageStandsAloneAndShowsNothingAsMarkup(t *testing.T) {
	var b bytes.Buffer
	if err := sample().HTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<script", "\x1b", "src=", "href=", "@import", "url(", "\u202e", "\u2028", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("%q is on the page", bad)
		}
	}
	for _, want := range []string{"differ", "contoso", "UNEXPLAINED", "gap 3", "belong to no incident", "tuning rule", "overwritten between two reads", "life"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
}

// docs/audit.md explains every word of a report, and no other.
func TestTheDocsNameEveryWordOfAReport(t *testing.T) {
	text, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		listed[m[1]] = true
	}
	words := []string{Missing, Altered, Twice, Foreign, Extra, Place}
	for why, says := range whys {
		if says == "" {
			t.Errorf("%s is not explained on the page", why)
		}
		words = append(words, why)
	}
	for _, w := range words {
		if !listed[w] {
			t.Errorf("%s is not explained in docs/audit.md", w)
		}
	}
	for _, s := range sources {
		if !strings.Contains(string(text), "`"+string(s.id)+"`") {
			t.Errorf("%s is not in docs/audit.md", s.id)
		}
	}
}

func TestAnAnswerIsReadInEveryFormAndNothingElseIs(t *testing.T) {
	for text, rows := range map[string]int{
		`{"value":[{"id":"a"},{"id":"b"}]}`:  2,
		"\xef\xbb\xbf{\"value\":[]}":         0,
		`[{"id":"a"}]`:                       1,
		`{"@odata.context":"x","id":"a"}`:    1,
		`{"value":[null,3,{"id":7}]}`:        3,
		`{"value":[]}x`:                      -1,
		`{"value":{}}`:                       -1,
		`{"value":[{"id":"a"}`:               -1,
		`{"error":{"code":"x"},"value":[]}`:  -1,
		`{}`:                                 -1,
		`null`:                               -1,
		``:                                   -1,
		`<html>`:                             -1,
		`{"value":[{"id":"a"}]}{"value":[]}`: -1,
		`{"value":[{"id":"a","tenantId":"` + "x" + `"}]}   `:  1,
		`{"value":[],"@odata.count":"x","@odata.nextLink":7}`: 0,
	} {
		p, err := graphAlerts.parse([]byte(text), tenantID)
		if (err != nil) != (rows < 0) || err == nil && len(p.rows) != rows {
			t.Errorf("%q: %d rows, %v", text, len(p.rows), err)
		}
	}
	r := graphAlerts.row([]byte(`{"id":"a","tenantId":"3C9F6B1E-0d0b-4a77-9d34-1b2c3d4e5f60","aadTenantId":"00000000-0000-0000-0000-000000000001","createdDateTime":"2026-03-02T08:00:00Z"}`), tenantID)
	if r.tenant != "00000000-0000-0000-0000-000000000001" || r.created != begin || r.changed.Known() {
		t.Errorf("%+v", r)
	}
}
