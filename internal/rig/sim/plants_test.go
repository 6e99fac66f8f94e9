package sim

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/collect"
	"drover/internal/deliver"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// A simulator that has never failed proves nothing. Each plant is a fault of
// the product itself, put in its way by a hook; the run must be judged for
// what it breaks.
type plant struct {
	set  func(w *world)
	want string // begins, or is part of, what is found
}

// small is the size of a run with a plant.
var small = size{tenants: 3, active: 80 * time.Minute, calm: 80 * time.Minute, interval: 5 * time.Minute}

// tame draws a run in which little goes wrong: some answers of a sink are lost,
// one tenant is refused for a while, one process is killed.
func tame() plan {
	p := plan{size: small, overlap: 15 * time.Minute, unrouted: -1}
	for i := range small.tenants {
		// The old alerts lie deeper than any sweep.
		p.stories = append(p.stories, estate.Options{Backlog: 30, BacklogSpan: 30 * 24 * time.Hour, PerMinute: 0.3, Horizon: time.Hour, Updates: 0.5, LateShare: 0.1, LateMax: 40 * time.Minute, Foreign: 1, Bad: 1, Unnamed: 1, SIEM: i == 0})
	}
	at := func(d time.Duration, what string, do func(w *world)) { p.deeds = append(p.deeds, deed{d, what, do}) }
	at(20*time.Minute, "refused", func(w *world) {
		w.lab.Faults().Set(fault.Rule{Kind: fault.Status, Param: 403, Tenant: w.tenant(1), To: w.now().Add(10 * time.Minute)})
	})
	at(50*time.Minute, "killed", func(w *world) { w.restart(true, time.Minute) })
	return p
}

// once does something the first time that a condition holds.
type once struct {
	mu   sync.Mutex
	done bool
}

func (o *once) when(is bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done || !is {
		return false
	}
	o.done = true
	return true
}

// commits lets a plant spoil what is stored.
type commits struct {
	collect.Store
	spoil func(c *ledger.Commit)
}

func (s commits) Commit(ctx context.Context, c ledger.Commit) (ledger.Committed, error) {
	c.Revisions, c.Aside, c.Open = slices.Clone(c.Revisions), slices.Clone(c.Aside), slices.Clone(c.Open)
	s.spoil(&c)
	return s.Store.Commit(ctx, c)
}

func commit(spoil func(c *ledger.Commit)) func(w *world) {
	return func(w *world) { w.store = func(s collect.Store) collect.Store { return commits{s, spoil} } }
}

// settles lets a plant spoil how outcomes are stored.
type settles struct {
	deliver.Store
	skip func(s *ledger.Settle) bool
}

func (s settles) Settle(ctx context.Context, x ledger.Settle) error {
	if s.skip(&x) {
		return nil
	}
	return s.Store.Settle(ctx, x)
}

// pages lets a plant spoil what is read.
type pages struct {
	drover.Source
	spoil func(t drover.Tenant, p *drover.Page)
}

type spoiledPass struct {
	drover.Pass
	t     drover.Tenant
	spoil func(t drover.Tenant, p *drover.Page)
}

func (s pages) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return spoiledPass{s.Source.Read(t, span), t, s.spoil}
}

func (p spoiledPass) Next(ctx context.Context) (drover.Page, error) {
	page, err := p.Pass.Next(ctx)
	page.Rows = slices.Clone(page.Rows)
	p.spoil(p.t, &page)
	return page, err
}

// page spoils what the source of Graph alerts returns.
func page(spoil func(t drover.Tenant, p *drover.Page)) func(w *world) {
	return func(w *world) {
		w.source = func(s drover.Source) drover.Source {
			if s.ID() != drover.GraphAlerts {
				return s
			}
			return pages{s, spoil}
		}
	}
}

// sends lets a plant spoil what is sent.
type sends struct {
	drover.Sink
	deliver func(ctx context.Context, real drover.Sink, b drover.Batch) (drover.Taken, error)
	lane    func(t drover.Tenant) string
}

func (s sends) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	if s.deliver == nil {
		return s.Sink.Deliver(ctx, b)
	}
	return s.deliver(ctx, s.Sink, b)
}

func (s sends) Lane(t drover.Tenant) string {
	if s.lane == nil {
		return s.Sink.Lane(t)
	}
	return s.lane(t)
}

// asked is sends at a sink that can be asked.
type asked struct {
	sends
	drover.Asker
}

func sink(id drover.SinkID, deliver func(ctx context.Context, real drover.Sink, b drover.Batch) (drover.Taken, error)) func(w *world) {
	return func(w *world) {
		w.sink = func(s drover.SinkID, real drover.Sink) drover.Sink {
			if s != id {
				return real
			}
			if a, ok := real.(drover.Asker); ok {
				return asked{sends{real, deliver, nil}, a}
			}
			return sends{real, deliver, nil}
		}
	}
}

// plants are the faults. Each key says what the product would do.
func plants() map[string]plant {
	old := drover.InstantOf(epoch.Add(-8 * 24 * time.Hour)) // older than any sweep
	var o once
	var held *drover.Batch
	lost := make(map[string]bool)
	var borrowed *drover.Row
	return map[string]plant{
		"it drops one row of a page": {page(func(_ drover.Tenant, p *drover.Page) {
			p.Rows = slices.DeleteFunc(p.Rows, func(r drover.Row) bool {
				if len(lost) == 0 && r.ID != "" {
					lost[r.ID] = true
				}
				return lost[r.ID]
			})
		}), "lost"},
		"it drops a whole page": {page(func(_ drover.Tenant, p *drover.Page) {
			if slices.ContainsFunc(p.Rows, func(r drover.Row) bool { return r.Changed.Known() && r.Changed < old }) {
				p.Rows = nil
			}
		}), "lost"},
		"it moves the cursor over rows that it has not stored": {commit(func(c *ledger.Commit) {
			if o.when(len(c.Revisions) > 10 && c.Revisions[5].Changed < old) {
				c.Revisions = c.Revisions[6:]
			}
		}), "lost"},
		"it moves a cursor back": {commit(func(c *ledger.Commit) {
			if c.Cursor != nil && len(c.Revisions) > 0 && c.Cursor.Through > drover.InstantOf(epoch.Add(30*time.Minute)) {
				back := *c.Cursor
				back.Through = back.Through.Add(-20 * time.Minute)
				c.Cursor, c.Whole = &back, drover.NoInstant
			}
		}), "the process ended with"},
		"it swaps the rows of two tenants": {page(func(t drover.Tenant, p *drover.Page) {
			for i := range p.Rows {
				r := &p.Rows[i]
				switch {
				case r.ID == "" || !strings.EqualFold(r.TenantID, string(t.ID)):
				case borrowed == nil:
					copied := *r
					copied.Raw = bytes.Clone(r.Raw)
					borrowed = &copied
				case borrowed.TenantID != r.TenantID && o.when(true):
					copied := *borrowed
					copied.TenantID = r.TenantID
					*r = copied
				}
			}
		}), "foreign"},
		"it alters one byte of an alert on the way to a sink": {sink(sinkHEC, func(ctx context.Context, real drover.Sink, b drover.Batch) (drover.Taken, error) {
			// A row of another source, or one that is packed, does not have the member.
			i := slices.IndexFunc(b.Records, func(r drover.Record) bool { return bytes.Contains(r.Body, []byte(`"severity":"`)) })
			if o.when(i >= 0) {
				r := &b.Records[i]
				r.Body = bytes.Replace(r.Body, []byte(`"severity":"`), []byte(`"severitY":"`), 2)
			}
			return real.Deliver(ctx, b)
		}), "altered"},
		"it alters one byte of an alert before it is stored": {commit(func(c *ledger.Commit) {
			if n := len(c.Revisions); o.when(n > 0 && bytes.Contains(c.Revisions[n-1].Raw, []byte(`"title":"`))) {
				r := &c.Revisions[n-1]
				r.Raw = bytes.Replace(r.Raw, []byte(`"title":"`), []byte(`"title":"!`), 1)
			}
		}), "altered"},
		"it sends a batch twice": {sink(sinkHEC, func(ctx context.Context, real drover.Sink, b drover.Batch) (drover.Taken, error) {
			if o.when(true) {
				if taken, err := real.Deliver(ctx, b); err != nil {
					return taken, err
				}
			}
			return real.Deliver(ctx, b)
		}), "repeated"},
		"it takes a batch for sent that it has not sent": {sink(sinkAck, func(ctx context.Context, real drover.Sink, b drover.Batch) (drover.Taken, error) {
			if o.when(true) {
				return drover.Taken{N: len(b.Records)}, nil
			}
			return real.Deliver(ctx, b)
		}), "lost"},
		"it sends two batches out of order": {sink(sinkHEC, func(ctx context.Context, real drover.Sink, b drover.Batch) (drover.Taken, error) {
			if o.when(true) {
				first := b
				first.Records = slices.Clone(b.Records)
				for i := range first.Records {
					first.Records[i].Body = bytes.Clone(b.Records[i].Body)
				}
				held = &first
				return drover.Taken{N: len(b.Records)}, nil
			}
			taken, err := real.Deliver(ctx, b)
			if err == nil && held != nil {
				_, err = real.Deliver(ctx, *held)
				held = nil
			}
			return taken, err
		}), "out of order"},
		"it writes a tenant's records into another one's file": {func(w *world) {
			w.sink = func(id drover.SinkID, real drover.Sink) drover.Sink {
				if id != sinkFile {
					return real
				}
				return asked{sends{real, nil, func(drover.Tenant) string {
					return real.Lane(drover.Tenant{ID: drover.TenantID(w.tenant(0)), Name: w.lab.Customers()[0].Name, Customer: drover.CustomerID(w.lab.Customers()[0].Name)})
				}}, real.(drover.Asker)}
			}
		}, "foreign"},
		"it does not store what became of a batch": {func(w *world) {
			w.out = func(s deliver.Store) deliver.Store {
				return settles{s, func(x *ledger.Settle) bool { return x.Sink == sinkHEC && o.when(true) }}
			}
		}, "repeated"},
		"it forgets a row that it should have set aside": {commit(func(c *ledger.Commit) {
			c.Aside = slices.DeleteFunc(c.Aside, func(a ledger.Aside) bool { return a.Reason == "no_identity" })
		}), "not shown"},
		"it delivers a row of somebody else": {page(func(t drover.Tenant, p *drover.Page) {
			for i := range p.Rows {
				if r := &p.Rows[i]; r.Bad == "" && !strings.EqualFold(r.TenantID, string(t.ID)) {
					r.TenantID = string(t.ID)
				}
			}
		}), "foreign"},
		"it does not say that a row names no tenant": {commit(func(c *ledger.Commit) {
			for i := range c.Revisions {
				c.Revisions[i].Flags &^= drover.Unnamed
			}
		}), "unmarked"},
		"it leaves a feed parked": {commit(func(c *ledger.Commit) {
			if c.Parked != nil && *c.Parked == "" {
				c.Parked = nil
			}
		}), "is parked"},
		"it leaves a gap open": {commit(func(c *ledger.Commit) {
			if o.when(len(c.Revisions) > 0 && c.Cursor != nil) {
				c.Open = append(c.Open, drover.Gap{Feed: c.Feed, Span: drover.Span{From: drover.InstantOf(epoch.Add(-400 * 24 * time.Hour)), To: drover.InstantOf(epoch.Add(-300 * 24 * time.Hour))}, Cause: "a plant", State: drover.GapOpen})
			}
		}), "open gap"},
		"it writes a secret to its log": {func(w *world) {
			w.notify = func(e collect.Event) {
				if o.when(e.What == "read") {
					_, err := fmt.Fprintln(w.log, "token="+w.lab.AppSecret())
					w.must(err)
				}
			}
		}, "leak"},
	}
}

func TestTheSimulatorNamesEachPlantedBug(t *testing.T) {
	t.Parallel()
	if v := run(t, 7, tame(), (*world).play); len(v.wrong()) > 0 {
		t.Fatalf("without a plant: %v", v.wrong())
	}
	names := plants()
	var caught atomic.Int32
	t.Run("plant", func(t *testing.T) {
		for name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := plants()[name]
				v := run(t, 7, tame(), func(w *world) {
					p.set(w)
					w.play()
				})
				if wrong := v.wrong(); !slices.ContainsFunc(wrong, func(s string) bool { return strings.Contains(s, p.want) }) {
					t.Fatalf("missed; found %q, want %q", wrong, p.want)
				}
				caught.Add(1)
			})
		}
	})
	if n := int(caught.Load()); n == len(names) {
		proof.Ran(t, "sim.plants", "plants caught %d of %d", n, len(names))
	}
}
