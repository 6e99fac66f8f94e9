package entra

import (
	"strings"
	"testing"

	"drover"
)

func TestEveryCloudHasItsOwnHosts(t *testing.T) {
	for name, want := range map[string][2]string{
		"worldwide": {"https://login.microsoftonline.com", "https://graph.microsoft.com"},
		"gcc":       {"https://login.microsoftonline.com", "https://graph.microsoft.com"},
		"gcc-high":  {"https://login.microsoftonline.us", "https://graph.microsoft.us"},
		"dod":       {"https://login.microsoftonline.us", "https://dod-graph.microsoft.us"},
		"china":     {"https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"},
	} {
		c := BuiltIn()[name]
		if c.Name != name || c.Authority != want[0] || c.Graph != want[1] || c.Resource(drover.GraphAlerts) != want[1] || c.Resource(drover.SIEMDetections) != "https://graph.windows.net" || c.AllowPrivate {
			t.Errorf("%s: got %+v", name, c)
		}
	}
	if len(BuiltIn()) != 8 {
		t.Errorf("%d clouds", len(BuiltIn()))
	}
	BuiltIn()["worldwide"].SIEM["eu"] = "https://evil.example"
	if BuiltIn()["worldwide"].SIEM["eu"] != "https://wdatp-alertexporter-eu.windows.com" {
		t.Error("the built-in table can be changed")
	}
}

func TestASourcesHostGoesByCloudAndRegion(t *testing.T) {
	for _, tt := range []struct {
		cloud  string
		source drover.SourceID
		region string
		want   string
	}{
		{"worldwide", drover.GraphAlerts, "", "https://graph.microsoft.com"},
		{"worldwide", drover.SIEMDetections, "eu", "https://wdatp-alertexporter-eu.windows.com"},
		{"worldwide", drover.SIEMDetections, "UK", "https://wdatp-alertexporter-uk.windows.com"},
		{"worldwide", drover.SIEMDetections, "", ""},
		{"worldwide", drover.SIEMDetections, "au", ""},
		{"gcc", drover.SIEMDetections, "", "https://wdatp-alertexporter-us.gcc.securitycenter.windows.us"},
		{"dod", drover.SIEMDetections, "us", "https://wdatp-alertexporter-us.securitycenter.windows.us"},
		{"china", drover.GraphAlerts, "", ""},
		{"china", drover.SIEMDetections, "", ""},
		{"china", drover.GraphIncidents, "", ""},
		{"china", drover.MDEAlerts, "", ""},
		{"bleu", drover.GraphAlerts, "", ""},
		{"delos", drover.GraphIncidents, "", ""},
		{"govsg", drover.MDEAlerts, "", ""},
		{"worldwide", drover.GraphIncidents, "eu", "https://graph.microsoft.com"},
		{"worldwide", drover.MDEAlerts, "", "https://api.security.microsoft.com"},
		{"worldwide", drover.MDEAlerts, "EU", "https://eu.api.security.microsoft.com"},
		{"worldwide", drover.MDEAlerts, "swa", "https://swa.api.security.microsoft.com"},
		{"worldwide", drover.MDEAlerts, "mars", "https://api.security.microsoft.com"},
		{"gcc", drover.MDEAlerts, "us", "https://api-gcc.securitycenter.microsoft.us"},
		{"gcc-high", drover.MDEAlerts, "", "https://api-gov.securitycenter.microsoft.us"},
		{"dod", drover.MDEAlerts, "", "https://api-gov.securitycenter.microsoft.us"},
		{"worldwide", "graph.devices", "", ""},
	} {
		got, err := BuiltIn()[tt.cloud].Host(tt.source, tt.region)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s %s %q: got %q, %v", tt.cloud, tt.source, tt.region, got, err)
		}
		if err != nil && tt.source != "graph.devices" && (drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" || !strings.Contains(err.Error(), tt.cloud)) {
			t.Errorf("%s %s: says %v, hint %q", tt.cloud, tt.source, err, drover.HintOf(err))
		}
	}
}

// The audience of Defender for Endpoint is not its host.
func TestDefenderForEndpointHasAHostAndAnAudience(t *testing.T) {
	for cloud, want := range map[string]string{"worldwide": "https://api.securitycenter.microsoft.com", "gcc": "https://api-gcc.securitycenter.microsoft.us",
		"gcc-high": "https://api-gov.securitycenter.microsoft.us", "dod": "https://api-gov.securitycenter.microsoft.us"} {
		if got := BuiltIn()[cloud].Resource(drover.MDEAlerts); got != want {
			t.Errorf("%s: %s", cloud, got)
		}
	}
	table, err := NewClouds(Cloud{Name: "lab", Authority: "https://login.lab.test", Graph: "https://graph.lab.test", MDE: "https://mde.lab.test/", MDERegions: map[string]string{"eu": "https://eu.mde.lab.test/"}})
	if err != nil {
		t.Fatal(err)
	}
	for region, want := range map[string]string{"": "https://mde.lab.test", "eu": "https://eu.mde.lab.test"} {
		if got, err := table["lab"].Host(drover.MDEAlerts, region); got != want || err != nil {
			t.Errorf("%q: %s, %v", region, got, err)
		}
	}
	if got := table["lab"].Resource(drover.MDEAlerts); got != mdeResource {
		t.Errorf("audience %s", got)
	}
}

func TestACustomCloudIsCheckedAndNeverStandsForABuiltInOne(t *testing.T) {
	good := Cloud{Name: "lab", Authority: "https://login.lab.test/", Graph: "https://127.0.0.1:8443", SIEM: map[string]string{"eu": "https://siem.lab.test/"}}
	table, err := NewClouds(good)
	if err != nil {
		t.Fatal(err)
	}
	c, err := table.Of(drover.Tenant{Cloud: "lab"})
	if err != nil || c.Authority != "https://login.lab.test" || c.SIEM["eu"] != "https://siem.lab.test" || c.Resource(drover.SIEMDetections) != siemResource {
		t.Errorf("got %+v, %v", c, err)
	}
	if good.SIEM["eu"] != "https://siem.lab.test/" {
		t.Error("the caller's table was changed")
	}
	if c, err := table.Of(drover.Tenant{}); err != nil || c.Name != DefaultCloud {
		t.Errorf("no cloud named: %v", err)
	}
	if _, err := table.Of(drover.Tenant{Cloud: "mars"}); err == nil || !strings.Contains(drover.HintOf(err), "bleu, china, delos, dod, gcc, gcc-high, govsg, lab, worldwide") {
		t.Errorf("got %v", err)
	}
	for name, change := range map[string]func(*Cloud){
		"a built-in name":   func(c *Cloud) { c.Name = "gcc" },
		"plaintext":         func(c *Cloud) { c.Authority = "http://login.lab.test" },
		"no authority":      func(c *Cloud) { c.Authority = "" },
		"no scheme":         func(c *Cloud) { c.Graph = "graph.lab.test" },
		"a user":            func(c *Cloud) { c.Graph = "https://u:p@graph.lab.test" },
		"a query":           func(c *Cloud) { c.Graph = "https://graph.lab.test?x=1" },
		"a plaintext SIEM":  func(c *Cloud) { c.SIEM = map[string]string{"eu": "http://siem.lab.test"} },
		"a plaintext MDE":   func(c *Cloud) { c.MDE = "http://mde.lab.test" },
		"a plaintext near":  func(c *Cloud) { c.MDERegions = map[string]string{"eu": "http://mde.lab.test"} },
		"a name only":       func(c *Cloud) { *c = Cloud{Name: "x"} },
		"no host at all":    func(c *Cloud) { c.Graph = "https://" },
		"something else":    func(c *Cloud) { c.Graph = "%" },
		"a fragment behind": func(c *Cloud) { c.Graph = "https://graph.lab.test#x" },
	} {
		c := good
		change(&c)
		if _, err := NewClouds(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewClouds(good, good); err == nil {
		t.Error("one name twice: taken")
	}
}
