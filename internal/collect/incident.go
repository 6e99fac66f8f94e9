package collect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"drover"
)

// board sees denials of all feeds of an app together. When the app itself is
// denied, or many tenants are within a minute and none is accepted, that is one
// incident: one feed at a time probes, the others wait, and the first success
// frees all (design §5). The feeds probe in turn, so that a tenant with trouble
// of its own holds nobody.
type board struct {
	c    *Collector
	mu   sync.Mutex
	apps map[string]*appState
}

// manyTenants denied within manyWindow are one incident of the app, if no
// tenant was accepted for as long, nor for a whole interval: trouble of their
// own, each has for itself.
const (
	manyTenants = 10
	manyWindow  = time.Minute
)

type appState struct {
	denied   map[drover.TenantID]time.Time
	accepted time.Time // when a feed of the app was last read
	open     bool
	wide     bool      // the app itself is denied: a token of before proves nothing
	prober   *reader   // the one feed that asks, if one does now
	next     time.Time // when the next one may
	probes   int
	held     map[*reader]struct{}
	said     time.Time // when an incident of the app itself was begun last, and with which remedy
	remedy   string
}

func (b *board) app(name string) *appState {
	s := b.apps[name]
	if s == nil {
		s = &appState{denied: make(map[drover.TenantID]time.Time), held: make(map[*reader]struct{})}
		b.apps[name] = s
	}
	return s
}

func newBoard(c *Collector) *board { return &board{c: c, apps: make(map[string]*appState)} }

// failed books that a feed could not be read; from then on hold answers for it.
func (b *board) failed(r *reader, app string, err error) {
	var e *drover.Error
	wide := errors.As(err, &e) && e.App
	denied := drover.KindOf(err) == drover.Denied
	b.mu.Lock()
	defer b.mu.Unlock()
	s, now := b.app(app), time.Now()
	if s.open {
		if s.prober == r {
			if denied {
				s.probes++
			}
			s.pass(b.c, now)
		}
		return
	}
	if !denied {
		return
	}
	s.denied[r.feed.Tenant] = now
	for t, at := range s.denied {
		if now.Sub(at) > manyWindow {
			delete(s.denied, t)
		}
	}
	if !wide && (len(s.denied) < manyTenants || now.Sub(s.accepted) <= max(manyWindow, slowest*b.c.opt.Interval)) {
		return
	}
	s.open, s.wide, s.probes = true, wide, 1
	s.pass(b.c, now)
	// While tokens of before are still good, a probe with one of them ends an
	// incident that begins anew with the next: that is said once.
	level, remedy := slog.LevelError, drover.HintOf(err)
	if wide {
		if remedy == s.remedy && now.Sub(s.said) < lastProbe {
			level = slog.LevelDebug
		}
		s.said, s.remedy = now, remedy
	}
	b.c.log.Log(context.Background(), level, "every tenant of an app is denied: one incident, one probe", "app", app, "tenants", len(s.denied), "hint", remedy, "err", err)
	b.c.notify(Event{Feed: r.feed, What: "incident", N: len(s.denied), Err: err})
}

// pass leaves the next probe to whoever asks first when it is due.
func (s *appState) pass(c *Collector, now time.Time) {
	p := double(firstProbe, lastProbe, s.probes-1)
	s.prober, s.next = nil, now.Add(p+c.random(p/10))
}

// hold reports whether r must not ask now because its app has an incident.
func (b *board) hold(r *reader, app string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.apps[app]
	if s == nil || !s.open || s.prober == r {
		return false
	}
	if now := time.Now(); s.prober == nil && !now.Before(s.next) || s.prober != nil && s.prober.gone() {
		s.prober, r.nextAt = r, now
		return false
	}
	s.held[r] = struct{}{}
	return true
}

// succeeded books that a feed was read, which ends an incident.
func (b *board) succeeded(r *reader, app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, now := b.app(app), time.Now()
	if s.open && s.wide && s.prober != r {
		return
	}
	s.accepted = now
	delete(s.denied, r.feed.Tenant)
	if !s.open {
		return
	}
	n := s.free(b.c, now)
	b.c.log.Info("the app is accepted again", "app", app, "tenants", n)
	b.c.notify(Event{Feed: r.feed, What: "incident_over", N: n})
}

// free ends an incident and returns how many feeds had waited.
func (s *appState) free(c *Collector, now time.Time) int {
	s.open, s.prober = false, nil
	clear(s.denied)
	// Freed feeds come back spread out, twenty a second.
	n := time.Duration(len(s.held))
	for h := range s.held {
		h.freed.Store(true)
		c.queue.hasten(h, now.Add(c.random(n*50*time.Millisecond)))
	}
	clear(s.held)
	return int(n)
}

// mended ends an app's incident without a probe: who probes next may be a tenant
// with trouble of its own, hours from now.
func (b *board) mended(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.apps[app]; s != nil && s.open {
		b.c.log.Info("the app is mended; its tenants are read again", "app", app, "tenants", s.free(b.c, time.Now()))
	}
}
