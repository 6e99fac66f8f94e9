package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/proof"
)

// microsoft is a pretend sign-in host, Graph and Defender for Endpoint, all of
// one tenant, on one address with a path each.
type microsoft struct {
	mu      sync.Mutex
	rows    map[string]string   // by path
	roles   map[string][]string // by audience
	asked   []string            // scope of each token, and path of each read
	denied  map[string]string   // answers in place of rows, by path
	refusal string              // answer in place of every token
}

const pretendTenant = "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"

func (m *microsoft) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/token") {
		if m.refusal != "" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, m.refusal)
			return
		}
		scope := r.FormValue("scope")
		m.asked = append(m.asked, scope)
		aud := strings.TrimSuffix(scope, "/.default")
		claims, _ := json.Marshal(map[string]any{"tid": pretendTenant, "aud": aud, "roles": m.roles[aud]})
		part := base64.RawURLEncoding.EncodeToString
		_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3600,"access_token":%q}`, part([]byte(`{"alg":"none"}`))+"."+part(claims)+".x")
		return
	}
	m.asked = append(m.asked, r.URL.Path)
	if body, ok := m.denied[r.URL.Path]; ok {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, body)
		return
	}
	_, _ = fmt.Fprintf(w, `{"value":[%s]}`, m.rows[r.URL.Path])
}

// serveMicrosoft returns it with a config that knows it as the cloud "own".
func serveMicrosoft(t *testing.T) (m *microsoft, cfg string) {
	t.Helper()
	m = &microsoft{rows: make(map[string]string), denied: make(map[string]string), roles: make(map[string][]string)}
	srv := httptest.NewTLSServer(m)
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return m, writeConfig(t, fmt.Sprintf("clouds: {own: {authority: %q, graph: %q, mde: %q, ca_file: %q, allow_private: true}}\n", srv.URL, srv.URL+"/graph", srv.URL+"/mde", ca))
}

func TestEverySourceIsFetchedWithItsOwnTokenFromItsOwnHost(t *testing.T) {
	m, cfg := serveMicrosoft(t)
	changed := time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.0000000Z")
	const mdeAudience = "https://api.securitycenter.microsoft.com"
	graph := func() string {
		a, err := newAppFrom(t, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return a.clouds["own"].Graph
	}()
	m.roles[graph], m.roles[mdeAudience] = []string{"SecurityIncident.Read.All"}, []string{"Alert.Read.All"}
	same := 0
	for _, tt := range []struct {
		source         drover.SourceID
		path, aud, row string
	}{
		{drover.GraphAlerts, "/graph/v1.0/security/alerts_v2", graph, `{"id":"da1","tenantId":"` + pretendTenant + `","lastUpdateDateTime":"` + changed + `","createdDateTime":"` + changed + `" }`},
		{drover.GraphIncidents, "/graph/v1.0/security/incidents", graph, `{ "id":"4711","tenantId":"` + pretendTenant + `","lastUpdateDateTime":"` + changed + `","status":"active"}`},
		{drover.MDEAlerts, "/mde/api/alerts", mdeAudience, `{"id":"da2","aadTenantId":"` + pretendTenant + `","lastUpdateTime":"` + changed + `","incidentId":9007199254740993,"evidence":[]}`},
	} {
		m.rows[tt.path], m.asked = tt.row, nil
		code, out, errs := droverCommand(t, "fetch", "--tenant", pretendTenant, "--cloud", "own", "--source", string(tt.source), "--since", "2h", "--format", "raw", "-c", cfg)
		if code != exitOK || out != tt.row+"\n" {
			t.Errorf("%s: exit code %d, %q %q", tt.source, code, out, errs)
			continue
		}
		same++
		for i, a := range m.asked {
			if want := map[bool]string{true: tt.aud + "/.default", false: tt.path}[i == 0]; a != want {
				t.Errorf("%s: asked %q, want %q", tt.source, a, want)
			}
		}
	}
	proof.Ran(t, "I3", "%d of 3 sources fetched byte for byte, each with a token for its own audience, from its own host", same)
}

// What one source is refused is shown at that source, and the others go on.
func TestACheckOfATenantTellsItsSourcesApart(t *testing.T) {
	m, cfg := serveMicrosoft(t)
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.roles[a.clouds["own"].Graph] = []string{"SecurityAlert.Read.All"} // none for incidents
	m.roles["https://api.securitycenter.microsoft.com"] = []string{"Alert.Read.All"}
	m.denied["/mde/api/alerts"] = `{"error":{"code":"Forbidden","message":""}}`
	code, out, errs := droverCommand(t, "tenant", "add", pretendTenant, "--name", "contoso", "--cloud", "own", "--source", "graph.alerts,graph.incidents", "--source", "mde.alerts", "-c", cfg)
	if code != exitOK {
		t.Fatalf("exit code %d: %q %q", code, out, errs)
	}
	code, out, errs = droverCommand(t, "tenant", "check", "contoso", "-c", cfg)
	if code != exitDenied {
		t.Errorf("exit code %d: %q", code, errs)
	}
	for _, want := range []string{"ok    graph.alerts: the API answers", "FAIL  graph.incidents token: ", "consented to SecurityIncident.Read.All", "ok    mde.alerts token: ", "FAIL  mde.alerts: ", "mde_resource"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

func TestACloudWithoutTheSourceIsRefusedWhenTheTenantIsAdded(t *testing.T) {
	cfg := writeConfig(t, "")
	for _, tt := range []struct{ cloud, source, says string }{
		{"china", "graph.alerts", "the cloud china has no Defender alerts and incidents in its Graph"},
		{"china", "mde.alerts", "the cloud china has no API of Defender for Endpoint"},
		{"bleu", "graph.incidents", "the cloud bleu has no Defender alerts and incidents in its Graph"},
		{"delos", "graph.alerts", "the cloud delos has no"},
		{"govsg", "siem.detections", "the cloud govsg has no SIEM API"},
		{"worldwide", "siem.detections", "give the region of the tenant's data: --region"},
	} {
		code, out, errs := droverCommand(t, "tenant", "add", pretendTenant, "--name", "x", "--cloud", tt.cloud, "--source", tt.source, "-c", cfg)
		if code != exitUsage || !strings.Contains(errs, tt.says) || !strings.Contains(errs, "hint: ") {
			t.Errorf("%s, %s: exit code %d, %q %q", tt.cloud, tt.source, code, out, errs)
		}
	}
	if code, out, _ := droverCommand(t, "tenant", "list", "-c", cfg); code != exitOK || !strings.Contains(out, "no tenants") {
		t.Errorf("something was added: %q", out)
	}
}

func TestOurShareOfEachLimitIsKeptAndNeverNothing(t *testing.T) {
	for share, want := range map[string]map[drover.SourceID][2]int{
		"50%":  {drover.GraphAlerts: {75, 0}, drover.GraphIncidents: {25, 750}, drover.MDEAlerts: {50, 750}, drover.SIEMDetections: {50, 0}},
		"100%": {drover.GraphAlerts: {150, 0}, drover.GraphIncidents: {50, 1500}, drover.MDEAlerts: {100, 1500}, drover.SIEMDetections: {100, 0}},
		"1%":   {drover.GraphAlerts: {1, 0}, drover.GraphIncidents: {1, 15}, drover.MDEAlerts: {1, 15}, drover.SIEMDetections: {1, 0}},
	} {
		a, err := newAppFrom(t, writeConfig(t, "collect: {share: "+share+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		for s, w := range want {
			x := drover.Tenant{ID: pretendTenant, Cloud: "worldwide"}
			if minute, hour := a.allowance(x, s), a.hourly(x, s); minute != w[0] || hour != w[1] {
				t.Errorf("%s of %s: %d a minute, %d an hour, want %v", share, s, minute, hour, w)
			}
		}
	}
}

// A row that waits for the primary source to show the same alert is nothing that
// a sink is behind with: it is counted apart, and it is said until when.
func TestStatusCountsApartWhatWaitsForThePrimarySource(t *testing.T) {
	m, cfg := serveMicrosoft(t)
	a, err := newAppFrom(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.roles[a.clouds["own"].Graph] = []string{"SecurityIncident.Read.All"}
	m.roles["https://api.securitycenter.microsoft.com"] = []string{"Alert.Read.All"}
	changed := time.Now().Add(-time.Minute).UTC().Format("2006-01-02T15:04:05.0000000Z")
	m.rows["/graph/v1.0/security/alerts_v2"] = `{"id":"da1","tenantId":"` + pretendTenant + `","lastUpdateDateTime":"` + changed + `","createdDateTime":"` + changed + `"}`
	m.rows["/mde/api/alerts"] = `{"id":"da2","aadTenantId":"` + pretendTenant + `","lastUpdateTime":"` + changed + `","alertCreationTime":"` + changed + `","evidence":[]}`
	if code, out, errs := droverCommand(t, "tenant", "add", pretendTenant, "--name", "contoso", "--cloud", "own", "--source", "graph.alerts,mde.alerts", "--start", "1h", "-c", cfg); code != exitOK {
		t.Fatal(out, errs)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	var sink admin.SinkStatus
	for settled := false; !settled && len(done) == 0; time.Sleep(10 * time.Millisecond) { // however long that takes
		s, err := admin.Dial(a.cfg.Ledger.Dir).Status(ctx)
		if settled = err == nil && len(s.Sinks) > 0 && len(s.Backfills) == 0; !settled {
			continue
		}
		for _, f := range s.Tenants[0].Feeds {
			settled = settled && f.Revisions == 1
		}
		sink = s.Sinks[0]
		settled = settled && sink.Owed() == 1
	}
	if sink.Behind != 0 || len(sink.Waiting) != 1 || sink.Waiting[0].Rows != 1 || time.Until(sink.Waiting[0].Until.Time()) > 48*time.Hour || time.Until(sink.Waiting[0].Until.Time()) < 47*time.Hour {
		t.Errorf("%+v", sink)
	}
	code, out, _ := droverCommand(t, "status", "-c", cfg)
	if code != exitOK || !strings.Contains(out, "1 rows wait for the tenants' primary source to show the same alerts: the first until 20") {
		t.Errorf("exit code %d, %s", code, out)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
