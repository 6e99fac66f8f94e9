package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drover/internal/lab/estate"
)

// pretendCloud is a small lab with a config for it, and a tenant of it.
func pretendCloud(t *testing.T) (s *stage, tenant string) {
	t.Helper()
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 1, customers: 1, story: func(int) estate.Options { return estate.Options{Backlog: 5} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s, s.lab.Customers()[0].Tenant
}

// altered is a copy of the lab's config in which texts are replaced.
func (s *stage) altered(t *testing.T, pairs ...string) string {
	t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "drover.yaml")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTroubleFromOutsideGetsOneClearLineAndTheWayOut(t *testing.T) {
	s, tenant := pretendCloud(t)
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("Wr0ng~secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		alter      []string
		tenant     string
		code       int
		says, hint string
	}{
		"a wrong secret":         {[]string{s.dir + "/secret", wrong}, tenant, exitDenied, "AADSTS7000215", "the client secret is wrong"},
		"a tenant of nobody":     {nil, "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", exitDenied, "AADSTS90002", "there is no such tenant in this cloud"},
		"nobody listens there":   {[]string{s.addr, "127.0.0.1:1"}, tenant, exitPassing, "connection refused", "cannot be reached"},
		"another authority":      {[]string{s.dir + "/ca.pem", otherCA(t)}, tenant, exitPassing, "certificate signed by unknown authority", "ca_file"},
		"private space unwanted": {[]string{"allow_private: true", "allow_private: false"}, tenant, exitPassing, "leads to a private address", "allow_private: true"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := droverCommand(t, "fetch", "--tenant", tt.tenant, "--cloud", "lab", "--since", "60d", "-c", s.altered(t, tt.alter...))
			if code != tt.code || out != "" || !strings.Contains(errs, tt.says) {
				t.Errorf("exit code %d, %q, want %d and %q", code, errs, tt.code, tt.says)
			}
			line, hint, _ := strings.Cut(strings.TrimSpace(errs), "\n")
			if !strings.HasPrefix(line, "drover: ") || !strings.HasPrefix(hint, "hint: ") || !strings.Contains(hint, tt.hint) || strings.Contains(hint, "\n") {
				t.Errorf("says %q, then %q", line, hint)
			}
			if strings.Contains(errs, "Wr0ng") {
				t.Error("the secret is in the message")
			}
		})
	}
}

func TestAnAppWithACertificateReads(t *testing.T) {
	s, tenant := pretendCloud(t)
	path := s.altered(t, "secret: {file: "+s.dir+"/secret}", "certificate: {file: "+s.dir+"/app-cert.pem, key_file: "+s.dir+"/app-key.pem}")
	code, out, errs := droverCommand(t, "fetch", "--tenant", tenant, "--cloud", "lab", "--since", "60d", "-c", path)
	if code != exitOK || strings.Count(out, "\n") < 5 {
		t.Errorf("exit code %d, %d lines, %s", code, strings.Count(out, "\n"), errs)
	}
}

// otherCA is a CA that signed nothing here.
func otherCA(t *testing.T) string {
	t.Helper()
	other, _ := pretendCloud(t)
	return filepath.Join(other.dir, "ca.pem")
}

func TestADirectoryThatCannotBeWrittenIsNamed(t *testing.T) {
	s, _ := pretendCloud(t)
	// Even root makes no directory there.
	for what, cfg := range map[string]string{
		"ledger": s.altered(t, s.dir+"/ledger", "/proc/drover/ledger"),
		"sink":   s.altered(t, s.dir+"/out", "/proc/drover/out"),
		"keys":   s.altered(t, s.dir+"/keys", "/proc/drover/keys", s.dir+"/ledger", t.TempDir()),
	} {
		code, _, errs := droverCommand(t, "run", "-c", cfg)
		if code == exitOK || code == exitBroken || !strings.Contains(errs, "/proc/drover") || !strings.Contains(errs, "\nhint: ") {
			t.Errorf("%s: exit code %d, %q", what, code, errs)
		}
	}
}
