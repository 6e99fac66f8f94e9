// Package audit shows whether a window is complete: it reads it from the API
// once more, by another route than the collector's, and accounts for every row
// that the API and the ledger hold of it, and at every sink (faults-and-invariants
// I23).
//
// It promises:
//
//   - Another route: another order and page size, by the time at which alerts
//     were created where the API can be asked by it. No line that pages or parses
//     is shared with package defender, so that one mistake is not on both sides.
//   - A difference counts only if it still stands when the ledger has been looked
//     at twice more and the row has been asked for by itself.
//   - Every difference is explained by something that the ledger itself says, or
//     it is unexplained. Unexplained: differ. Something could not be read: cannot
//     tell. Else: agree.
//   - It writes nothing, neither to the ledger nor to a sink, and makes only such
//     requests as the share of the API's limits allows and the collector leaves.
package audit

import (
	"context"
	"errors"
	"slices"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/ledger"
)

// Store is what an audit reads of the ledger.
type Store interface {
	Identity() ledger.Identity
	Feeds(ctx context.Context) ([]ledger.FeedState, error)
	ListTenants(ctx context.Context) ([]drover.Tenant, error)
	Keys(ctx context.Context, f drover.Feed, span drover.Span, withUnknown bool) ([]ledger.Key, error)
	Body(ctx context.Context, f drover.Feed, seq uint64) (drover.Revision, error)
	Gaps(ctx context.Context, f ledger.GapFilter) ([]drover.Gap, error)
	SetAside(ctx context.Context, f ledger.AsideFilter) ([]ledger.Aside, error)
	AsideBody(ctx context.Context, id int64) (ledger.Aside, error)
	Places(ctx context.Context, s drover.SinkID) ([]ledger.Place, error)
	Counts(ctx context.Context, t drover.TenantID) ([]ledger.DayCount, error)
	Mark(ctx context.Context, s drover.SinkID, lane string) ([]byte, error)
}

// Doer makes HTTP calls; *httpx.Client is the one used.
type Doer interface {
	Do(ctx context.Context, r httpx.Request) (*httpx.Response, error)
}

// Tokens gives access tokens; *entra.Tokens is the one used.
type Tokens interface {
	// Token returns a token for the source's API in the tenant.
	Token(ctx context.Context, t drover.Tenant, s drover.SourceID) (drover.Secret, error)
	// Invalidate says that the API did not accept token.
	Invalidate(t drover.Tenant, s drover.SourceID, token drover.Secret)
}

// Comparer tells whether two bodies mean the same.
type Comparer interface {
	Same(src drover.SourceID, a, b []byte) bool
}

// Routes says where a tenant's alerts go.
type Routes interface {
	Routed(t drover.Tenant, from drover.SourceID, to drover.SinkID) bool
}

// Shelf is a destination whose records can be read back.
type Shelf interface {
	// ReadBack calls visit with each record that the destination holds of a
	// tenant's source, and perhaps of others that share its place. mark is what
	// the sink asked to be kept. all is false if some of what was once written
	// is no longer there.
	ReadBack(ctx context.Context, t drover.Tenant, s drover.SourceID, mark []byte, visit func(record []byte) error) (all bool, err error)
}

// Sink is a sink of the config.
type Sink struct {
	ID drover.SinkID
	// Lane is drover.Sink's.
	Lane func(t drover.Tenant) string
	// Shelf is nil where nothing can be read back: the ledger's word counts.
	Shelf Shelf
}

// Options of an Auditor. Store, HTTP, Tokens, Host, Compare and Routes are
// required.
type Options struct {
	Store   Store
	HTTP    func(t drover.Tenant) (Doer, error)
	Tokens  Tokens
	Host    func(t drover.Tenant, s drover.SourceID) (string, error)
	Compare Comparer
	Routes  Routes
	Sinks   []Sink
	// Whole tells when feeds were last read whole, where that is not in the
	// ledger yet. It may be nil.
	Whole func() map[drover.Feed]drover.Instant
	// Wait is how long the audit waits before it looks at the ledger again: long
	// enough for the collector to poll and the sinks to be served. 0: nothing
	// runs beside it.
	Wait time.Duration
	// Paces bounds requests; nil: nothing does.
	Paces   *Paces
	Version string
	// Progress is told how it goes, the estimate first; it may be nil. It is not
	// called twice at once.
	Progress func(line string)
	// Now is the local clock, time.Now if nil.
	Now func() time.Time
}

// Order is what is to be audited.
type Order struct {
	Tenants []drover.TenantID // at least one
	Sinks   []drover.SinkID   // nil: all
	// From and To bound the window, From included, To not: by the time at which
	// alerts were created, or by their change time where the API can be asked by
	// nothing else.
	From, To drover.Instant
}

// Auditor audits.
type Auditor struct{ opt Options }

// New builds an Auditor. It connects nowhere.
func New(opt Options) *Auditor {
	if opt.Paces == nil {
		opt.Paces = new(Paces)
	}
	if opt.Progress == nil {
		opt.Progress = func(string) {}
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Auditor{opt}
}

// polls is how often the ledger is looked at again before a difference counts.
const polls = 2

// Run audits. An error means that no report could be made, for the ledger could
// not be read or ctx ended; what an API did not tell stands in the report.
func (a *Auditor) Run(ctx context.Context, o Order) (*Report, error) {
	id := a.opt.Store.Identity()
	r := &Report{Format: Format, Made: drover.InstantOf(a.opt.Now()), Version: a.opt.Version, Ledger: Ledger{id.ID, id.Incarnation}, Window: Window{o.From, o.To}, CannotSee: blind(nil)}
	if o.From >= o.To {
		return nil, &drover.Error{Op: "audit", Kind: drover.Refused, Err: errors.New("the window is empty: it ends before it begins")}
	}
	tenants, err := a.opt.Store.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	states, err := a.opt.Store.Feeds(ctx)
	if err != nil {
		return nil, err
	}
	j := &job{a: a}
	var feeds []*feed
	var sources []drover.SourceID
	for _, id := range o.Tenants {
		i := slices.IndexFunc(tenants, func(t drover.Tenant) bool { return t.ID == id })
		if i < 0 {
			return nil, &drover.Error{Op: "audit", Tenant: id, Kind: drover.Refused, Err: ledger.ErrNotFound}
		}
		for _, s := range states {
			if s.Feed.Tenant != id {
				continue
			}
			f := &feed{a: a, job: j, order: o, tenant: tenants[i], all: tenants, Feed: s.Feed, state: s, ReportFeed: &ReportFeed{Tenant: id, Name: tenants[i].Name, Customer: tenants[i].Customer, Source: s.Feed.Source}}
			feeds = append(feeds, f)
			r.Feeds = append(r.Feeds, f.ReportFeed)
			sources = append(sources, s.Feed.Source)
		}
	}
	if err := j.run(ctx, feeds); err != nil {
		return nil, err
	}
	r.CannotSee = blind(sources)
	r.close()
	return r, nil
}
