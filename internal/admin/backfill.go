package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Backfilling is what can be asked about the past.
type Backfilling interface {
	// Backfill asks for a stretch of a tenant's past, in each of its sources or
	// in one. It is read by a running process, or by the next.
	Backfill(ctx context.Context, b NewBackfill) ([]BackfillStatus, error)
	// Backfills lists all, done and cancelled ones too.
	Backfills(ctx context.Context) ([]BackfillStatus, error)
	// CancelBackfill ends an open one; what was found stays.
	CancelBackfill(ctx context.Context, id int64) error
}

// NewBackfill is what an operator says of a backfill.
type NewBackfill struct {
	Tenant string          `json:"tenant"`
	Source drover.SourceID `json:"source"` // empty: all that the tenant is read from
	From   string          `json:"from"`   // as a tenant's start
	To     string          `json:"to"`     // empty: now
	// MayRepeat allows what changed so long ago that the ledger may have
	// forgotten that it was delivered.
	MayRepeat bool `json:"may_repeat"`
}

// BackfillStatus is how a backfill goes.
type BackfillStatus struct {
	ID     int64                `json:"id"`
	Tenant drover.TenantID      `json:"tenant"`
	Name   string               `json:"name"`
	Source drover.SourceID      `json:"source"`
	From   drover.Instant       `json:"from"`
	To     drover.Instant       `json:"to"`
	At     drover.Instant       `json:"at"`    // everything below has been read
	First  bool                 `json:"first"` // of a first read; nobody asked for it
	State  ledger.BackfillState `json:"state"`
	Asked  drover.Instant       `json:"asked"`
	Rows   int64                `json:"rows"`
	Found  int64                `json:"found"` // of the rows, those that the ledger did not hold
	Pages  int64                `json:"requests"`
	// What is left, reckoned from how much was behind the part that is done;
	// -1: it cannot be told yet. The time is what our share of the API's limit
	// allows at best, or where no limit is known, what it took so far.
	RequestsLeft int64 `json:"requests_left"`
	SecondsLeft  int64 `json:"seconds_left"`
}

// Done is the share of the span that has been read.
func (b *BackfillStatus) Done() float64 {
	if all := b.To.Sub(b.From); all > 0 {
		return float64(b.At.Sub(b.From)) / float64(all)
	}
	return 1
}

// Backfill checks and stores a backfill; see API.
func (l *Local) Backfill(ctx context.Context, n NewBackfill) ([]BackfillStatus, error) {
	const op = "backfill"
	t, err := l.find(ctx, op, n.Tenant)
	if err != nil {
		return nil, err
	}
	if t.State != drover.Active {
		return nil, usage(op, "read it again first: drover tenant resume "+t.Name, fmt.Errorf("tenant %s is %s", t.Name, t.State))
	}
	now := time.Now()
	from, err := ParseStart(n.From, now)
	if err != nil || n.From == "" {
		return nil, usage(op, "say where it begins: --from 30d, or --from 2026-03-02", errors.Join(err, errors.New("no beginning")))
	}
	to, err := ParseStart(orDefault(n.To, "now"), now)
	if err != nil {
		return nil, usage(op, "", err)
	}
	to = min(to, drover.InstantOf(now))
	kept := drover.InstantOf(now.Add(-ledger.KeyRetention))
	switch {
	case from >= to:
		return nil, usage(op, "", fmt.Errorf("it would begin at %s and end at %s", from, to))
	case from < kept && !n.MayRepeat:
		return nil, usage(op, "begin at --from 180d, or add --may-repeat", errors.New("what changed more than 180 days ago may have been delivered and be delivered again, as the ledger keeps no key for longer"))
	case n.Source != "" && !slices.Contains(t.Sources, n.Source):
		return nil, usage(op, "see: drover tenant show "+t.Name, fmt.Errorf("tenant %s is not read from %q", t.Name, n.Source))
	}
	var out []BackfillStatus
	for _, s := range t.Sources {
		if n.Source != "" && s != n.Source {
			continue
		}
		b, err := l.Store.AddBackfill(ctx, drover.Feed{Tenant: t.ID, Source: s}, drover.Span{From: from, To: to})
		if err != nil {
			return out, err
		}
		out = append(out, l.backfillStatus(b, t))
	}
	return out, nil
}

// Backfills lists all; see API.
func (l *Local) Backfills(ctx context.Context) ([]BackfillStatus, error) {
	return l.backfills(ctx, ledger.BackfillFilter{})
}

func (l *Local) backfills(ctx context.Context, f ledger.BackfillFilter) ([]BackfillStatus, error) {
	list, err := l.Store.Backfills(ctx, f)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	tenants, err := l.Store.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[drover.TenantID]drover.Tenant, len(tenants))
	for _, t := range tenants {
		byID[t.ID] = t
	}
	out := make([]BackfillStatus, len(list))
	for i, b := range list {
		out[i] = l.backfillStatus(b, byID[b.Feed.Tenant])
	}
	return out, nil
}

// CancelBackfill ends one; see API.
func (l *Local) CancelBackfill(ctx context.Context, id int64) error {
	err := l.Store.CancelBackfill(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return usage("cancel backfill", "see: drover backfill list", fmt.Errorf("no backfill %d is open", id))
	}
	return err
}

// known is how much of a backfill must be done before what is left can be told.
const known = 0.02

func (l *Local) backfillStatus(b ledger.Backfill, t drover.Tenant) BackfillStatus {
	s := BackfillStatus{ID: b.ID, Tenant: b.Feed.Tenant, Name: t.Name, Source: b.Feed.Source, From: b.Span.From, To: b.Span.To, At: b.At, First: b.First, State: b.State, Asked: b.Asked,
		Rows: b.Rows, Found: b.Found, Pages: b.Pages, RequestsLeft: -1, SecondsLeft: -1}
	done := s.Done()
	switch {
	case b.State != ledger.BackfillOpen:
		s.RequestsLeft, s.SecondsLeft = 0, 0
		return s
	case done < known:
		return s
	}
	left := (1 - done) / done
	s.RequestsLeft = int64(float64(b.Pages)*left + 1)
	s.SecondsLeft = int64(b.Changed.Sub(b.Asked).Seconds()*left + 1)
	if l.Allowance != nil {
		if perMinute := l.Allowance(t, b.Feed.Source); perMinute > 0 {
			s.SecondsLeft = s.RequestsLeft*60/int64(perMinute) + 1
		}
	}
	return s
}

// Backfill is API.Backfill.
func (c *Client) Backfill(ctx context.Context, b NewBackfill) ([]BackfillStatus, error) {
	return ask[[]BackfillStatus](ctx, c, "backfill", b)
}

// Backfills is API.Backfills.
func (c *Client) Backfills(ctx context.Context) ([]BackfillStatus, error) {
	return ask[[]BackfillStatus](ctx, c, "backfills", struct{}{})
}

// CancelBackfill is API.CancelBackfill.
func (c *Client) CancelBackfill(ctx context.Context, id int64) error {
	_, err := ask[any](ctx, c, "cancel_backfill", id)
	return err
}
