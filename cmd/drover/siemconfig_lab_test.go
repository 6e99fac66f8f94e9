package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/proof"
)

// settings reads KEY=VALUE lines as a connector does, with the escapes that URLs
// need in a Java file.
func settings(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && line[0] != '#' && line[0] != '[' {
			m[strings.TrimSpace(key)] = strings.NewReplacer(`\:`, ":", `\=`, "=").Replace(strings.TrimSpace(value))
		}
	}
	return m
}

// TestTheFilesOpenTheSIEMAPIAsTheyStand is a connector of each product that knows
// nothing but its files: it redeems the refresh token and reads the customer's
// rows from the pretend cloud.
func TestTheFilesOpenTheSIEMAPIAsTheyStand(t *testing.T) {
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 1, customers: 2, switches: api.Documented(), story: func(int) estate.Options {
		return estate.Options{Backlog: 60, BacklogSpan: 2 * time.Hour, Horizon: time.Hour, SIEM: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.lab.CAPEM())
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	customer := s.lab.Customers()[1]
	token, dir := filepath.Join(s.dir, "token"), filepath.Join(s.dir, "files")
	if err := os.WriteFile(token, []byte(s.lab.Directory().GiveRefreshToken(customer.Tenant, s.lab.AppID(), "analyst@"+customer.Domain)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := droverCommand(t, "tenant", "add", customer.Tenant, "--name", customer.Name, "--cloud", "lab", "-c", s.config); code != exitOK {
		t.Fatal(errs)
	}
	read := func(product string) map[string]string {
		out := filepath.Join(dir, product)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := droverCommand(t, "siem-config", product, "--tenant", customer.Name, "--dir", out, "--with-secrets", "--refresh-token", token, "-c", s.config); code != exitOK {
			t.Fatal(errs)
		}
		return texts(t, out)
	}
	splunk, arc, own := settings(read("splunk")["rest_input.inputs.conf"]), read("arcsight"), map[string]any{}
	arcClient, wizard := settings(arc["WDATP-connector.properties"]), settings(arc["WDATP-connector.wizard.properties"])
	signIn, err := url.Parse(arcClient["auth_url"])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(read("generic")["siem-details.json"]), &own); err != nil {
		t.Fatal(err)
	}
	text := func(key string) string { v, _ := own[key].(string); return v }
	_, resource, _ := strings.Cut(splunk["oauth2_refresh_props"], "=")
	since := time.Now().Add(-48 * time.Hour).UTC().Format("2006-01-02T15:04:05.000")
	rows := 0
	for product, c := range map[string]struct{ tokenURL, id, secret, refresh, resource, ask string }{
		"splunk":   {splunk["oauth2_refresh_url"], splunk["oauth2_client_id"], splunk["oauth2_client_secret"], splunk["oauth2_refresh_token"], resource, splunk["endpoint"]},
		"arcsight": {arcClient["token_url"], arcClient["client_id"], arcClient["client_secret"], wizard["refresh_token"], signIn.Query().Get("resource"), strings.ReplaceAll(wizard["events_url"], "$START_AT_TIME", since)},
		"generic":  {text("token_url"), text("client_id"), text("client_secret"), text("refresh_token"), text("resource"), strings.ReplaceAll(text("events_url"), "{since}", since)},
	} {
		res, err := client.PostForm(c.tokenURL, url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "client_secret": {c.secret}, "refresh_token": {c.refresh}, "resource": {c.resource}})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		err = json.NewDecoder(res.Body).Decode(&got)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != 200 || got.Access == "" || got.Refresh == "" {
			t.Fatalf("%s: the token endpoint says %d, %v", product, res.StatusCode, err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.ask, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+got.Access)
		if res, err = client.Do(req); err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		var list []map[string]any
		if err := json.Unmarshal(body, &list); err != nil || res.StatusCode != 200 || len(list) == 0 {
			t.Fatalf("%s: GET %s says %d with %d rows, %v", product, c.ask, res.StatusCode, len(list), err)
		}
		if err != nil || list[0]["AlertId"] == "" {
			t.Errorf("%s: %v, a row without an alert: %v", product, err, list[0])
		}
		rows += len(list)
	}
	proof.Ran(t, "siem.config", "products whose files alone open the pretend SIEM API: 3 of 3, rows read: %d", rows)
}
