package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drover/internal/proof"
	"drover/internal/siemconf"
)

const (
	siemTenant  = "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"
	siemRefresh = "0.AAA-refresh-of-the-customer"
)

// siemWorld is a config with a tenant, a refresh token in a file, and a place to
// write to.
func siemWorld(t *testing.T) (cfg, token, dir string) {
	t.Helper()
	cfg = writeConfig(t, "")
	dir = t.TempDir()
	token = filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(siemRefresh+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := droverCommand(t, "tenant", "add", siemTenant, "--name", "contoso", "--region", "uk", "--refresh-token", token, "-c", cfg); code != exitOK {
		t.Fatal(errs)
	}
	return cfg, token, dir
}

// texts reads a directory of files, and checks that nobody else can.
func texts(t *testing.T, dir string) map[string]string {
	t.Helper()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, e := range list {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", e.Name(), info.Mode(), err)
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(text)
	}
	return m
}

// secretsIn counts the places of both secrets.
func secretsIn(texts map[string]string) (n int) {
	for _, text := range texts {
		n += strings.Count(text, "not-a-guid") + strings.Count(text, siemRefresh)
	}
	return n
}

func TestSIEMFilesArePrivateAndHoldNoSecretUnlessAsked(t *testing.T) {
	cfg, token, dir := siemWorld(t)
	files, bare, held := 0, 0, 0
	for product, places := range map[siemconf.Product]int{siemconf.ArcSight: 2, siemconf.Splunk: 4, siemconf.Generic: 2} {
		plain, full := filepath.Join(dir, string(product)), filepath.Join(dir, string(product)+"-full")
		code, out, errs := droverCommand(t, "siem-config", string(product), "--tenant", "CONTOSO", "--dir", plain, "-c", cfg)
		if code != exitOK || !strings.Contains(out, "a placeholder stands for the ") || !strings.Contains(errs, "deprecated") {
			t.Fatalf("%s: %d %q %q", product, code, out, errs)
		}
		got := texts(t, plain)
		files, bare = files+len(got), bare+secretsIn(got)
		if !strings.Contains(got["README.txt"], "Tenant: contoso ("+siemTenant+"), cloud worldwide") {
			t.Errorf("%s: %s", product, got["README.txt"])
		}
		code, out, errs = droverCommand(t, "siem-config", string(product), "--tenant", "contoso", "--dir", full, "--with-secrets", "--refresh-token", token, "--issued", "2024-05-01", "-c", cfg)
		if code != exitOK || !strings.Contains(out, "holds a secret") || strings.Contains(out+errs, siemRefresh) || strings.Contains(out+errs, "not-a-guid") {
			t.Fatalf("%s: %d %q %q", product, code, out, errs)
		}
		got = texts(t, full)
		if n := secretsIn(got); n != places {
			t.Errorf("%s: %d places of secrets, want %d", product, n, places)
		}
		files, held = files+len(got), held+secretsIn(got)
		if all := strings.Join([]string{got["siem-details.json"], got["rest_input.inputs.conf"], got["WDATP-connector.wizard.properties"]}, ""); !strings.Contains(all, "https://wdatp-alertexporter-uk.windows.com/api/alerts") {
			t.Errorf("%s does not lead to the region of the tenant", product)
		}
	}
	if bare != 0 {
		t.Errorf("%d secrets stand in files for which nobody asked", bare)
	}
	proof.Ran(t, "siem.config", "%d files, each 0600 in a directory 0700; secrets without --with-secrets: %d, with it: %d", files, bare, held)
}

func TestSIEMFilesAreNotOverwrittenUnlessForced(t *testing.T) {
	cfg, _, dir := siemWorld(t)
	out, target := filepath.Join(dir, "out"), filepath.Join(dir, "target")
	args := []string{"siem-config", "generic", "--tenant", "contoso", "--dir", out, "--zip", filepath.Join(dir, "x.zip"), "-c", cfg}
	if code, _, errs := droverCommand(t, args...); code != exitOK {
		t.Fatal(errs)
	}
	code, _, errs := droverCommand(t, args...)
	if code != exitUsage || !strings.Contains(errs, "it is there already") {
		t.Errorf("a second time: %d %q", code, errs)
	}
	code, _, errs = droverCommand(t, append(slices.Clone(args), "--zip", filepath.Join(dir, "y.zip"))...)
	if code != exitUsage || !strings.Contains(errs, "out: it is there already") {
		t.Errorf("the directory: %d %q", code, errs)
	}
	if _, err := os.Stat(filepath.Join(dir, "y.zip")); err == nil {
		t.Error("one half was written")
	}
	name := filepath.Join(out, "siem-details.json")
	if err := os.WriteFile(target, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := droverCommand(t, append(args, "--force")...); code != exitOK {
		t.Fatal(errs)
	}
	if got := texts(t, out); !json.Valid([]byte(got["siem-details.json"])) || len(got) != 2 {
		t.Errorf("%d files", len(got))
	}
	if text, err := os.ReadFile(target); err != nil || string(text) != "mine" {
		t.Errorf("a link was followed: %q %v", text, err)
	}
	z, err := zip.OpenReader(filepath.Join(dir, "x.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		if f.Mode() != fs.FileMode(0o600) {
			t.Errorf("%s: %v", f.Name, f.Mode())
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "x.zip")); err != nil || info.Mode() != 0o600 || len(z.File) != 2 {
		t.Errorf("%v %v, %d files", info, err, len(z.File))
	}
}

// A device that is no file stands for a terminal: that is how both are told.
func TestSecretsGoToATerminalOnlyIfThatIsSaid(t *testing.T) {
	cfg, token, _ := siemWorld(t)
	terminal, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	args := []string{"siem-config", "splunk", "--tenant", "contoso", "--stdout", "-c", cfg}
	for name, tt := range map[string]struct {
		more []string
		code int
	}{
		"without secrets":    {nil, exitOK},
		"with secrets":       {[]string{"--with-secrets", "--refresh-token", token}, exitUsage},
		"as JSON":            {[]string{"--with-secrets", "--json"}, exitUsage},
		"with both and said": {[]string{"--with-secrets", "--show-secrets-on-terminal"}, exitOK},
	} {
		var errs bytes.Buffer
		if code := run(append(slices.Clone(args), tt.more...), bytes.NewReader(nil), terminal, &errs); code != tt.code || tt.code != exitOK && !strings.Contains(errs.String(), "--show-secrets-on-terminal") {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, tt.code, errs.String())
		}
	}
	code, out, errs := droverCommand(t, append(args, "--with-secrets", "--refresh-token", token)...)
	if code != exitOK || strings.Count(out, siemRefresh) != 2 || !strings.HasPrefix(out, "-- Splunk_TA_MS_Security.inputs.conf --\n") || strings.Contains(errs, siemRefresh) {
		t.Errorf("to a pipe: %d %.200q %q", code, out, errs)
	}
	code, out, _ = droverCommand(t, append(args, "--json")...)
	var list []map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitOK || len(list) != 4 || list[0]["content"] == "" {
		t.Errorf("JSON: %d %v %d", code, err, len(list))
	}
}

func TestSIEMFilesCanPointAtAnotherServer(t *testing.T) {
	cfg := writeConfig(t, "")
	code, out, errs := droverCommand(t, "siem-config", "generic", "--tenant", strings.ToUpper(siemTenant), "--stdout", "--json", "-c", cfg,
		"--api-url", "https://drover.example:8443/", "--token-url", "https://drover.example:8443/"+siemTenant+"/oauth2/token", "--resource", "https://drover.example", "--interval", "1m")
	if code != exitOK {
		t.Fatal(errs)
	}
	var list []struct{ Name, Content string }
	var d map[string]any
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(list[0].Content), &d); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{"alerts_url": "https://drover.example:8443/api/alerts", "token_url": "https://drover.example:8443/" + siemTenant + "/oauth2/token", "resource": "https://drover.example",
		"authorize_url": "https://drover.example:8443/" + siemTenant + "/oauth2/authorize", "interval_seconds": 60.0, "tenant_id": siemTenant} {
		if d[k] != want {
			t.Errorf("%s: %v, want %v", k, d[k], want)
		}
	}
	for _, f := range list {
		if rest := strings.ReplaceAll(f.Content, "https://graph.microsoft.com/.default", ""); strings.Contains(rest, "microsoftonline") || strings.Contains(rest, "windows.net") {
			t.Errorf("%s still names a host of Microsoft's", f.Name)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(cfg), "ledger")); err == nil {
		t.Error("a ledger was made for the question")
	}
}

func TestSIEMFilesThatCannotBeRightAreRefused(t *testing.T) {
	cfg, token, dir := siemWorld(t)
	guid := filepath.Join(dir, "guid")
	if err := os.WriteFile(guid, []byte("3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f61"), 0o600); err != nil {
		t.Fatal(err)
	}
	const other = "4c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"
	for name, tt := range map[string]struct {
		args []string
		says string
	}{
		"no tenant":                      {[]string{}, "tenant"},
		"a tenant nobody knows":          {[]string{"--tenant", "nobody"}, `there is no tenant "nobody"`},
		"no region":                      {[]string{"--tenant", other}, "--region"},
		"a cloud without the API":        {[]string{"--tenant", other, "--cloud", "china"}, "no SIEM API"},
		"an app nobody knows":            {[]string{"--tenant", "contoso", "--app", "x"}, "known are: default"},
		"a secret without asking for it": {[]string{"--tenant", "contoso", "--refresh-token", token}, "--with-secrets"},
		"two secrets from one input":     {[]string{"--tenant", "contoso", "--with-secrets", "--secret", "-", "--refresh-token", "-"}, "only one"},
		"the ID of a secret":             {[]string{"--tenant", "contoso", "--with-secrets", "--secret", guid}, "secret's ID"},
		"another app without its secret": {[]string{"--tenant", "contoso", "--with-secrets", "--client-id", other}, "give --secret"},
		"a day to come":                  {[]string{"--tenant", "contoso", "--issued", "2999-01-01"}, "no day in the past"},
		"plain http":                     {[]string{"--tenant", "contoso", "--api-url", "http://x.example"}, "the alerts URL: it must be an https URL"},
		"an odd token endpoint":          {[]string{"--tenant", "contoso", "--token-url", "https://x.example/t"}, "--sign-in-url"},
		"a poll every day":               {[]string{"--tenant", "contoso", "--interval", "24h"}, "interval"},
		"two places":                     {[]string{"--tenant", "contoso", "--stdout", "--zip", "x"}, "--stdout is instead"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := droverCommand(t, append([]string{"siem-config", "arcsight", "--dir", filepath.Join(dir, "never"), "-c", cfg}, tt.args...)...)
			if name == "two places" {
				code, _, errs = droverCommand(t, append([]string{"siem-config", "arcsight", "-c", cfg}, tt.args...)...)
			}
			if code != exitUsage || !strings.Contains(errs, tt.says) {
				t.Errorf("exit code %d: %q, want %q in it", code, errs, tt.says)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "never")); err == nil {
		t.Error("something was written")
	}
	pem := writeConfig(t, "")
	text, err := os.ReadFile(pem)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(text), ", secret: {file:")
	_, tail, _ := strings.Cut(string(text), "/secret}}}")
	if err := os.WriteFile(pem, []byte(head+", certificate: {file: c.pem, key_file: k.pem}}}"+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := droverCommand(t, "siem-config", "splunk", "--tenant", other, "--region", "eu", "--stdout", "--with-secrets", "-c", pem); code != exitUsage || !strings.Contains(errs, "no client secret") {
		t.Errorf("a certificate: %d %q", code, errs)
	}
}
