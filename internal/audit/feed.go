package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

// feed is the audit of one feed.
type feed struct {
	a      *Auditor
	job    *job
	order  Order
	tenant drover.Tenant
	all    []drover.Tenant
	drover.Feed
	*ReportFeed
	src *source
	// What is expected of the window, by what the ledger has of it: rows, requests,
	// and how long these take.
	expect   int
	requests int
	lasts    time.Duration
	list     *listing
	api      []*row

	// Of the ledger, as it was looked at last.
	state   ledger.FeedState
	through drover.Instant
	gaps    []drover.Gap // of reading, in whatever state
	aside   map[drover.Hash]ledger.Aside
	keys    map[drover.Hash][]ledger.Key // by alert, in the order of change time
	window  []ledger.Key                 // those of the window, by number
	twice   []Difference
	about   map[uint64]about // of revisions, by number

	arrived  map[*row]bool // rows that the ledger did not have when it was looked at first
	singles  int           // rows asked for by themselves
	compared int           // bodies of what was set aside
}

// about is what the audit keeps of a revision that it has looked into.
type about struct {
	id, severity, foreign string
	late, gone            bool
	wrong                 string // why it is not what its key says
}

// maxSingles bounds how many rows are asked for by themselves; more than that
// are not one row's trouble.
const maxSingles = 200

// retention is how far back a source can be read.
const retention = ledger.KeyRetention

// reach is how much earlier than the window the keys begin that are looked at:
// a change time lies before the creation time only where clocks differ.
const reach = 24 * time.Hour

// run audits the feed. An error is the ledger's, or ctx's.
func (f *feed) run(ctx context.Context) error {
	f.through = drover.NoInstant
	switch {
	case f.src == nil:
		f.cannot("there is no second way to read this source")
		return nil
	case f.tenant.State == drover.Removed:
		f.cannot("the tenant was removed: its data key is destroyed")
		return nil
	}
	f.Route, f.By = f.src.says, string(f.src.by)
	if why := f.tenant.Unproven(); why != "" {
		f.cannot("both ways of reading it are with the same account, and what Defender hides from that is missing in both: " + why)
	}
	f.about, f.arrived = make(map[uint64]about), make(map[*row]bool)
	if err := f.load(ctx); err != nil {
		return err
	}
	f.job.expects(f, len(f.window))
	if err := f.readAPI(ctx); err != nil {
		return err
	}
	var suspects []*suspect
	for f.Polls = 1; ; f.Polls++ {
		if err := f.load(ctx); err != nil {
			return err
		}
		var err error
		if suspects, err = f.compare(ctx); err != nil {
			return err
		}
		doubts, err := f.compareSinks(ctx)
		if err != nil {
			return err
		}
		if !doubts && !slices.ContainsFunc(suspects, f.mayPass) || f.Polls > polls {
			break
		}
		if err := f.job.rest(ctx, f.a.opt.Wait); err != nil {
			return err
		}
	}
	for _, s := range suspects {
		if err := f.settle(ctx, s); err != nil {
			return err
		}
	}
	f.Through, f.Requests = f.through, f.list.requests
	f.shrunk()
	for _, why := range f.list.partial {
		f.cannot("an answer left out what a product did not deliver: " + why)
	}
	return nil
}

// readAPI reads the window from the API.
func (f *feed) readAPI(ctx context.Context) error {
	f.list = &listing{client: &client{a: f.a, job: f.job, src: f.src, tenant: f.tenant, pace: f.a.opt.Paces.of(f.tenant, f.Feed.Source)}, span: drover.Span{From: f.order.From, To: f.order.To}, expect: f.expect, seen: make(map[string]bool), top: f.src.top, count: true}
	var failed error
	f.list.meet = func(r *row) {
		f.api = append(f.api, r)
		if r.id == "" || r.tenant != "" || failed != nil {
			return
		}
		// What the ledger has already need not be kept in memory.
		if how, err := f.match(ctx, r); err != nil {
			failed = err
		} else if how == same || how == sameMeaning {
			r.raw = nil
		}
	}
	if err := errors.Join(f.list.read(ctx), failed); err != nil {
		return err
	}
	for _, h := range f.list.holes {
		f.cannot("the API could not be read " + h.span.String() + ": " + h.why)
	}
	return nil
}

// load looks at the ledger.
func (f *feed) load(ctx context.Context) error {
	store := f.a.opt.Store
	states, err := store.Feeds(ctx)
	if err != nil {
		return fmt.Errorf("read the feeds: %w", err)
	}
	for _, s := range states {
		if s.Feed == f.Feed {
			f.state = s
		}
	}
	f.through = f.state.Whole
	if f.state.Cursor.Source != "" {
		f.through = max(f.through, f.state.Cursor.Through)
	}
	if f.a.opt.Whole != nil {
		if w, ok := f.a.opt.Whole()[f.Feed]; ok {
			f.through = max(f.through, w)
		}
	}
	gaps, err := store.Gaps(ctx, ledger.GapFilter{Tenant: f.Feed.Tenant})
	if err != nil {
		return fmt.Errorf("read gaps: %w", err)
	}
	f.gaps = slices.DeleteFunc(gaps, func(g drover.Gap) bool { return g.Feed != f.Feed || g.Sink != "" || g.State == drover.GapClosed })
	asides, err := store.SetAside(ctx, ledger.AsideFilter{Tenant: f.Feed.Tenant})
	if err != nil {
		return fmt.Errorf("read what was set aside: %w", err)
	}
	f.aside = make(map[drover.Hash]ledger.Aside)
	for _, a := range asides {
		if a.Feed == f.Feed && a.Sink == "" {
			f.aside[a.Sum] = a
		}
	}
	keys, err := store.Keys(ctx, f.Feed, drover.Span{From: f.order.From.Add(-reach), To: drover.NoInstant}, true)
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	f.index(keys)
	for _, k := range f.window {
		if err := f.look(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// index puts keys in order, and notes what is there twice.
func (f *feed) index(keys []ledger.Key) {
	type id struct {
		changed drover.Instant
		alert   drover.Hash
		ordinal uint8
	}
	f.keys, f.window, f.twice = make(map[drover.Hash][]ledger.Key), nil, nil
	met, seqs := make(map[id]bool), make(map[uint64]bool)
	for _, k := range keys {
		at := f.src.when(k.Changed, k.Created)
		inside := at.Known() && at >= f.order.From && at < f.order.To
		if i := (id{k.Changed, k.Alert, k.Ordinal}); met[i] || seqs[k.Seq] {
			if inside {
				f.twice = append(f.twice, Difference{What: Twice, Where: "ledger", Why: Unexplained, Changed: k.Changed, Created: k.Created, Seq: k.Seq, Detail: "the ledger has the same alert, change time and ordinal, or number, twice"})
			}
			continue
		} else {
			met[i], seqs[k.Seq] = true, true
		}
		f.keys[k.Alert] = append(f.keys[k.Alert], k)
		if inside {
			f.window = append(f.window, k)
		}
	}
	slices.SortFunc(f.window, func(a, b ledger.Key) int { return int(int64(a.Seq) - int64(b.Seq)) })
}

// look reads a revision, once, and compares it with its key.
func (f *feed) look(ctx context.Context, k ledger.Key) error {
	if _, known := f.about[k.Seq]; known {
		return nil
	}
	rev, err := f.a.opt.Store.Body(ctx, f.Feed, k.Seq)
	if errors.Is(err, ledger.ErrNotFound) {
		f.about[k.Seq] = about{gone: true}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read revision %d of feed %s: %w", k.Seq, f.Feed, err)
	}
	r := f.src.row(rev.Raw, f.tenant.ID)
	a := about{id: rev.AlertID, severity: r.severity, foreign: r.tenant, late: rev.Flags.Has(drover.Late)}
	switch {
	case drover.Hash(sha256.Sum256(rev.Raw)) != k.Sum || rev.Sum != k.Sum:
		a.wrong = "its bytes are not those of its hash"
	case ledger.AlertHash(rev.AlertID) != k.Alert:
		a.wrong = "its key is another alert's"
	case r.id != "" && (r.id != rev.AlertID || r.changed != k.Changed):
		a.wrong = "the row itself says another alert or change time"
	}
	f.about[k.Seq] = a
	return nil
}

// How a row of the API stands to the ledger.
type how int

const (
	absent how = iota
	same
	sameMeaning
	keyOnly
	other // another content under the same change time
)

// match looks a row up.
func (f *feed) match(ctx context.Context, r *row) (how, error) {
	alert := ledger.AlertHash(r.id)
	var list []ledger.Key
	for _, k := range f.keys[alert] {
		if k.Changed == r.changed {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		keys, err := f.a.opt.Store.Keys(ctx, f.Feed, drover.Span{From: r.changed, To: r.changed + 1}, !r.changed.Known())
		if err != nil {
			return absent, fmt.Errorf("look up a key: %w", err)
		}
		for _, k := range keys {
			if k.Alert == alert && k.Changed == r.changed {
				list = append(list, k)
			}
		}
	}
	if len(list) == 0 {
		return absent, nil
	}
	gone := false
	for _, k := range list {
		if k.Sum == r.sum {
			return same, nil
		}
	}
	if r.raw == nil { // it was compared before
		return sameMeaning, nil
	}
	for _, k := range list {
		rev, err := f.a.opt.Store.Body(ctx, f.Feed, k.Seq)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			gone = true
		case err != nil:
			return absent, fmt.Errorf("read revision %d of feed %s: %w", k.Seq, f.Feed, err)
		case f.a.opt.Compare.Same(f.Feed.Source, rev.Raw, r.raw):
			return sameMeaning, nil
		}
	}
	if gone {
		return keyOnly, nil
	}
	return other, nil
}

// suspect is a difference that may go away.
type suspect struct {
	row *row         // that the ledger does not have, or has otherwise
	how how          // of the row
	key []ledger.Key // else revisions of one alert that the API does not show
	api *row         // the older state that it shows instead, if it does
}

// compare counts anew and lists what may be a difference. What is certain is
// booked at once.
func (f *feed) compare(ctx context.Context) (suspects []*suspect, err error) {
	f.Counts, f.Days, f.Differences = Counts{}, nil, nil
	f.ReportFeed.addAll(f.twice)
	newest := make(map[drover.Hash]*row)
	for _, r := range f.api {
		day := f.day(f.src.when(r.changed, r.created), r.severity)
		f.Counts.API++
		day.API++
		if r.id == "" || r.tenant != "" {
			suspects = append(suspects, &suspect{row: r})
			continue
		}
		alert := ledger.AlertHash(r.id)
		if old := newest[alert]; old == nil || r.changed > old.changed {
			newest[alert] = r
		}
		how, err := f.match(ctx, r)
		if err != nil {
			return nil, err
		}
		switch how {
		case same:
			f.Counts.Same++
			day.Agreed++
		case sameMeaning:
			f.Counts.SameMeaning++
			day.Agreed++
		case keyOnly:
			f.Counts.KeyOnly++
			day.Agreed++
		default:
			f.arrived[r] = true
			suspects = append(suspects, &suspect{row: r, how: how})
			continue
		}
		if f.arrived[r] {
			f.add(f.came(r))
		}
	}
	unknown := make(map[drover.Hash]*suspect)
	for _, k := range f.window {
		f.revision(k)
		switch r := newest[k.Alert]; {
		case r != nil && k.Changed < r.changed:
			f.Counts.Superseded++
		case r != nil && k.Changed == r.changed:
		case f.inHole(f.src.when(k.Changed, k.Created)):
		default:
			s := unknown[k.Alert]
			if s == nil {
				s = &suspect{api: r}
				unknown[k.Alert] = s
			}
			s.key = append(s.key, k)
		}
	}
	list := slices.Collect(maps.Values(unknown))
	slices.SortFunc(list, func(a, b *suspect) int { return int(int64(a.key[0].Seq) - int64(b.key[0].Seq)) })
	return append(suspects, list...), nil
}

// revision counts one of the ledger and books what is wrong with it.
func (f *feed) revision(k ledger.Key) {
	a := f.about[k.Seq]
	f.Counts.Ledger++
	f.day(f.src.when(k.Changed, k.Created), a.severity).Ledger++
	if a.late {
		f.Counts.Late++
	}
	if a.gone {
		return
	}
	f.Counts.Checked++
	d := Difference{Where: "ledger", Why: Unexplained, AlertID: a.id, Changed: k.Changed, Created: k.Created, Severity: a.severity, Seq: k.Seq}
	if a.wrong != "" {
		d.What, d.Detail = Altered, a.wrong
		f.add(d)
	}
	if a.foreign != "" {
		d.What, d.Detail = Foreign, "the row names tenant "+a.foreign+" and was taken as this tenant's"
		f.add(d)
	}
}

// came is the difference of a row that arrived while the audit waited.
func (f *feed) came(r *row) Difference {
	d := Difference{What: Missing, Where: "ledger", Why: WhyPending, AlertID: r.id, Changed: r.changed, Created: r.created, Severity: r.severity, Detail: "taken while the audit waited"}
	for _, k := range f.keys[ledger.AlertHash(r.id)] {
		if k.Changed == r.changed && f.about[k.Seq].late {
			d.Why = WhyLate
		}
	}
	return d
}

func (f *feed) inHole(at drover.Instant) bool {
	return slices.ContainsFunc(f.list.holes, func(h hole) bool { return h.span.Contains(at) })
}

// shrunk notes that the API shows so much less than the ledger has that it is
// itself in doubt: an API that answers nothing proves nothing.
func (f *feed) shrunk() {
	const few, share = 3, 10 // more than three, and more than a tenth
	gone, alerts := 0, make(map[drover.Hash]bool)
	for _, k := range f.window {
		alerts[k.Alert] = true
	}
	for _, d := range f.Differences {
		if d.What == Extra && d.Where == "api" && d.Why == WhyVanished {
			gone++
		}
	}
	if gone > few && gone*share > len(alerts) {
		f.cannot(fmt.Sprintf("the API does not show %d of %d alerts that the ledger has", gone, len(alerts)))
	}
}

// cannot notes, once, why the audit cannot tell.
func (f *ReportFeed) cannot(why string) {
	if why = plain(why); !slices.Contains(f.CannotTell, why) {
		f.CannotTell = append(f.CannotTell, why)
	}
}

func (f *ReportFeed) addAll(list []Difference) {
	for _, d := range list {
		f.add(d)
	}
}
