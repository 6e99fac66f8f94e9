package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover/internal/config"
	"drover/internal/proof"
)

// put writes a file that is ours alone.
func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// putCertificate writes a certificate and its key that end at a time.
func putCertificate(t *testing.T, path string, until time.Time) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "drover"}, NotBefore: time.Unix(0, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, path+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	put(t, path+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

const aClient = "{client_id: 9d2e4b70-1111-4c2b-9a55-77aa88bb99cc, "

func TestEveryCredentialThatEndsIsSpokenOfInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, begun := t.TempDir(), time.Now()
		day := func(n int) time.Time { return begun.AddDate(0, 0, n) }
		date := func(n int) string { return day(n).UTC().Format(time.DateOnly) }
		secret := func(name string) string { return "{file: " + filepath.Join(dir, name) + "}" }
		cert := func(name string) string {
			path := filepath.Join(dir, name)
			return "certificate: {file: " + path + ".pem, key_file: " + path + ".key}}"
		}
		for _, name := range []string{"plain", "rolled", "undated"} {
			put(t, filepath.Join(dir, name), "S3cr~"+name+"\n")
		}
		const id = "5b1f0c52-6d53-4c5d-9a4f-0e6f6f1d2a11"
		put(t, filepath.Join(dir, "pasted"), id+"\n")
		for name, end := range map[string]int{"cert": 110, "renewed": 100, "short": 5} {
			putCertificate(t, filepath.Join(dir, name), day(end))
		}
		text := "apps:\n" +
			"  plain: " + aClient + "secret: " + secret("plain") + ", secret_until: " + date(90) + "}\n" +
			"  rolled: " + aClient + "secret: " + secret("rolled") + ", secret_until: " + date(90) + ", next_secret: " + secret("rolled-next") + ", next_secret_until: " + date(400) + "}\n" +
			"  undated: " + aClient + "secret: " + secret("undated") + "}\n" +
			"  pasted: " + aClient + "secret: " + secret("pasted") + "}\n" +
			"  cert: " + aClient + cert("cert") + "\n  renewed: " + aClient + cert("renewed") + "\n  short: " + aClient + cert("short") + "\n"
		// In days from the start: when each must be spoken of.
		dealt := map[string][]int{
			"the client secret of app plain":  {30, 60, 83, 90},
			"the client secret of app rolled": {30}, // then the next one is there
			"the certificate of app cert":     {50, 80, 103, 110},
			"the certificate of app renewed":  {40, 70, 75, 100, 123, 130}, // on day 75 another takes its place
			"the certificate of app short":    {0, 5},
		}
		cfg, err := config.Parse(filepath.Join(dir, "drover.yaml"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		a, err := newApp(cfg, slog.New(slog.NewJSONHandler(&said, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.sayEnds(ctx) }()
		time.Sleep(55 * 24 * time.Hour)
		put(t, filepath.Join(dir, "rolled-next"), "S3cr~next\n")
		time.Sleep(20 * 24 * time.Hour)
		putCertificate(t, filepath.Join(dir, "renewed"), day(130))
		time.Sleep(75 * 24 * time.Hour)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n, warned, unusable := 0, 0, 0
		for _, days := range dealt {
			n += len(days)
		}
		for line := range bytes.Lines(said.Bytes()) {
			var l struct {
				Time             time.Time
				Level, Msg, Hint string
			}
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(l.Msg, "cannot be used") {
				unusable++
				if !strings.Contains(string(line), "secret's ID") || !strings.Contains(l.Msg, "pasted") {
					t.Errorf("%s", line)
				}
				continue
			}
			warned++
			fits := false
			for what, days := range dealt {
				for _, d := range days {
					late := l.Time.Sub(day(d))
					ended := l.Level == "ERROR" && strings.HasPrefix(l.Msg, what+" has ended on ") || l.Level == "WARN" && strings.HasPrefix(l.Msg, what+" ends in ")
					fits = fits || ended && l.Hint != "" && late >= 0 && late <= endsEvery
				}
			}
			if !fits {
				t.Errorf("this was not dealt: %s", line)
			}
		}
		if warned != n || unusable != 1 {
			t.Errorf("%d warnings, want %d; %d unusable, want 1", warned, n, unusable)
		}
		if strings.Contains(said.String(), "S3cr") || strings.Contains(said.String(), id) {
			t.Error("a secret is in the log")
		}
		proof.Ran(t, "T08", "%d credentials over 150 days, two of them replaced in time: %d warnings of %d dealt, and the secret's ID refused once", len(cfg.Apps), warned, n)
	})
}

func TestACheckSaysWhatEndsAndWhatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "id"), "5b1f0c52-6d53-4c5d-9a4f-0e6f6f1d2a11\n")
	put(t, filepath.Join(dir, "good"), "S3cr~good\n")
	date := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	for name, tt := range map[string]struct {
		app  string
		code int
		says []string
	}{
		"ends soon":       {"secret: {file: good}, secret_until: " + date(20), exitOK, []string{"WARN  app default: the client secret of app default ends in ", "hint: make a new one"}},
		"ends much later": {"secret: {file: good}, secret_until: " + date(200), exitOK, []string{"ok    app default: the client secret of app default ends in "}},
		"nobody knows":    {"secret: {file: good}", exitOK, []string{"ok    app default", "secret_until"}},
		"has ended":       {"secret: {file: good}, secret_until: " + date(0), exitFinding, []string{"FAIL  app default", "has ended", "hint: make a new one"}},
		"the secret's ID": {"secret: {file: id}", exitFinding, []string{"FAIL  app default: this is the secret's ID, not its value"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := put(t, filepath.Join(dir, "drover.yaml"), fmt.Sprintf("ledger: {dir: ledger}\nvault: {key_file: keys/master.key}\napps: {default: %s%s}}\n", aClient, tt.app))
			code, out, errs := droverCommand(t, "check", "-c", cfg)
			for _, words := range tt.says {
				if !strings.Contains(out, words) {
					t.Errorf("%q is not in: %s%s", words, out, errs)
				}
			}
			if code != tt.code || strings.Contains(out, "S3cr") {
				t.Errorf("exit code %d, want %d: %s%s", code, tt.code, out, errs)
			}
			_, out, _ = droverCommand(t, "status", "-c", cfg)
			if soon := strings.Contains(out, "the client secret of app default"); soon != (name == "ends soon" || name == "has ended") {
				t.Errorf("status: %s", out)
			}
		})
	}
}
