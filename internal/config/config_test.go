package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"drover"
)

const whole = `
ledger: {dir: /srv/ledger, limit: 200GiB, bodies: 180d, hold: 14d, hold_share: 30%, region: eu, allow_network_fs: true}
vault: {key_credential: drover-key}
apps:
  default:
    client_id: 0F8A9C11-1111-4222-8333-444455556666
    secret: {file: secrets/app}
    secret_until: 2026-12-31
    next_secret: {credential: app-2027}
    next_secret_until: "2027-12-31"
  gov:
    client_id: 22222222-2222-4222-8222-222222222222
    cloud: gcc-high
    certificate: {file: gov.pem, key_file: gov.key}
clouds:
  lab:
    authority: https://login.lab.test/
    graph: https://graph.lab.test
    siem: {eu: "https://siem-eu.lab.test"}
    mde: https://mde.lab.test
    mde_regions: {au: "https://au.mde.lab.test"}
    mde_resource: https://mde.lab.test/api
    ca_file: lab.pem
    allow_private: true
proxy: {microsoft: http://proxy.example:3128, sinks: environment}
ca: {microsoft: breaker.pem}
collect: {interval: 2m, overlap: 1h30m, concurrency: 4, page_size: 200, share: 80%, sweeps: [{depth: 1d, every: 1h}], start: 2026-03-02T08:00:00Z}
sinks:
  archive:
    type: file
    root: out
    path: "{tenant}.ndjson"
    rotate: {max_bytes: 64MiB, max_age: 1h}
    revisions: settled
  soc:
    type: splunk_hec
    from: all
    format: raw
    url: https://splunk.example:8088
    token: {env: HEC_TOKEN}
    index: defender
    ack: true
    lanes: 2
    batch: {max_records: 100, max_bytes: 500kB, max_age: 250ms}
    tenants:
      contoso: {index: contoso, token: {file: /run/contoso}}
      AAAAAAAA-0000-4000-8000-00000000000B: {index: fabrikam}
routes:
  - {customers: [tailspin], drop: true}
  - {tenants: [contoso, BBBBBBBB-0000-4000-8000-00000000000B], sinks: [soc]}
  - {sinks: [archive, soc]}
listen: {health: none, invitations: {url: https://mssp.example/SiemMsspConnector/, address: ":8443", certificate: web.pem, key: web.key}}
mssp: {name: Example SOC, contact: soc@mssp.example}
log: {level: debug, format: json}
`

func TestEveryKeyReachesItsField(t *testing.T) {
	got, err := Parse("/etc/drover/drover.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	day := 24 * time.Hour
	want := &Config{
		Version: 1,
		Ledger:  Ledger{Dir: "/srv/ledger", Limit: 200 << 30, Bodies: 180 * day, Hold: 14 * day, HoldShare: 30, Region: "eu", AllowNetworkFS: true},
		Vault:   Vault{KeyCredential: "drover-key"},
		Apps: map[string]App{
			"default": {Name: "default", ClientID: "0f8a9c11-1111-4222-8333-444455556666", Cloud: "worldwide", Secret: &SecretRef{File: "/etc/drover/secrets/app"}, SecretUntil: "2026-12-31",
				NextSecret: &SecretRef{Credential: "app-2027"}, NextSecretUntil: "2027-12-31"},
			"gov": {Name: "gov", ClientID: "22222222-2222-4222-8222-222222222222", Cloud: "gcc-high", Certificate: &Certificate{File: "/etc/drover/gov.pem", KeyFile: "/etc/drover/gov.key"}},
		},
		Clouds: map[string]Cloud{"lab": {
			Name: "lab", Authority: "https://login.lab.test", Graph: "https://graph.lab.test", SIEM: SIEMHosts{EU: "https://siem-eu.lab.test"},
			MDE: "https://mde.lab.test", MDERegions: MDEHosts{AU: "https://au.mde.lab.test"}, MDEResource: "https://mde.lab.test/api",
			SIEMResource: "https://graph.windows.net", CAFile: "/etc/drover/lab.pem", AllowPrivate: true,
		}},
		Proxy: Proxy{Microsoft: "http://proxy.example:3128", Sinks: "environment"},
		CA:    CA{Microsoft: "/etc/drover/breaker.pem"},
		Collect: Collect{
			Interval: 2 * time.Minute, Overlap: 90 * time.Minute, Concurrency: 4, PageSize: 200, Share: 80,
			Sweeps: []Sweep{{day, time.Hour}}, Start: "2026-03-02T08:00:00Z",
		},
		Sinks: map[drover.SinkID]Sink{
			"archive": {
				ID: "archive", Type: "file", From: "now", Format: "json", Revisions: "settled", Lanes: 4, Batch: Batch{500, 1e6, time.Second},
				File: &FileSink{Root: "/etc/drover/out", Path: "{tenant}.ndjson", Rotate: Rotate{64 << 20, time.Hour}},
			},
			"soc": {
				ID: "soc", Type: "splunk_hec", From: "all", Format: "raw", Revisions: "all", Lanes: 2, Batch: Batch{100, 500e3, 250 * time.Millisecond},
				SplunkHEC: &SplunkHEC{
					URL: "https://splunk.example:8088", Token: &SecretRef{Env: "HEC_TOKEN"}, Index: "defender", Source: "drover", Sourcetype: "drover:alert", Ack: true,
					Tenants: map[string]SplunkTenant{
						"contoso":                              {Index: "contoso", Token: &SecretRef{File: "/run/contoso"}},
						"aaaaaaaa-0000-4000-8000-00000000000b": {Index: "fabrikam"},
					},
				},
			},
		},
		Routes: Routes{
			{Customers: []string{"tailspin"}, Drop: true},
			{Tenants: []string{"contoso", "bbbbbbbb-0000-4000-8000-00000000000b"}, Sinks: []drover.SinkID{"soc"}},
			{Sinks: []drover.SinkID{"archive", "soc"}},
		},
		Listen: Listen{Health: "none", Invitations: Invitations{URL: "https://mssp.example/SiemMsspConnector", Address: ":8443", Certificate: "/etc/drover/web.pem", Key: "/etc/drover/web.key"}},
		MSSP:   MSSP{Name: "Example SOC", Contact: "soc@mssp.example"},
		Log:    Log{Level: "debug", Format: "json"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
}

func TestAnEmptyFileGivesTheDefaults(t *testing.T) {
	for name, text := range map[string]string{"no byte": "", "a comment": "# nothing yet\n", "an empty document": "---\n", "empty sections": "collect:\nledger:\nsinks:\n", "a byte order mark": "\xef\xbb\xbflog: {level: info}\n"} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse("drover.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if c.Collect.Interval != time.Minute || c.Collect.Overlap != 15*time.Minute || len(c.Collect.Sweeps) != 3 || c.Listen.Health != "127.0.0.1:9464" || c.Ledger.HoldShare != 20 || c.Vault.KeyFile == "" || c.Ledger.Dir == "" {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func TestTheMasterKeyIsNeverInTheLedgersDirectory(t *testing.T) {
	for _, key := range []string{"/srv/ledger/master.key", "/srv/ledger/deep/../master.key", "/srv/other/../ledger/k", "ledger/k"} {
		_, err := Parse("/srv/drover.yaml", []byte("ledger: {dir: ledger}\nvault:\n  key_file: "+key+"\n"))
		if err == nil || !strings.Contains(err.Error(), "/srv/drover.yaml:3: the master key must not lie in the ledger's directory /srv/ledger") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := Parse("/srv/drover.yaml", []byte("ledger: {dir: ledger}\nvault: {key_file: ledger.key}\n")); err != nil {
		t.Error(err)
	}
}

func TestSweepsCanBeSwitchedOff(t *testing.T) {
	c, err := Parse("x", []byte("collect: {sweeps: []}"))
	if err != nil || c.Collect.Sweeps == nil || len(c.Collect.Sweeps) != 0 {
		t.Errorf("%v %v", c, err)
	}
}

func TestWarnings(t *testing.T) {
	c, err := Parse("/e/drover.yaml", []byte(`
vault: {key_env: KEY}
apps: {default: {client_id: 22222222-2222-4222-8222-222222222222}}
clouds: {lab: {authority: https://a.test, graph: https://g.test, allow_private: true}}
collect:
  interval: 5s
sinks:
  soc:
    type: splunk_hec
    url: https://splunk.test
    token: {env: T}
listen: {health: "0.0.0.0:9464"}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `/e/drover.yaml:2: an environment variable can be read by more eyes than a file; key_file or key_credential is safer
/e/drover.yaml:3: the app default has no secret, certificate, federated or managed_identity; it can read only tenants that were connected by a sign-in to a public client
/e/drover.yaml:4: tokens for the cloud lab may be sent to private addresses
/e/drover.yaml:6: reading more often than every 15s takes much of what Microsoft allows an app and finds little earlier
/e/drover.yaml:8: without indexer acknowledgement Splunk says that it has received an alert, not that it has indexed it; what it loses in between is lost there
/e/drover.yaml:11: an environment variable can be read by more eyes than a file; file or credential is safer
/e/drover.yaml:12: other machines can ask for health and metrics, which name tenants and sinks`
	if diff := cmp.Diff(want, c.Warnings().Error()); diff != "" {
		t.Error(diff)
	}
	empty, err := Parse("x", nil)
	if err != nil || len(empty.Warnings()) != 2 {
		t.Errorf("of an empty config: %v %v", empty.Warnings(), err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	path := filepath.Join(dir, "drover.yaml")
	if err := os.WriteFile(path, []byte("ledger: {dir: here}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err != nil || c.Ledger.Dir != filepath.Join(dir, "here") {
		t.Errorf("%+v %v", c, err)
	}
	if err := os.WriteFile(path, []byte("a: 1\n"+strings.Repeat("#\n", maxSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || len(IsFaults(err)) != 1 || !strings.HasSuffix(err.Error(), "is this the right file?") {
		t.Errorf("a file too large: %v", err)
	}
}

func TestALargeFileOfAnythingIsRefusedInFewWords(t *testing.T) {
	for _, piece := range []string{"[", "- ", "? ", "{a,b},\n", "k: 1\n", "&a ", "\"a\" ", "a:\n ", "x", "'", "|\n", "!"} {
		text := "routes:" + strings.Repeat(piece, maxSize/16/len(piece))
		c, err := Parse("x", []byte(text))
		if c != nil || len(IsFaults(err)) == 0 || len(err.Error()) > 10_000 {
			t.Errorf("%q: %v", piece, err)
		}
	}
}

func TestExamplesParseWithoutWarnings(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, f := range files {
		c, err := Load(f)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, w := range c.Warnings() {
			t.Error(w)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	for _, tt := range faultCases {
		if len(tt.text) < 2<<10 { // the fuzzer is slow on long ones
			f.Add(tt.text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("fuzz.yaml", []byte(text))
		switch {
		case err != nil && (c != nil || len(IsFaults(err)) == 0 || err.Error() == ""):
			t.Errorf("an error that says nothing: %v", err)
		case err == nil:
			_ = c.Warnings()
			if c.Collect.Interval < time.Second || c.Collect.Overlap > 7*24*time.Hour || c.Vault.none() {
				t.Errorf("accepted: %+v", c)
			}
		}
	})
}
