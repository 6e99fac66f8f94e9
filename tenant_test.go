package drover

import (
	"slices"
	"strings"
	"testing"
)

func TestATenantIDHasOneSpelling(t *testing.T) {
	for _, s := range []string{string(contoso), strings.ToUpper(string(contoso)), "{" + string(contoso) + "}", "  " + string(contoso) + "\n", " {3C9F6B1E-0d0b-4a77-9d34-1b2c3d4e5f60} "} {
		if got, err := ParseTenantID(s); err != nil || got != contoso {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for name, s := range map[string]string{
		"nothing":             "",
		"a domain":            "contoso.onmicrosoft.com",
		"common":              "common",
		"no dashes":           "3c9f6b1e0d0b4a779d341b2c3d4e5f60",
		"a digit short":       string(contoso)[:35],
		"a digit too many":    string(contoso) + "0",
		"a letter beyond f":   "3c9f6b1g-0d0b-4a77-9d34-1b2c3d4e5f60",
		"a dash elsewhere":    "3c9f6b1-e0d0b-4a77-9d34-1b2c3d4e5f60",
		"a path":              "../" + string(contoso),
		"a full-width digit":  "\uff13c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f6",
		"a line end inside":   "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f6\n",
		"a very long text":    strings.Repeat("3", 10_000),
		"a slash for a dash":  "3c9f6b1e/0d0b/4a77/9d34/1b2c3d4e5f60",
		"two of them":         string(contoso) + "," + string(fabrikam),
		"a NUL behind":        string(contoso) + "\x00",
		"parentheses":         "(" + string(contoso) + ")",
		"an URN":              "urn:uuid:" + string(contoso),
		"letters that fold":   "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f6\u212a",
		"a zone, not a GUID":  "2026-03-02T08:03:41.5033333+00:00000",
		"an escaped dash":     "3c9f6b1e%2d0d0b-4a77-9d34-1b2c3d4e5f60",
		"a minus, not a dash": "3c9f6b1e\u22120d0b-4a77-9d34-1b2c3d4e5f6",
	} {
		got, err := ParseTenantID(s)
		if err == nil || got != "" {
			t.Errorf("%s: taken as %q", name, got)
			continue
		}
		if len(err.Error()) > 300 || !strings.Contains(err.Error(), "Tenant ID") {
			t.Errorf("%s: %d bytes of error: %.100s", name, len(err.Error()), err)
		}
	}
}

func TestAGUIDIsTheSameFromTextAndBytes(t *testing.T) {
	for s, want := range map[string]bool{string(contoso): true, strings.ToUpper(string(contoso)): true, "": false, string(contoso)[1:]: false, strings.Repeat("-", 36): false} {
		if IsGUID(s) != want || IsGUID([]byte(s)) != want {
			t.Errorf("%q: want %v", s, want)
		}
	}
}

func TestACustomersShortNameFitsEverywhere(t *testing.T) {
	for _, s := range []string{"a", "0", "contoso", "contoso-emea", "a--b", strings.Repeat("x", 63)} {
		if got, err := ParseCustomerID(s); err != nil || string(got) != s {
			t.Errorf("%q: got %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-", "-a", "a-", "Contoso", "contoso ltd", "contoso_emea", "contoso.emea", "contös", "a/b", "..", "a\\b", "a\x00", "a\n", "con*", strings.Repeat("x", 64), strings.Repeat("x", 10_000)} {
		if got, err := ParseCustomerID(s); err == nil || got != "" || len(err.Error()) > 300 {
			t.Errorf("%.80q: taken as %q, %.300v", s, got, err)
		}
	}
}

func TestOneSourceTellsATenantsAlerts(t *testing.T) {
	for name, tt := range map[string]struct {
		sources []SourceID
		primary SourceID
		second  []SourceID
	}{
		"Graph before all":          {[]SourceID{SIEMDetections, MDEAlerts, GraphIncidents, GraphAlerts}, GraphAlerts, []SourceID{SIEMDetections, MDEAlerts}},
		"MDE before detections":     {[]SourceID{SIEMDetections, MDEAlerts}, MDEAlerts, []SourceID{SIEMDetections, GraphAlerts}},
		"detections alone":          {[]SourceID{GraphIncidents, SIEMDetections}, SIEMDetections, []SourceID{GraphAlerts, MDEAlerts}},
		"nothing that tells alerts": {[]SourceID{GraphIncidents}, "", nil},
		"nothing":                   {nil, "", nil},
	} {
		x := Tenant{Sources: tt.sources}
		if got := x.Primary(); got != tt.primary {
			t.Errorf("%s: %s is primary", name, got)
		}
		for _, s := range []SourceID{GraphAlerts, GraphIncidents, MDEAlerts, SIEMDetections, "else"} {
			if got := x.Secondary(s); got != slices.Contains(tt.second, s) {
				t.Errorf("%s: is %s secondary: %v", name, s, got)
			}
		}
	}
}
