package collect

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"drover"
)

// watch is what is seen of a feed from outside: it holds nothing that reading
// depends on. Its members are guarded by its lock.
type watch struct {
	mu       sync.Mutex
	pulse    *pulse         // nil: no row has come
	late     *lateRows      // nil: none has come since the process began
	whole    drover.Instant // up to which it has been read
	learnt   bool           // the pulse knows what the ledger holds
	products bool           // and the crowds, of which products it had new alerts
	silent   bool           // it has been said
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
	// heard is when it was last heard again after a silence; a product of it may
	// come later than another.
	heard drover.Instant
}

// crowdEvery is how often a crowd's usual silence is reckoned anew.
const crowdEvery = 10 * time.Minute

// part names a crowd.
type part struct {
	source  drover.SourceID
	product string
}

// heard takes note of new rows of a feed, and of which products there are new
// alerts: one that a person closes is no sign of a product.
func (c *Collector) heard(r *reader, revs []drover.Revision) {
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
	var products []string // told before the lock is taken: it is that of all feeds
	for i := range revs {
		products = append(products, c.product(r.feed.Source, &revs[i]))
	}
	c.crowdsMu.Lock()
	defer c.crowdsMu.Unlock()
	for i := range revs {
		c.markLocked(r, "", revs[i].Changed)
		if products[i] != "" {
			c.markLocked(r, products[i], revs[i].Changed)
		}
	}
}

// product names the product of a new alert, "" if there is none to name.
func (c *Collector) product(s drover.SourceID, r *drover.Revision) string {
	if c.opt.Product == nil || r.Previous != 0 {
		return ""
	}
	return c.opt.Product(s, r.AlertID, r.Raw)
}

func (c *Collector) markLocked(r *reader, product string, at drover.Instant) {
	p := part{r.feed.Source, product}
	x := c.crowds[p]
	if x == nil {
		x = &crowd{feeds: make(map[*reader]struct{}), heard: drover.NoInstant}
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
	var recent []uint64 // of the time from which products are learnt
	for from := now.Add(-weeks * week); r.own && from < now; from = from.Add(week) {
		keys, err := r.c.opt.Store.Keys(ctx, r.feed, drover.Span{From: from, To: min(from.Add(week), now)}, false)
		if err != nil {
			return err
		}
		r.c.crowdsMu.Lock()
		for i := range keys {
			p.beat(keys[i].Changed)
			r.c.markLocked(r, "", keys[i].Changed)
			if keys[i].Changed >= now.Add(-productPast) {
				recent = append(recent, keys[i].Seq)
			}
		}
		r.c.crowdsMu.Unlock()
	}
	if err := r.learnProducts(ctx, now.Add(-productPast), recent); err != nil {
		return err
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	if old := r.watch.pulse; p.first != 0 && (old == nil || p.last >= old.last) {
		r.watch.pulse = p
	}
	r.watch.learnt = true
	return nil
}

// What products are usually silent for is learnt from bodies: those of so long a
// time, of as many feeds as have so few rows in it together. A feed is looked
// through whole or not at all, for what is silent in a part of the time only
// would be taken for a silence.
const (
	productPast = 8 * week
	productRows = 200_000
)

// learnProducts marks which products there were new alerts of since a moment.
// seqs are the numbers of the rows.
func (r *reader) learnProducts(ctx context.Context, since drover.Instant, seqs []uint64) error {
	n := int64(len(seqs))
	if r.c.opt.Product == nil || n == 0 || !r.watch.firstProducts() {
		return nil // what comes later is heard
	}
	if r.c.learntRows.Add(n) > productRows {
		r.c.learntRows.Add(-n)
		return nil
	}
	last := slices.Max(seqs)
	for seq := slices.Min(seqs) - 1; seq < last; {
		before := seq
		err := r.c.opt.Store.Walk(ctx, r.feed, seq, blockRows, blockBytes, func(rev *drover.Revision) {
			seq = rev.Seq
			if product := r.c.product(r.feed.Source, rev); product != "" && rev.Changed >= since {
				r.c.crowdsMu.Lock()
				defer r.c.crowdsMu.Unlock()
				r.c.markLocked(r, product, rev.Changed)
			}
		})
		if err != nil || seq == before { // the rest is gone
			return err
		}
	}
	return nil
}

// firstProducts reports, once, that nothing is known of the feed's products.
func (w *watch) firstProducts() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := !w.products
	w.products = true
	return first
}

// A step of looking through bodies.
const (
	blockRows  = 2000
	blockBytes = 8 << 20
)

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

	c.crowdsMu.Lock()
	down := make(map[drover.SourceID]bool)
	heard := make(map[drover.SourceID]drover.Instant)
	quiet := make(map[*reader]bool) // feeds all of whose products are silent everywhere
	look := func(p part, x *crowd) {
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
		since, usual, silent := c.crowdSilent(x, now, heard[p.source], floor)
		switch {
		case p.product == "":
			if x.silent && !silent {
				x.heard = drover.InstantOf(time.Now())
			}
			down[p.source], heard[p.source] = silent, x.heard
		case down[p.source]:
			silent = x.silent // all of its source is: that is said, and once
		}
		if silent != x.silent {
			c.sayCrowd(p, x, len(now), since, usual, silent)
		}
	}
	for p, x := range c.crowds {
		if p.product == "" {
			heard[p.source] = drover.NoInstant
			look(p, x)
		}
	}
	for p, x := range c.crowds {
		if p.product != "" {
			look(p, x)
		}
	}
	for p, x := range c.crowds {
		if p.product != "" && x.silent {
			for r := range x.feeds {
				quiet[r] = true
			}
		}
	}
	for p, x := range c.crowds {
		if p.product != "" && !x.silent && len(quiet) > 0 {
			for r := range x.feeds {
				delete(quiet, r)
			}
		}
	}
	c.crowdsMu.Unlock()

	for _, r := range readers {
		f, o := r.feed, r.watch.observed(floor)
		r.watch.mu.Lock()
		said := r.watch.silent
		r.watch.silent = o.Silent && (said || !down[f.Source] && !quiet[r])
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

// crowdSilent reports whether a crowd is silent though most of it is read. What
// was silent before heard does not count.
func (c *Collector) crowdSilent(x *crowd, read []drover.Instant, heard drover.Instant, floor time.Duration) (since drover.Instant, usual time.Duration, yes bool) {
	since = drover.InstantOf(time.Unix(x.calendar.newest*60, 0))
	usual, ok := x.pulse.usual(floor)
	n := 0
	for _, whole := range read {
		if whole.Sub(max(since, heard)) > silences*usual {
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
