package httpx

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"
)

// Peer is a server with the certificate that it showed last.
type Peer struct {
	Host  string    // with its port, as it was called
	ID    string    // of the certificate: the first half of its SHA-256
	Until time.Time // when it, or what it rests on, ends
}

// shown is what a server proved itself by.
type shown struct {
	leaf   *x509.Certificate
	chains [][]*x509.Certificate
}

// see takes note of a server's certificate.
func (c *Client) see(host string, s *tls.ConnectionState) {
	if s == nil || len(s.PeerCertificates) == 0 {
		return
	}
	leaf := s.PeerCertificates[0]
	if old, ok := c.peers.Load(host); !ok || old.(shown).leaf != leaf {
		c.peers.Store(host, shown{leaf, s.VerifiedChains})
	}
}

// Peers lists the servers that have answered, by host.
func (c *Client) Peers() (list []Peer) {
	c.peers.Range(func(host, v any) bool {
		s := v.(shown)
		sum := sha256.Sum256(s.leaf.Raw)
		list = append(list, Peer{Host: host.(string), ID: hex.EncodeToString(sum[:16]), Until: s.until()})
		return true
	})
	slices.SortFunc(list, func(a, b Peer) int { return cmp.Compare(a.Host, b.Host) })
	return list
}

// until is when the last of the chains breaks: each at the first end of one of
// its certificates.
func (s shown) until() (last time.Time) {
	if len(s.chains) == 0 {
		return s.leaf.NotAfter
	}
	for _, chain := range s.chains {
		first := s.leaf.NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if first.After(last) {
			last = first
		}
	}
	return last
}
