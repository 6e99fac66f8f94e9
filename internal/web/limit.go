package web

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limit bounds the requests of one client. What comes over loopback is a reverse
// proxy's as a rule, for all clients together, and may be ten times as much.
// A link's 130 bits cannot be guessed at any rate; this keeps those who try from
// taking the ledger's time.
type Limit struct {
	PerSecond float64
	Burst     float64

	mu      sync.Mutex
	clients map[netip.Prefix]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// maxClients are remembered at once.
const maxClients = 10_000

// Allow takes one of an address's requests.
func (l *Limit) Allow(remote string, now time.Time) bool {
	key := network(remote)
	perSecond, burst := l.PerSecond, l.Burst
	if key.Addr().IsLoopback() {
		perSecond, burst = 10*perSecond, 10*burst
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.clients[key]
	if b == nil {
		if l.clients == nil || len(l.clients) >= maxClients {
			l.clients = make(map[netip.Prefix]*bucket) // all begin anew: a bound on memory first
		}
		b = &bucket{burst, now}
		l.clients[key] = b
	}
	b.left = min(burst, b.left+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// network is what one client has: an address, of IPv6 a /64.
func network(remote string) netip.Prefix {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
