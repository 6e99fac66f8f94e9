package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/config"
	"drover/internal/proof"
	"drover/internal/rig/memnet"
)

// receiverCA signs certificates of a server.
type receiverCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newReceiverCA(t *testing.T, until time.Time) receiverCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Unix(0, 0), NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return receiverCA{cert, key}
}

func (ca receiverCA) issue(t *testing.T, until time.Time) *tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: until, DNSNames: []string{"splunk.test"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: ca.key}
}

//citest:plain weeks in pretended time
func TestAReceiversCertificateIsSpokenOfBeforeItEnds(t *testing.T) {
	warned, dealt, unverified := 0, 0, int64(0)
	for name, tt := range map[string]struct {
		server, authority int   // days from the start on which they end
		spoken            []int // days on which it is said
	}{
		"the server's own ends":      {50, 400, []int{20, 43, 50}},
		"its authority's ends":       {400, 50, []int{20, 43, 50}},
		"it has a week at the start": {5, 400, []int{0, 5}},
	} {
		dealt += len(tt.spoken)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, begun := t.TempDir(), time.Now()
				day := func(n int) time.Time { return begun.AddDate(0, 0, n) }
				ca := newReceiverCA(t, day(tt.authority))
				ends := min(tt.server, tt.authority)
				var shows atomic.Pointer[tls.Certificate]
				shows.Store(ca.issue(t, day(tt.server)))
				var requests atomic.Int64
				network := memnet.New()
				conf := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shows.Load(), nil }}
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					requests.Add(1)
					_, _ = io.WriteString(w, `{"text":"HEC is healthy","code":17}`)
				}), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
				go func() { _ = srv.Serve(tls.NewListener(network, conf)) }()
				defer func() { _ = srv.Close() }()
				put(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})))
				put(t, filepath.Join(dir, "token"), "S3cr~token\n")
				cfg, err := config.Parse(filepath.Join(dir, "drover.yaml"), []byte("sinks: {soc: {type: splunk_hec, url: 'https://splunk.test:8088', token: {file: token}, ca_file: ca.pem}}\n"))
				if err != nil {
					t.Fatal(err)
				}
				var said bytes.Buffer
				a, err := newApp(cfg, slog.New(slog.NewJSONHandler(&said, nil)), network.Dial)
				if err != nil {
					t.Fatal(err)
				}
				sink, err := a.sink(cfg.Sinks["soc"])
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				for range 24 * (ends + 10) {
					before := requests.Load()
					_, err := sink.Check(ctx)
					switch ended := !time.Now().Before(day(ends)); {
					case !ended && err != nil:
						t.Fatal(err)
					case ended && time.Now().After(day(ends)): // the second itself still counts
						unverified += requests.Load() - before
						if drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
							t.Fatalf("after its end: %v", err)
						}
					}
					if len(done) == 0 && time.Since(begun) == 0 {
						go func() { done <- a.sayEnds(ctx) }()
					}
					time.Sleep(time.Hour)
				}
				if tt.authority > 100 {
					shows.Store(ca.issue(t, day(300)))
					if _, err := sink.Check(ctx); err != nil {
						t.Errorf("renewed: %v", err)
					}
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				n := 0
				for line := range bytes.Lines(said.Bytes()) {
					var l struct {
						Time      time.Time
						Msg, Hint string
					}
					if err := json.Unmarshal(line, &l); err != nil {
						t.Fatal(err)
					}
					if n >= len(tt.spoken) || !strings.HasPrefix(l.Msg, "the certificate of splunk.test:8088, sink soc, ") || l.Hint == "" {
						t.Fatalf("this was not dealt: %s", line)
					}
					if late := l.Time.Sub(day(tt.spoken[n])); late < 0 || late > endsEvery {
						t.Errorf("day %d: said %v late: %s", tt.spoken[n], late, line)
					}
					n++
				}
				if n != len(tt.spoken) {
					t.Errorf("spoken of %d times, want %d", n, len(tt.spoken))
				}
				warned += n
			})
		})
	}
	if unverified > 0 {
		t.Errorf("%d requests over a connection that is not verified", unverified)
	}
	proof.Ran(t, "D07", "certificates of a receiver that end, or whose authority's does: %d warnings of %d dealt, unverified sends after the end %d", warned, dealt, unverified)
}
