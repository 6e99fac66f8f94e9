package entra

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"drover"
)

// gate is what all token calls of one app at one authority go through: Entra
// counts them together, and an app's own trouble is asked about once, not by
// every tenant (reference faults T09, entra-oauth §9).
type gate struct {
	spacing time.Duration // between two calls

	mu     sync.Mutex
	until  time.Time // Entra asked for no calls before
	next   time.Time // the next free place in the row
	denied *drover.Error
	by     map[drover.TenantID]bool // who met a refusal of the app since the last success
	retry  time.Time
	times  int // refusals in a row
	finger [sha256.Size]byte
	freed  uint64 // counts the ends of refusals
}

// Calls of one app.
const (
	defaultSpacing = 20 * time.Millisecond  // fifty a second
	atOnce         = 100                    // after a quiet while: a start with a hundred tenants
	careful        = 100 * time.Millisecond // between two calls after a pause, ten a second
	maxRow         = 5 * time.Second        // longer rows are told to come back
	spread         = 10 * time.Second       // of those who wait for the end of a pause

	carefulFor = 5 * time.Minute // after a pause

	firstProbe = time.Minute
	lastProbe  = time.Hour

	// corroborated is how many tenants must meet a refusal of the app before
	// it is believed: one tenant can disable our app for itself, and must not
	// stop the others.
	corroborated = 2
)

// probeAfter is the pause after the nth refusal in a row, from 0.
func probeAfter(n int) time.Duration { return min(lastProbe, firstProbe<<min(n, 10)) }

// turn asks for a place. It returns how long to wait for it, or why there is
// none.
func (g *gate) turn(tenant drover.TenantID, finger [sha256.Size]byte) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if wait := g.until.Sub(now); wait > 0 {
		return 0, paused(tenant, wait)
	}
	if g.denied != nil {
		if now.Before(g.retry) && finger == g.finger {
			e := *g.denied
			e.Tenant = tenant
			return 0, &e
		}
		g.retry = now.Add(callTimeout) // this one is the probe
	}
	free, step := now, careful
	if now.Sub(g.until) > carefulFor {
		free, step = now.Add(-(atOnce-1)*g.spacing), g.spacing
	}
	if g.next.Before(free) {
		g.next = free
	}
	wait := max(g.next.Sub(now), 0)
	if wait > maxRow {
		return 0, paused(tenant, wait)
	}
	g.next = g.next.Add(step)
	return wait, nil
}

// paused tells to come back later, and not all at once.
func paused(tenant drover.TenantID, wait time.Duration) error {
	return &drover.Error{Op: opToken, Tenant: tenant, Kind: drover.Throttled, Wait: wait + rand.N(spread), App: true, Hint: slowed, Err: errors.New("token calls of the app are paused")}
}

// heard notes what came of a call.
func (g *gate) heard(tenant drover.TenantID, err error, finger [sha256.Size]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if err == nil {
		g.free()
		return
	}
	e, ok := errors.AsType[*drover.Error](err)
	switch {
	case !ok || !e.App:
	case e.Kind == drover.Throttled:
		if until := now.Add(e.Wait); until.After(g.until) {
			g.until, g.next = until, until
		}
	case e.Kind == drover.Denied:
		if g.by == nil {
			g.by = make(map[drover.TenantID]bool)
		}
		g.by[tenant] = true
		if len(g.by) >= corroborated {
			g.denied, g.finger, g.retry = e, finger, now.Add(probeAfter(g.times))
			g.times++
		}
	}
}

// free ends a refusal of the app for all of its tenants.
func (g *gate) free() {
	if len(g.by) > 0 {
		g.freed++
	}
	g.denied, g.by, g.times = nil, nil, 0
}

// forgive lets the next call through whatever was refused before.
func (g *gate) forgive() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free()
}

// generation changes when a refusal of the app has ended.
func (g *gate) generation() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.freed
}
