package collect

import (
	"errors"
	"sync"
	"time"

	"drover"
)

// board sees denials of all feeds of an app together. When the app itself is
// denied, or many tenants are within a minute, that is one incident: one feed
// probes, the others wait, and its first success frees all (design §5).
type board struct {
	c    *Collector
	mu   sync.Mutex
	apps map[string]*appState
}

// manyTenants denied within manyWindow are one incident of the app.
const (
	manyTenants = 10
	manyWindow  = time.Minute
)

type appState struct {
	denied map[drover.TenantID]time.Time
	open   bool
	prober *reader // the one feed that probes while open
	held   map[*reader]struct{}
	why    error
}

func newBoard(c *Collector) *board { return &board{c: c, apps: make(map[string]*appState)} }

// denied books a denial; from then on hold answers for r.
func (b *board) denied(r *reader, app string, err error) {
	var e *drover.Error
	wide := errors.As(err, &e) && e.App
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.apps[app]
	if s == nil {
		s = &appState{denied: make(map[drover.TenantID]time.Time), held: make(map[*reader]struct{})}
		b.apps[app] = s
	}
	now := time.Now()
	s.denied[r.feed.Tenant] = now
	for t, at := range s.denied {
		if now.Sub(at) > manyWindow {
			delete(s.denied, t)
		}
	}
	if !s.open {
		if !wide && len(s.denied) < manyTenants {
			return
		}
		s.open, s.prober, s.why = true, r, err
		b.c.log.Error("every tenant of an app is denied: one incident, one probe", "app", app, "tenants", len(s.denied), "hint", drover.HintOf(err), "err", err)
		b.c.notify(Event{Feed: r.feed, What: "incident", N: len(s.denied), Err: err})
	}
}

// hold reports whether r must not ask now because its app has an incident and
// another feed probes.
func (b *board) hold(r *reader, app string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.apps[app]
	if s == nil || !s.open || s.prober == r {
		return false
	}
	if s.prober.gone() {
		s.prober = r
		return false
	}
	s.held[r] = struct{}{}
	return true
}

// succeeded books an answer that was not a denial; it ends an incident.
func (b *board) succeeded(r *reader, app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.apps[app]
	if s == nil {
		return
	}
	delete(s.denied, r.feed.Tenant)
	if !s.open {
		return
	}
	s.open, s.prober, s.why = false, nil, nil
	clear(s.denied)
	// Freed feeds come back spread out, twenty a second.
	now, n := time.Now(), time.Duration(len(s.held))
	for h := range s.held {
		b.c.queue.hasten(h, now.Add(b.c.random(n*50*time.Millisecond)))
	}
	b.c.log.Info("the app is accepted again", "app", app, "tenants", len(s.held))
	b.c.notify(Event{Feed: r.feed, What: "incident_over", N: len(s.held)})
	clear(s.held)
}
