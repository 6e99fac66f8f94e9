package collect

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"drover"
	"drover/internal/ledger"
)

// watch is what is seen of a feed from outside: it holds nothing that reading
// depends on. Its members are guarded by its lock.
type watch struct {
	mu     sync.Mutex
	pulse  *pulse         // nil: no row has come
	late   *lateRows      // nil: none has come since the process began
	whole  drover.Instant // up to which it has been read
	learnt bool           // the pulse knows what the ledger holds
	silent bool           // it has been said
}

// Observed is what is seen of a feed beside how far it has been read.
type Observed struct {
	// Since is the change time of the newest row, NoInstant if there is none;
	// Usual is the longest time without a new row that is usual, 0 if too little
	// is known to tell. Silent: it has been longer than twice that.
	Since    drover.Instant
	Usual    time.Duration
	Silent   bool
	Lateness Lateness
}

// Observed returns what is seen of every feed that is read.
func (c *Collector) Observed() map[drover.Feed]Observed {
	floor := c.silenceFloor()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[drover.Feed]Observed, len(c.readers))
	for f, r := range c.readers {
		out[f] = r.watch.observed(floor)
	}
	return out
}

func (w *watch) observed(floor time.Duration) Observed {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := Observed{Since: drover.NoInstant}
	if w.late != nil {
		o.Lateness = w.late.Lateness
	}
	if w.pulse == nil {
		return o
	}
	o.Since = w.pulse.last
	usual, ok := w.pulse.usual(floor)
	if ok {
		o.Usual = usual
	}
	_, _, o.Silent = w.pulse.silent(w.whole, floor)
	return o
}

// readTo is up to which the feed has been read.
func (w *watch) readTo() drover.Instant {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.whole
}

// silenceEvery is how often it is looked who is silent.
const silenceEvery = time.Minute

// silenceFloor is the shortest silence that can be usual: a row may take this
// long to become visible.
func (c *Collector) silenceFloor() time.Duration { return max(c.opt.Overlap, 2*slowest*c.opt.Interval) }

// manySilent tenants are the least of which "all of them" is said.
const manySilent = 3

// crowd is all feeds of a source, or of one product in it, together: where all
// tenants fall silent at once, it is no tenant's matter.
type crowd struct {
	calendar calendar
	feeds    map[*reader]struct{}
	looked   time.Time // at the calendar
	pulse    *pulse    // by it
	silent   bool      // it has been said
}

// crowdEvery is how often a crowd's usual silence is reckoned anew.
const crowdEvery = 10 * time.Minute

// part names a crowd.
type part struct {
	source  drover.SourceID
	product string
}

// namesProduct is implemented by sources that can tell which product a row
// comes from.
type namesProduct interface{ Product(row *drover.Row) string }

// heard takes note of new rows of a feed.
func (c *Collector) heard(r *reader, revs []drover.Revision, products []string) {
	if len(revs) == 0 {
		return
	}
	r.watch.mu.Lock()
	if r.watch.pulse == nil {
		r.watch.pulse = new(pulse)
	}
	for i := range revs {
		r.watch.pulse.beat(revs[i].Changed)
	}
	r.watch.mu.Unlock()
	c.crowdsMu.Lock()
	defer c.crowdsMu.Unlock()
	for i := range revs {
		c.markLocked(r, "", revs[i].Changed)
		if i < len(products) && products[i] != "" {
			c.markLocked(r, products[i], revs[i].Changed)
		}
	}
}

func (c *Collector) markLocked(r *reader, product string, at drover.Instant) {
	p := part{r.feed.Source, product}
	x := c.crowds[p]
	if x == nil {
		x = &crowd{feeds: make(map[*reader]struct{})}
		c.crowds[p] = x
	}
	x.feeds[r] = struct{}{}
	x.calendar.mark(at)
}

// learn fills a feed's pulse from the ledger's keys, a week at a time: once
// after a start, and once more when its past has been read. Of a feed that has
// never had a row nothing is asked.
func (r *reader) learn(ctx context.Context) error {
	now, p := r.now(), new(pulse)
	for from := now.Add(-weeks * week); r.own && from < now; from = from.Add(week) {
		keys, err := r.c.opt.Store.Keys(ctx, r.feed, drover.Span{From: from, To: min(from.Add(week), now)}, false)
		if err != nil {
			return err
		}
		r.c.crowdsMu.Lock()
		for i := range keys {
			p.beat(keys[i].Changed)
			r.c.markLocked(r, "", keys[i].Changed)
		}
		r.c.crowdsMu.Unlock()
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	if old := r.watch.pulse; p.first != 0 && (old == nil || p.last >= old.last) {
		r.watch.pulse = p
	}
	r.watch.learnt = true
	return nil
}

// observe takes note of how far the tail has been read, and compares the feed
// with itself where that is due. What goes wrong here holds nothing.
func (r *reader) observe(ctx context.Context) {
	r.watch.mu.Lock()
	r.watch.whole = r.whole
	learn := !r.watch.learnt && r.whole.Known()
	r.watch.mu.Unlock()
	if learn {
		if err := r.learn(ctx); err != nil && ctx.Err() == nil {
			r.c.log.Warn("look how long the feed is usually silent", "feed", r.feed, "err", err)
		}
	}
	if r.latenessDue() {
		if err := r.judgeLateness(ctx); err != nil && ctx.Err() == nil {
			r.c.log.Warn("look how late rows usually are", "feed", r.feed, "err", err)
		}
	}
}

// unlearn makes the pulse be learnt anew: rows of the past have come.
func (r *reader) unlearn() {
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	r.watch.learnt = false
}

// checkSilence says once of each feed that it has fallen silent, and of what is
// silent in all tenants that it is one incident.
func (c *Collector) checkSilence() {
	floor := c.silenceFloor()
	c.mu.Lock()
	readers := slices.Collect(maps.Values(c.readers))
	c.mu.Unlock()

	down := make(map[drover.SourceID]bool)
	c.crowdsMu.Lock()
	for p, x := range c.crowds {
		now := make([]drover.Instant, 0, len(x.feeds))
		for r := range x.feeds {
			if r.gone() {
				delete(x.feeds, r)
			} else if whole := r.watch.readTo(); whole.Known() {
				now = append(now, whole)
			}
		}
		if time.Since(x.looked) >= crowdEvery {
			x.pulse, x.looked = x.calendar.pulse(), time.Now()
		}
		since, usual, silent := c.crowdSilent(x, now, floor)
		if down[p.source] = down[p.source] || silent && p.product == ""; silent != x.silent {
			c.sayCrowd(p, x, len(now), since, usual, silent)
		}
	}
	c.crowdsMu.Unlock()

	for _, r := range readers {
		f, o := r.feed, r.watch.observed(floor)
		r.watch.mu.Lock()
		said := r.watch.silent
		r.watch.silent = o.Silent && (said || !down[f.Source])
		say := r.watch.silent != said
		r.watch.mu.Unlock()
		switch {
		case !say:
		case o.Silent:
			c.log.Warn("a feed is silent: its API answers and shows nothing new for more than twice as long as usual", "feed", f, "since", o.Since, "usual", o.Usual.Round(time.Second),
				"hint", "look whether the app's roles, the tenant's licences and its region are as they were: drover tenant check")
			c.notify(Event{Feed: f, What: "silent", N: 1})
		default:
			c.log.Info("a silent feed shows rows again", "feed", f)
			c.notify(Event{Feed: f, What: "heard", N: 1})
		}
	}
}

// crowdSilent reports whether a crowd is silent though most of it is read.
func (c *Collector) crowdSilent(x *crowd, read []drover.Instant, floor time.Duration) (since drover.Instant, usual time.Duration, yes bool) {
	since = drover.InstantOf(time.Unix(x.calendar.newest*60, 0))
	usual, ok := x.pulse.usual(floor)
	n := 0
	for _, whole := range read {
		if whole.Sub(since) > silences*usual {
			n++
		}
	}
	return since, usual, ok && len(read) >= manySilent && n*10 >= len(read)*9
}

func (c *Collector) sayCrowd(p part, x *crowd, tenants int, since drover.Instant, usual time.Duration, silent bool) {
	x.silent = silent
	if !silent {
		c.log.Info("what was silent in all tenants shows rows again", "source", p.source, "product", p.product)
		c.notify(Event{Feed: drover.Feed{Source: p.source}, What: "source_heard", N: tenants})
		return
	}
	c.log.Error("one incident: nothing new in any tenant for more than twice as long as usual", "source", p.source, "product", p.product, "tenants", tenants, "since", since, "usual", usual.Round(time.Second),
		"hint", "no tenant's matter: look at Microsoft's service health, and at the app's permissions")
	c.notify(Event{Feed: drover.Feed{Source: p.source}, What: "source_silent", N: tenants})
}

// SilentSource is a source, or one product in it, that is silent in all tenants
// at once.
type SilentSource struct {
	Source  drover.SourceID
	Product string // empty: all of it
	Tenants int
	Since   drover.Instant
}

// SilentSources lists what is silent in all tenants at once.
func (c *Collector) SilentSources() (out []SilentSource) {
	c.crowdsMu.Lock()
	defer c.crowdsMu.Unlock()
	for p, x := range c.crowds {
		if x.silent {
			out = append(out, SilentSource{p.source, p.product, len(x.feeds), drover.InstantOf(time.Unix(x.calendar.newest*60, 0))})
		}
	}
	return out
}

// products names the product of each row that became a revision, where the
// source can tell.
func (r *reader) products(rows []drover.Row, c *ledger.Commit) []string {
	s, ok := r.source.(namesProduct)
	if !ok || len(c.Revisions) == 0 {
		return nil
	}
	by := make(map[drover.Hash]string, len(rows))
	for i := range rows {
		by[rows[i].Sum] = s.Product(&rows[i])
	}
	out := make([]string, len(c.Revisions))
	for i := range c.Revisions {
		out[i] = by[c.Revisions[i].Sum]
	}
	return out
}
