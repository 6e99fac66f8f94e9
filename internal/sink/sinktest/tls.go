package sinktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"drover"
)

// authority is one that signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// usual changes nothing of a certificate for a server on loopback.
func usual(*x509.Certificate) {}

// issue signs a certificate for a server on loopback, as bend leaves it.
func (a *authority) issue(t testing.TB, bend func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	bend(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// certificate bends what the receiver shows, one way after the other, and then
// shows a certificate that holds.
func (h *HTTP) certificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	var shown atomic.Pointer[tls.Certificate]
	x := &receiver{h: h}
	x.serve(t, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*shown.Load()}, SessionTicketsDisabled: true}, nil
	}})
	s := x.sink(t, ca.pem)
	show := func(c tls.Certificate) (drover.Taken, error) {
		shown.Store(&c)
		return send(t.Context(), t, s, Batch(s.Lane(Tenants[0]), Records(Tenants[0], 1, 3), nil))
	}
	namesake := *ca.cert
	namesake.PublicKey = &other.key.PublicKey
	bad := map[string]tls.Certificate{
		"it has ended":                    ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
		"it has not begun":                ca.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }),
		"it is another host's":            ca.issue(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"splunk.example"} }),
		"it is no server's":               ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
		"its authority is another":        other.issue(t, usual),
		"it is signed by itself":          {Certificate: [][]byte{other.cert.Raw}, PrivateKey: other.key},
		"its authority has only the name": (&authority{cert: &namesake, key: other.key}).issue(t, usual),
	}
	for name, c := range bad {
		taken, err := show(c)
		noSecret(t, err)
		if taken.N > 0 || drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
			t.Errorf("%s: %d records said to be done, kind %v, hint %q, error %v", name, taken.N, drover.KindOf(err), drover.HintOf(err), err)
		}
	}
	x.mu.Lock()
	requests := x.requests
	x.mu.Unlock()
	if requests != 0 {
		t.Errorf("%d requests were sent over a connection that is not verified", requests)
	}
	if _, err := show(ca.issue(t, usual)); err != nil {
		t.Errorf("a certificate that holds: %v", err)
	}
	h.ran(t, "D07", "%d certificates that do not hold: unverified sends %d, parked each time, freed by one that holds", len(bad), requests)
}
