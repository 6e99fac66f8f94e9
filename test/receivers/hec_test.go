// Package receivers holds the tests against receivers that others wrote. They
// are a module of their own: what they link is none of drover's.
package receivers

import (
	"bufio"
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
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/proof"
	"drover/internal/sink/sinktest"
	"drover/internal/sink/splunk"
)

// The OpenTelemetry Collector's receiver is the nearest to a real Splunk that
// can be had. It judges the event form, gzip, and the acknowledgement channel;
// it takes any token and knows no index rules.
func TestARealReceiverTakesEveryRecordOnce(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "hecsink")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./hecsink").CombinedOutput(); err != nil {
		t.Fatalf("build the receiver: %v\n%s", err, out)
	}
	cert := newCertificate(t)
	for name, ack := range map[string]bool{"received is done": false, "acknowledged is done": true} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Ran: func(t testing.TB, fault, figure string) { proof.Ran(t, fault, "%s", figure) },
				Open: func(t *testing.T) sinktest.Target {
					r := start(t, bin, cert, ack)
					s := r.sink(t, ack)
					lanes := make(map[string]string)
					for _, tenant := range sinktest.Tenants {
						lanes[s.Lane(tenant)] = string(tenant.Customer)
					}
					return sinktest.Target{Sink: s, Records: func(lane string) ([]string, error) { return r.records(t, lanes[lane]) }}
				},
			})
			r := start(t, bin, cert, ack)
			s, tenant := r.sink(t, ack), sinktest.Tenants[0]
			const batches, size = 20, 100
			for n := range batches {
				if _, err := s.Deliver(t.Context(), sinktest.Batch(s.Lane(tenant), sinktest.Records(tenant, n*size+1, (n+1)*size), nil)); err != nil {
					t.Fatal(err)
				}
			}
			got, err := r.records(t, string(tenant.Customer))
			if err != nil {
				t.Fatal(err)
			}
			distinct := make(map[string]bool)
			for _, id := range got {
				distinct[id] = true
			}
			lost := 0
			for _, id := range sinktest.IDs(sinktest.Records(tenant, 1, batches*size)) {
				if !distinct[id] {
					lost++
				}
			}
			if lost > 0 || len(got) != len(distinct) {
				t.Fatalf("lost %d, repeated %d of %d", lost, len(got)-len(distinct), batches*size)
			}
			proof.Ran(t, "receiver.hec", "%s: of %d records lost %d, repeated %d", name, batches*size, lost, len(got)-len(distinct))
		})
	}
}

// receiver is a collector that runs, and the file that it writes.
type receiver struct {
	url, file string
	client    *http.Client
	ca        []byte
	marks     int
}

const config = `
extensions: {ack: {}}
receivers: {splunk_hec: {endpoint: "%[1]s", tls: {cert_file: "%[2]s/cert.pem", key_file: "%[2]s/key.pem"}%[3]s}}
exporters: {file: {path: "%[2]s/out.ndjson", flush_interval: 20ms}}
service: {extensions: [ack], telemetry: {metrics: {level: none}, logs: {level: error}}, pipelines: {logs: {receivers: [splunk_hec], exporters: [file]}}}
`

// start runs a collector on loopback and waits until it is healthy.
func start(t *testing.T, bin string, cert certificate, ack bool) *receiver {
	t.Helper()
	dir, with := t.TempDir(), ""
	if ack {
		with = ", ack: {extension: ack}"
	}
	addr := freeAddress(t)
	for name, text := range map[string][]byte{"cert.pem": cert.pem, "key.pem": cert.key, "hec.yaml": fmt.Appendf(nil, config, addr, dir, with)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	cmd := exec.Command(bin, "--config", "file:"+filepath.Join(dir, "hec.yaml"))
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert.pem)
	r := &receiver{url: "https://" + addr, file: filepath.Join(dir, "out.ndjson"), ca: cert.pem, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if res, err := r.client.Get(r.url + "/services/collector/health"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return r
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the receiver ended: %v\n%s", err, said.Bytes())
		case <-ctx.Done():
			t.Fatal("the receiver does not come up")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// sink is drover's, pointed at the receiver.
func (r *receiver) sink(t *testing.T, ack bool) drover.Sink {
	t.Helper()
	client, err := httpx.New(httpx.Options{AllowPrivate: true, CAs: r.ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s, err := splunk.New(splunk.Options{URL: r.url, HTTP: client, Ack: ack, AckEvery: 10 * time.Millisecond, AckWait: 10 * time.Second, Target: func(t drover.Tenant) splunk.Target {
		return splunk.Target{Token: func() (drover.Secret, error) { return drover.NewSecret("any"), nil }, TokenName: "hec", Index: string(t.Customer), Sourcetype: "drover:alert"}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// line is one request as the file exporter writes it, as far as is looked at.
type line struct {
	ResourceLogs []struct {
		Resource  attributes `json:"resource"`
		ScopeLogs []struct {
			LogRecords []attributes `json:"logRecords"`
		} `json:"scopeLogs"`
	} `json:"resourceLogs"`
}

type attributes struct {
	Attributes []struct {
		Key   string `json:"key"`
		Value struct {
			String string `json:"stringValue"`
		} `json:"value"`
	} `json:"attributes"`
}

func (a attributes) get(key string) string {
	for _, x := range a.Attributes {
		if x.Key == key {
			return x.Value.String
		}
	}
	return ""
}

// records lists the event IDs of an index, in the order in which they stand in
// the file. An event that is sent now marks the end of what was sent before.
func (r *receiver) records(t testing.TB, index string) ([]string, error) {
	r.marks++
	mark := fmt.Sprintf("mark %d", r.marks)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/services/collector/event", strings.NewReader(`{"event":"x","index":"marks","fields":{"drover.event_id":"`+mark+`"}}`))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Splunk any")
	req.Header.Set("X-Splunk-Request-Channel", "11111111-2222-4333-8444-555555555555")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the mark was answered with %s: %v", res.Status, err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ids, there, err := read(r.file, index, mark); err != nil || there {
			return ids, err
		}
	}
	return nil, errors.New("the mark does not show in the file")
}

// read lists the event IDs of an index in the file, and whether the mark is
// there.
func read(path, index, mark string) (ids []string, there bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewReader(f)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return ids, there, nil // what has no line end is still being written
		}
		if err != nil {
			return nil, false, err
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, false, err
		}
		for _, resource := range l.ResourceLogs {
			for _, scope := range resource.ScopeLogs {
				for _, rec := range scope.LogRecords {
					id := rec.get("drover.event_id")
					there = there || id == mark
					if resource.Resource.get("com.splunk.index") == index {
						ids = append(ids, id)
					}
				}
			}
		}
	}
}

// certificate is one for a server on loopback that signs itself.
type certificate struct{ pem, key []byte }

func newCertificate(t *testing.T) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "receiver"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})}
}
