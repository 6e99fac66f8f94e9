package lab_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drover/internal/lab"
	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

var update = flag.Bool("update", false, "write the tables of docs/lab.md")

// cloud is a lab that listens, and a client that knows its CA and finds every
// host name there.
type cloud struct {
	*testing.T
	*lab.Lab
	addr   string
	client *http.Client
}

func start(t *testing.T, opt lab.Options) *cloud {
	t.Helper()
	opt.Seed = 1
	l, err := lab.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := l.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c := &cloud{T: t, Lab: l, addr: addr}
	c.client = c.newClient()
	return c
}

// newClient has connections of its own.
func (c *cloud) newClient() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.CAPEM())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.addr)
		}}
	c.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (c *cloud) do(method, target, token, body string) (status int, text string, header http.Header) {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, target, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		c.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

// token signs the app in at a tenant, for a resource.
func (c *cloud) token(tenant, resource string) string {
	c.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.AppID()}, "client_secret": {c.AppSecret()}, "resource": {resource}}
	resp, err := c.client.PostForm("https://login.microsoftonline.com/"+tenant+"/oauth2/token", form)
	if err != nil {
		c.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var body struct {
		Token string `json:"access_token"`
		Why   string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Token == "" {
		c.Fatal(err, body.Why)
	}
	return body.Token
}

func TestTheRealHostNamesAreServed(t *testing.T) {
	c := start(t, lab.Options{Customers: 3})
	tenant := c.Customers()[0].Tenant
	commercial, gov, siem := c.token(tenant, "https://graph.microsoft.com"), c.token(tenant, "https://graph.microsoft.us"), c.token(tenant, "https://graph.windows.net")
	for _, tt := range []struct {
		target, token string
		want          int
	}{
		{"https://graph.microsoft.com/v1.0/security/alerts_v2", commercial, 200},
		{"https://GRAPH.microsoft.com/v1.0/security/alerts_V2", commercial, 200},
		{"https://graph.lab.test:8443/v1.0/security/alerts_v2", commercial, 200},
		{"https://" + c.addr + "/v1.0/security/alerts_v2", commercial, 200},
		{"https://localhost/v1.0/security/alerts_v2", commercial, 200},
		{"https://graph.microsoft.us/v1.0/security/alerts_v2", gov, 200},
		{"https://graph.microsoft.us/v1.0/security/alerts_v2", commercial, 401},
		{"https://graph.microsoft.com/v1.0/security/alerts_v2", gov, 401},
		{"https://dod-graph.microsoft.us/v1.0/security/alerts_v2", gov, 401},
		{"https://microsoftgraph.chinacloudapi.cn/v1.0/security/alerts_v2", commercial, 404},
		{"https://graph.microsoft.com/v1.0/security/alerts_v2", siem, 401},
		{"https://wdatp-alertexporter-eu.windows.com/api/alerts", siem, 200},
		{"https://wdatp-alertexporter-us.gcc.securitycenter.windows.us/api/alerts", siem, 200},
		{"https://siem-uk.lab.test//api/Alerts/", siem, 200},
		{"https://" + c.addr + "/api/alerts", siem, 200},
		{"https://wdatp-alertexporter-eu.windows.com/api/alerts", commercial, 401},
	} {
		if status, text, _ := c.do(http.MethodGet, tt.target, tt.token, ""); status != tt.want {
			t.Errorf("%s: %d %.200s", tt.target, status, text)
		}
	}
	const endpoint = "https://api.securitycenter.microsoft.com"
	mde, older, xdr := c.token(tenant, endpoint), c.token(tenant, "https://securitycenter.onmicrosoft.com/windowsatpservice"), c.token(tenant, "https://api.security.microsoft.com")
	gcc, high := c.token(tenant, "https://api-gcc.securitycenter.microsoft.us"), c.token(tenant, "https://api-gov.securitycenter.microsoft.us")
	byID, own := c.token(tenant, "fc780465-2017-40d4-a0c5-307022471b92"), c.token(tenant, "https://mde.lab.test")
	for _, tt := range []struct {
		target, token string
		want, strict  int // with mde_strict_audience
	}{
		{"https://graph.microsoft.com/v1.0/security/incidents", commercial, 200, 200},
		{"https://graph.microsoft.us/v1.0/security/incidents", gov, 200, 200},
		{"https://graph.microsoft.us/v1.0/security/incidents", commercial, 401, 401},
		{"https://microsoftgraph.chinacloudapi.cn/v1.0/security/incidents", commercial, 404, 404},
		{"https://graph.microsoft.com/v1.0/security/incidents", mde, 401, 401},
		{"https://api.security.microsoft.com/api/alerts", mde, 200, 200},
		{"https://api.security.microsoft.com/api/v1.0/alerts", older, 200, 200},
		{"https://API.security.microsoft.com/api/v1.0/alerts", byID, 200, 200},
		{"https://api.security.microsoft.com/api/alerts", xdr, 200, 403},
		{"https://api.security.microsoft.com/api/alerts", commercial, 403, 403},
		{"https://api.security.microsoft.com/api/alerts", siem, 403, 403},
		{"https://api.security.microsoft.com/api/incidents", mde, 404, 404},
		{"https://api.securitycenter.microsoft.com/api/alerts", mde, 200, 200},
		{"https://api.securitycenter.windows.com/api/alerts", mde, 200, 200},
		{"https://eu.api.security.microsoft.com/api/alerts", mde, 200, 200},
		{"https://aea.api.security.microsoft.com/api/alerts", mde, 200, 200},
		{"https://api-us.securitycenter.microsoft.com/api/alerts", mde, 200, 200},
		{"https://api-gcc.securitycenter.microsoft.us/api/alerts", gcc, 200, 200},
		{"https://api-gcc.securitycenter.microsoft.us/api/alerts", mde, 200, 403},
		{"https://api-gov.securitycenter.microsoft.us/api/alerts", high, 200, 200},
		{"https://api-gov.securitycenter.microsoft.us/api/alerts", mde, 403, 403},
		{"https://mde.lab.test/api/alerts", own, 200, 403},
		{"https://" + c.addr + "/api/v1.0/alerts", mde, 200, 200},
		{"https://" + c.addr + "/mde/api/alerts", mde, 200, 200},
		{"https://" + c.addr + "/api/alerts", mde, 401, 401}, // by path that is the SIEM API
	} {
		for _, strict := range []bool{false, true} {
			c.API().Switch(func(s *api.Switches) { s.MDEStrictAudience = strict })
			want := map[bool]int{false: tt.want, true: tt.strict}[strict]
			if status, text, _ := c.do(http.MethodGet, tt.target, tt.token, ""); status != want {
				t.Errorf("%s, strict %v: %d, want %d; %.200s", tt.target, strict, status, want, text)
			}
		}
	}
	c.API().Switch(func(s *api.Switches) { s.StrictRegion = true })
	for i, k := range c.Customers() {
		token := c.token(k.Tenant, "https://graph.windows.net")
		for j, region := range []string{"eu", "us", "uk"} {
			want := map[bool]int{true: 200, false: 403}[i == j]
			if status, _, _ := c.do(http.MethodGet, "https://wdatp-alertexporter-"+region+".windows.com/api/alerts", token, ""); status != want {
				t.Errorf("%s, whose region is %s, at %s: %d", k.Name, k.Region, region, status)
			}
		}
	}
}

func TestWhoeverDrivesTheLabCanSeeAndChangeItOverHTTP(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "truth.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	c := start(t, lab.Options{Customers: 2, Truth: log, Story: func(int) estate.Options { return estate.Options{Backlog: 5} }})
	tenant := c.Customers()[1].Tenant
	token := c.token(tenant, "https://graph.microsoft.com")
	const graph = "https://graph.microsoft.com/v1.0/security/alerts_v2"
	var index struct {
		App       string
		Customers []lab.Customer
		Desks     []string
	}
	if _, text, _ := c.do(http.MethodGet, "https://localhost/lab/", "", ""); json.Unmarshal([]byte(text), &index) != nil || index.App != c.AppID() || len(index.Customers) != 2 || index.Customers[1].Tenant != tenant {
		t.Fatalf("%s", text)
	}
	for _, desk := range index.Desks {
		status, text, _ := c.do(http.MethodGet, "https://any.lab.test"+desk, "", "")
		if want := map[string]int{"/lab/alerts": 405, "/lab/incidents": 405, "/lab/splunk/": 404}[desk]; status != max(want, 200) && status != want {
			t.Errorf("%s: %d %.100s", desk, status, text)
		}
	}
	if _, text, _ := c.do(http.MethodGet, "https://localhost/lab/ca.pem", "", ""); text != string(c.CAPEM()) {
		t.Error("the CA is another one")
	}

	if status, text, _ := c.do(http.MethodPost, "https://localhost/lab/faults", "", `[{"kind":"status","param":503,"count":1,"tenant":"`+tenant+`"}]`); status != 200 {
		t.Fatal(text)
	}
	for _, want := range []int{503, 200} {
		if status, _, _ := c.do(http.MethodGet, graph, token, ""); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
	if status, _, _ := c.do(http.MethodPatch, "https://localhost/lab/switches", "", `{"top_refused":true,"retry_after":"fractional"}`); status != 200 || !c.API().Switches().TopRefused {
		t.Error("the switch did not move")
	}
	if status, _, _ := c.do(http.MethodGet, graph+"?$top=1001", token, ""); status != 400 {
		t.Errorf("a switch that moved does nothing: %d", status)
	}
	for _, bad := range []string{`{"top_refusd":true}`, `{"retry_after":"soon"}`, `{"siem_fields":49}`, `{"per_minute":-1}`, `[]`} {
		if status, _, _ := c.do(http.MethodPatch, "https://localhost/lab/switches", "", bad); status != 400 || !c.API().Switches().TopRefused {
			t.Errorf("%s: %d", bad, status)
		}
	}
	if status, text, _ := c.do(http.MethodPut, "https://localhost/lab/switches", "", `{}`); status != 200 || c.API().Switches() != (api.Switches{}) {
		t.Errorf("%d %s", status, text)
	}

	_, text, header := c.do(http.MethodGet, "https://localhost/lab/truth", "", "")
	if !strings.HasPrefix(text, `{"t":"start"`) || strings.Count(text, `"t":"served"`) != 5 {
		t.Errorf("%.200s", text)
	}
	made := ""
	if status, text, _ := c.do(http.MethodPost, "https://localhost/lab/alerts", "", `{"tenant":"`+tenant+`"}`); status != 200 {
		t.Fatal(text)
	} else {
		made = strings.Split(text, `"`)[3]
	}
	if status, text, _ := c.do(http.MethodGet, graph+"/"+made, token, ""); status != 200 || !strings.Contains(text, `"comments":[]`) {
		t.Errorf("the alert made by hand: %d", status)
	}
	if status, text, _ := c.do(http.MethodPost, "https://localhost/lab/alerts", "", `{"tenant":"`+tenant+`","id":"`+made+`","silent":true}`); status != 200 {
		t.Error(text)
	}
	if _, text, _ := c.do(http.MethodGet, graph+"/"+made, token, ""); strings.Contains(text, `"comments":[]`) {
		t.Error("the change does not show")
	}
	for body, want := range map[string]int{`{"tenant":"nobody"}`: 404, `{"tenant":"` + tenant + `","id":"x"}`: 404, `{"tennant":""}`: 400} {
		if status, _, _ := c.do(http.MethodPost, "https://localhost/lab/alerts", "", body); status != want {
			t.Errorf("%s: %d", body, status)
		}
	}
	_, text, _ = c.do(http.MethodGet, "https://localhost/lab/truth?from="+header.Get("X-Lab-Next"), "", "")
	if strings.Contains(text, `"t":"start"`) || strings.Count(text, `"t":"served"`) != 2 || !strings.Contains(text, made) {
		t.Errorf("what came since: %s", text)
	}
}

func TestAnAPIThatIsRetiredIsGoneByNameAndTheOthersAreThere(t *testing.T) {
	c := start(t, lab.Options{Customers: 1})
	const mde, graph = "https://api.security.microsoft.com/api/alerts", "https://graph.microsoft.com/v1.0/security/incidents"
	for _, how := range []string{"unresolved", "refused", ""} {
		if status, text, _ := c.do(http.MethodPatch, "https://localhost/lab/switches", "", `{"mde_retired":"`+how+`"}`); status != 200 {
			t.Fatal(text)
		}
		resp, err := c.newClient().Get(mde)
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != (how == "") {
			t.Errorf("%q: %v", how, err)
		}
		raw, err := tls.Dial("tcp", c.addr, &tls.Config{ServerName: "api-eu.securitycenter.microsoft.com", InsecureSkipVerify: true}) //nolint:gosec // whether there is a handshake at all
		if err == nil {
			_ = raw.Close()
		}
		if (err == nil) != (how == "") {
			t.Errorf("%q: a handshake by the name: %v", how, err)
		}
		var unknown *net.DNSError
		switch err := c.Reach("api.security.microsoft.com:443"); how {
		case "unresolved":
			if !errors.As(err, &unknown) || !unknown.IsNotFound {
				t.Errorf("%q: %v", how, err)
			}
		case "refused":
			if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%q: %v", how, err)
			}
		default:
			if err != nil {
				t.Errorf("%q: %v", how, err)
			}
		}
		if status, _, _ := c.do(http.MethodGet, graph, "", ""); status != 401 || c.Reach("graph.microsoft.com") != nil {
			t.Errorf("%q: Graph answers %d", how, status)
		}
	}
	for _, bad := range []string{`{"mde_retired":"soon"}`, `{"code_429":"x"}`, `{"mde_cap":-1}`} {
		if status, _, _ := c.do(http.MethodPatch, "https://localhost/lab/switches", "", bad); status != 400 {
			t.Errorf("%s: %d", bad, status)
		}
	}
}

func TestIncidentsAreMadeAndMergedAtTheDesk(t *testing.T) {
	c := start(t, lab.Options{Customers: 1, Story: func(int) estate.Options { return estate.Options{Backlog: 40, Incidents: true} }})
	tenant := c.Customers()[0].Tenant
	token := c.token(tenant, "https://graph.microsoft.com")
	desk := func(body string, want int) string {
		t.Helper()
		status, text, _ := c.do(http.MethodPost, "https://localhost/lab/incidents", "", body)
		if status != want {
			t.Fatalf("%s: %d %s", body, status, text)
		}
		return text
	}
	made := strings.Split(desk(`{"tenant":"`+tenant+`"}`, 200), `"`)[3]
	desk(`{"tenant":"`+tenant+`","id":"1001"}`, 200)
	desk(`{"tenant":"`+tenant+`","id":"1002","into":"`+made+`"}`, 200)
	desk(`{"tenant":"`+tenant+`","id":"1002","into":"none"}`, 404)
	desk(`{"tenant":"`+tenant+`","id":"none"}`, 404)
	for path, want := range map[string]string{"/1001": `"comment":"note 0"`, "/1002": `"redirectIncidentId":"` + made + `"`, "/" + made + "/alerts": `"incidentId":"` + made + `"`} {
		if status, text, _ := c.do(http.MethodGet, "https://graph.microsoft.com/v1.0/security/incidents"+path, token, ""); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.300s", path, status, text)
		}
	}
}

func TestFaultsOfConnectionsComeBeforeAnyRequest(t *testing.T) {
	c := start(t, lab.Options{Customers: 1})
	for name, tt := range map[string]struct {
		rule fault.Rule
		want string // in the error
	}{
		"reset when accepted":      {fault.Rule{Kind: fault.Reset}, "reset"},
		"reset in the handshake":   {fault.Rule{Kind: fault.Reset, Value: "tls"}, ""},
		"an expired certificate":   {fault.Rule{Kind: fault.TLS, Value: "expired"}, "expired"},
		"one for another name":     {fault.Rule{Kind: fault.TLS, Value: "name"}, "elsewhere.example"},
		"one of an unknown issuer": {fault.Rule{Kind: fault.TLS, Value: "issuer"}, "unknown authority"},
		"an old version":           {fault.Rule{Kind: fault.TLS, Value: "old"}, "version"},
	} {
		tt.rule.API = "conn"
		c.Faults().Clear()
		c.Faults().Set(tt.rule)
		resp, err := c.newClient().Get("https://graph.microsoft.com/v1.0/security/alerts_v2")
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: status %d", name, resp.StatusCode)
		} else if name != "reset when accepted" && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Faults().Clear()
	c.Faults().Set(fault.Rule{Kind: fault.Hang, API: "conn"})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for c.Faults().Hits()[fault.Hang] == 0 {
			runtime.Gosched()
		}
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://graph.microsoft.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := c.newClient().Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a connection that hangs answers")
	}
	cancel()
	c.Faults().Clear()
	if status, _, _ := c.do(http.MethodGet, "https://graph.microsoft.com/v1.0/security/alerts_v2", "", ""); status != 401 {
		t.Errorf("without faults: %d", status)
	}
}

// realData is the directory of real-shaped rows beside the project, or rows
// made here.
func realData(t *testing.T) string {
	if dir := filepath.Join("..", "..", "..", "shared", "testdata"); isDir(dir) {
		return dir
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"graph_alerts/a.json":    "{\"value\":[ {\n \"id\": \"da1\",\t\"tenantId\": \"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60\", \"lastUpdateDateTime\": \"2023-04-14T09:53:09.27Z\",\"serviceSource\":\"microsoftSentinel\"} ]}",
		"graph_alerts/b.ndjson":  `{"id":"da2","lastUpdateDateTime":"2024-01-01T00:00:00Z","n":18446744073709551616}` + "\n",
		"graph_incidents/d.json": "{\"value\":[ {\n \"id\": \"7\",\t\"tenantId\": \"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60\", \"lastUpdateDateTime\": \"2021-09-30T09:35:45.1133333Z\",\"status\":\"Active\"} ]}",
		"graph_incidents/e.json": `{"id":"7","tenantId":"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", "lastUpdateDateTime":"2021-09-30T09:35:45.1133333Z"}`,
		"mde_alerts/f.ndjson":    `{"id": "da6_-8", "incidentId": 7587, "lastUpdateTime": "2020-07-20T10:53:50.19Z","aadTenantId":"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60","evidence":[{}]}` + "\n",
		"siem_detections/c.json": `[ {"FullId":"636:x=" , "LastProcessedTimeUtc":"2020-01-01T00:01:00.1234567Z"} ]`,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func TestRealShapedRowsAreServedByteForByte(t *testing.T) {
	data, err := estate.ReadData(realData(t))
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var ahead atomic.Int64
	c := start(t, lab.Options{Data: data, Clock: func() time.Time { return begun.Add(time.Duration(ahead.Load())) }})
	if len(c.Customers()) != len(data.Tenants())+1 {
		t.Fatalf("%d customers for %d tenants", len(c.Customers()), len(data.Tenants()))
	}
	want := make(map[string]int)
	for home, sources := range data.Rows {
		for _, rows := range sources {
			for _, r := range rows {
				want[home+string(r.Raw)]++
			}
		}
	}
	got := make(map[string]int)
	for range 12 { // states of one alert show one behind the other
		for i, k := range c.Customers() {
			home := ""
			if i > 0 {
				home = k.Tenant
			}
			graph, siem, mde := c.token(k.Tenant, "https://graph.microsoft.com"), c.token(k.Tenant, "https://graph.windows.net"), c.token(k.Tenant, "https://api.securitycenter.microsoft.com")
			for target, token := range map[string]string{"https://graph.microsoft.com/v1.0/security/alerts_v2?$top=1000": graph, "https://graph.microsoft.com/v1.0/security/incidents": graph,
				"https://api.security.microsoft.com/api/alerts": mde, "https://api.securitycenter.microsoft.com/api/v1.0/alerts?$expand=evidence": mde,
				"https://wdatp-alertexporter-eu.windows.com/api/alerts?sinceTimeUtc=2000-01-01": siem} {
				var p struct {
					Value []json.RawMessage `json:"value"`
				}
				_, text, _ := c.do(http.MethodGet, target, token, "")
				if strings.HasPrefix(text, "[") {
					text = `{"value":` + text + `}`
				}
				if err := json.Unmarshal([]byte(text), &p); err != nil || p.Value == nil {
					t.Fatal(target, text)
				}
				for _, raw := range p.Value {
					got[home+string(raw)] = 1
				}
			}
		}
		ahead.Add(int64(5 * time.Second))
	}
	missing, extra := 0, 0
	for raw := range want {
		if got[raw] == 0 {
			missing++
			t.Errorf("not served: %.200q", raw)
		}
	}
	for raw := range got {
		if want[raw] == 0 {
			extra++
			t.Errorf("not in the files: %.200q", raw)
		}
	}
	proof.Ran(t, "I3", "the pretend cloud: %d files, %d rows, %d customers; not served with the file's bytes %d, served with others %d", data.Files, len(want), len(c.Customers()), missing, extra)
}

// The tables of docs/lab.md say what the code does: kinds of faults, bad rows,
// switches. -update writes them.
func TestTheDocumentSaysWhatTheCodeDoes(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "lab.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kinds, bad, switches bytes.Buffer
	code := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	for _, k := range fault.Kinds() {
		at := strings.Join(k.APIs, ", ")
		_, _ = fmt.Fprintf(&kinds, "| `%s` | %s | %s | %s | %s | %s |\n", k.Name, at, code(k.Param), code(k.Value), code(k.What), k.Rows)
	}
	for _, b := range fault.BadRows {
		_, _ = fmt.Fprintf(&bad, "| `%s` | %s |\n", b[0], b[1])
	}
	st := reflect.TypeFor[api.Switches]()
	for i := range st.NumField() {
		_, _ = fmt.Fprintf(&switches, "| `%s` | %s |\n", st.Field(i).Tag.Get("json"), st.Field(i).Tag.Get("what"))
	}
	for head, rows := range map[string]string{
		"| kind | at | param | value | what happens | rows |\n| --- | --- | --- | --- | --- | --- |\n": kinds.String(),
		"| bad_row | the row |\n| --- | --- |\n":                                                       bad.String(),
		"| switch | what it does |\n| --- | --- |\n":                                                   switches.String(),
	} {
		i := bytes.Index(text, []byte(head))
		if i < 0 {
			t.Errorf("no table with the head %q", head)
			continue
		}
		from := i + len(head)
		to := from + bytes.Index(text[from:], []byte("\n\n")) + 1
		if string(text[from:to]) == rows {
			continue
		}
		if !*update {
			t.Errorf("the table %q is not what the code says; run: go test ./internal/lab -run %s -update", strings.SplitN(head, "\n", 2)[0], t.Name())
			continue
		}
		text = append(text[:from:from], append([]byte(rows), text[to:]...)...)
	}
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // a document
			t.Fatal(err)
		}
	}
	// Every row of the table of faults is dealt by a kind, comes by itself, or is
	// said to be no business of the lab.
	dealt := make(map[string]bool)
	for _, k := range fault.Kinds() {
		name(dealt, k.Rows)
	}
	for line := range strings.Lines(string(text)) {
		if _, rows, ok := strings.Cut(line, "Not dealt here: "); ok {
			name(dealt, rows)
		}
		if _, rows, ok := strings.Cut(line, "By themselves, from the story, come "); ok {
			name(dealt, rows)
		}
	}
	for n := range 40 {
		if row := fmt.Sprintf("P%02d", n+1); !dealt[row] {
			t.Errorf("nothing is said of %s", row)
		}
	}
	if n := bytes.Count(text, []byte("\n")); n > 300 {
		t.Errorf("%d lines", n)
	}
}

var rowName = regexp.MustCompile(`P(\d\d)(?:–P(\d\d))?`)

// name marks the rows that a text names, such as "P01 P24–P26".
func name(rows map[string]bool, text string) {
	for _, m := range rowName.FindAllStringSubmatch(text, -1) {
		from, _ := strconv.Atoi(m[1])
		to, _ := strconv.Atoi(m[2])
		for n := from; n <= max(from, to); n++ {
			rows[fmt.Sprintf("P%02d", n)] = true
		}
	}
}
