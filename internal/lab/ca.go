package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// authorityCert is the lab's own certificate authority: it makes a certificate
// for any name that it is asked for.
type authorityCert struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// Certificates hold for a wide span around the lab's clock, which may be any.
var (
	certFrom = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	certTo   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

func newCA() (*authorityCert, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the lab's CA: %w", err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "drover lab CA"}, NotBefore: certFrom, NotAfter: certTo,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the lab's CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authorityCert{key: key, cert: cert, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), leaves: make(map[string]*tls.Certificate)}, nil
}

// leaf returns a certificate for a name or address.
func (a *authorityCert) leaf(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, ips := asked(h)
	a.mu.Lock()
	defer a.mu.Unlock()
	key := fmt.Sprint(name, ips)
	if c := a.leaves[key]; c != nil {
		return c, nil
	}
	tpl := leafTemplate(int64(len(a.leaves))+2, name)
	tpl.DNSNames, tpl.IPAddresses = []string{name, "localhost"}, ips
	c, err := a.sign(tpl)
	if err == nil {
		a.leaves[key] = c
	}
	return c, err
}

// asked is the name that a client wants, and the addresses that it may have
// dialled.
func asked(h *tls.ClientHelloInfo) (name string, ips []net.IP) {
	if name = h.ServerName; name == "" {
		name = "localhost"
	}
	ips = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if h.Conn != nil {
		if at, ok := h.Conn.LocalAddr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
			ips = append(ips, at.IP)
		}
	}
	return name, ips
}

func leafTemplate(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: certFrom, NotAfter: certTo,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

func (a *authorityCert) sign(tpl *x509.Certificate) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// server makes a certificate and key for a server of somebody else's on this
// machine, as PEM.
func (a *authorityCert) server() (certPEM, keyPEM []byte, err error) {
	tpl := leafTemplate(1<<41, "localhost")
	tpl.DNSNames, tpl.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	c, err := a.sign(tpl)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), err
}

// bad returns a certificate that must not be taken: expired, for another name,
// or of another issuer.
func (a *authorityCert) bad(h *tls.ClientHelloInfo, how string) (*tls.Certificate, error) {
	name, ips := asked(h)
	tpl := leafTemplate(1<<40, name)
	tpl.DNSNames, tpl.IPAddresses = []string{name}, ips
	switch how {
	case "expired":
		tpl.NotAfter = certFrom.AddDate(1, 0, 0)
	case "name":
		tpl.DNSNames, tpl.IPAddresses = []string{"elsewhere.example"}, nil
	case "issuer":
		other, err := newCA()
		if err != nil {
			return nil, err
		}
		a = other
	}
	return a.sign(tpl)
}

// appCertificate makes the certificate and key with which the MSSP's app can
// authenticate, as PEM.
func appCertificate() (cert *x509.Certificate, certPEM, keyPEM []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, nil, err
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "drover"}, NotBefore: certFrom, NotAfter: certTo}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return nil, nil, nil, err
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		return nil, nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), err
}
