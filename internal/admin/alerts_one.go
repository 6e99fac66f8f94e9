package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"drover"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// Bounds of one alert's story.
const (
	maxHistory = 1_000
	maxFields  = 100
	maxField   = 300 // characters
)

// Alert tells everything of one alert.
func (l *Local) Alert(ctx context.Context, ref AlertRef) (AlertStory, error) {
	one, err := l.one(ctx, "show alert", ref)
	if err != nil {
		return AlertStory{}, err
	}
	s := AlertStory{Tenant: one.tenant.ID, Name: one.tenant.Name, Customer: one.tenant.Customer, Source: one.Source, AlertID: ref.ID, More: one.more}
	if s.History, err = l.history(ctx, one); err != nil {
		return s, err
	}
	at, err := one.number(ref.Revision)
	if err != nil {
		return s, err
	}
	s.Shown = s.History[at]
	if !s.Shown.Gone {
		rev, err := l.Store.Body(ctx, one.Feed, s.Shown.Seq)
		if err != nil {
			return s, err
		}
		s.Title, s.Fields = titleOf(rev.Raw), fieldsOf(rev.Raw)
	}
	s.Sinks, err = l.whereabouts(ctx, one.Feed, s.Shown.Seq)
	return s, err
}

// AlertBody returns one state's bytes.
func (l *Local) AlertBody(ctx context.Context, ref AlertRef) (AlertBody, error) {
	one, err := l.one(ctx, "show alert", ref)
	if err != nil {
		return AlertBody{}, err
	}
	at, err := one.number(ref.Revision)
	if err != nil {
		return AlertBody{}, err
	}
	rev, err := l.body(ctx, one, at)
	return AlertBody{rev.Raw}, err
}

// AlertDiff compares two states.
func (l *Local) AlertDiff(ctx context.Context, ref AlertRef, from, to int) (AlertDiff, error) {
	var d AlertDiff
	one, err := l.one(ctx, "compare states", ref)
	if err != nil {
		return d, err
	}
	b, err := one.number(to)
	if err != nil {
		return d, err
	}
	if from == 0 {
		if from = b; b == 0 {
			return d, usage("compare states", "", errors.New("there is no state before it"))
		}
	}
	a, err := one.number(from)
	if err != nil {
		return d, err
	}
	history, err := l.history(ctx, one)
	if err != nil {
		return d, err
	}
	d.From, d.To = history[a], history[b]
	before, err := l.body(ctx, one, a)
	if err != nil {
		return d, err
	}
	after, err := l.body(ctx, one, b)
	if err != nil {
		return d, err
	}
	d.Changes, d.More = revision.Compare(one.Source, before.Raw, after.Raw)
	return d, nil
}

// oneAlert is an alert with its states in the index, the oldest first.
type oneAlert struct {
	tenantFeed
	states []ledger.State
	more   bool // older ones are left out
}

// number turns a state's number, 0 for the newest, into its index.
func (o *oneAlert) number(n int) (int, error) {
	if n == 0 {
		return len(o.states) - 1, nil
	}
	if n < 0 || n > len(o.states) {
		return 0, usage("show alert", "see: drover alerts show ID", fmt.Errorf("there is no revision %d; known are 1 to %d", n, len(o.states)))
	}
	return n - 1, nil
}

// one finds an alert by its ID. If several feeds hold one of this ID, the
// caller has to say which.
func (l *Local) one(ctx context.Context, op string, ref AlertRef) (*oneAlert, error) {
	feeds, err := l.feedsOf(ctx, op, ref.Tenant, "", ref.Source)
	if err != nil {
		return nil, err
	}
	hash := ledger.AlertHash(ref.ID)
	var found []*oneAlert
	for _, f := range feeds {
		one := &oneAlert{tenantFeed: f}
		order := ledger.StateOrder{Span: drover.Span{From: drover.NoInstant, To: drover.NoInstant}, Alert: &hash, Rows: scanRows}
		for {
			page, err := l.Store.States(ctx, f.Feed, order)
			if err != nil {
				return nil, err
			}
			if one.states = append(one.states, page.States...); len(one.states) > maxHistory {
				one.states, one.more = one.states[:maxHistory], true
			}
			if !page.More || one.more {
				break
			}
			order.Below = &page.Last
		}
		if len(one.states) > 0 {
			slices.Reverse(one.states)
			found = append(found, one)
		}
	}
	switch len(found) {
	case 0:
		return nil, usage(op, "see: drover alerts list", fmt.Errorf("the ledger has no alert with the ID %q", clipRunes(ref.ID, 100)))
	case 1:
		return found[0], nil
	}
	var names []string
	for _, o := range found {
		names = append(names, o.tenant.Name+" ("+string(o.Source)+")")
	}
	return nil, usage(op, "say which: --tenant, --source", fmt.Errorf("several feeds hold an alert with this ID: %s", clipRunes(strings.Join(names, ", "), 500)))
}

// body reads one state, and says so if it is gone.
func (l *Local) body(ctx context.Context, one *oneAlert, i int) (drover.Revision, error) {
	rev, err := l.Store.Body(ctx, one.Feed, one.states[i].Seq)
	if errors.Is(err, ledger.ErrNotFound) {
		return rev, usage("show alert", "", fmt.Errorf("the body of revision %d has been thrown away: it is older than ledger: bodies: keeps it", i+1))
	}
	return rev, err
}

// history reads what is known of each state.
func (l *Local) history(ctx context.Context, one *oneAlert) ([]AlertRevision, error) {
	out := make([]AlertRevision, 0, len(one.states))
	for i := range one.states {
		st := &one.states[i]
		h := AlertRevision{N: i + 1, Seq: st.Seq, Changed: st.Changed, Ordinal: st.Ordinal, Created: st.Created, SHA256: st.Sum.String(), Gone: true, Stored: drover.NoInstant}
		err := l.Store.Walk(ctx, one.Feed, st.Seq-1, 1, 0, func(r *drover.Revision) {
			if r.Seq == st.Seq {
				h.Gone, h.EventID, h.Stored, h.Severity, h.Status, h.Changes, h.Flags, h.Size = false, r.EventID(0), r.Stored, r.Severity, r.Status, r.Changes, r.Flags.Names(), len(r.Raw)
			}
		})
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// fieldsOf lists the members of a row that hold a single value, by name.
func fieldsOf(raw []byte) (out []AlertField) {
	var row map[string]json.RawMessage
	if json.Unmarshal(raw, &row) != nil {
		return nil
	}
	for name, v := range row {
		v = bytes.TrimSpace(v)
		if len(v) == 0 || v[0] == '{' || v[0] == '[' || string(v) == "null" {
			continue
		}
		value := string(v)
		if v[0] == '"' {
			if json.Unmarshal(v, &value) != nil {
				continue
			}
		}
		if value != "" {
			out = append(out, AlertField{clipRunes(name, 64), clipRunes(value, maxField)})
		}
	}
	slices.SortFunc(out, func(a, b AlertField) int { return strings.Compare(a.Name, b.Name) })
	return out[:min(len(out), maxFields)]
}

// whereabouts says what became of a revision at each sink. Which of those that
// a sink has behind it were passed over because no route led there is only
// counted, not kept: such a one reads as taken, unless no route leads there now.
func (l *Local) whereabouts(ctx context.Context, f drover.Feed, seq uint64) (out []AlertAt, err error) {
	aside, err := l.Store.SetAside(ctx, ledger.AsideFilter{Tenant: f.Tenant, Source: f.Source, First: seq, Last: seq})
	if err != nil {
		return nil, err
	}
	gaps, err := l.Store.Gaps(ctx, ledger.GapFilter{Tenant: f.Tenant})
	if err != nil {
		return nil, err
	}
	for _, id := range l.Sinks {
		at := AlertAt{Sink: id, State: "taken"}
		p, err := l.Store.Place(ctx, id, f)
		if errors.Is(err, ledger.ErrNotFound) {
			out = append(out, AlertAt{Sink: id, State: "no place", Why: "the sink has never been served"})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the place of sink %s: %w", id, err)
		}
		_, beyond := slices.BinarySearch(p.Beyond, seq)
		i := slices.IndexFunc(aside, func(a ledger.Aside) bool { return a.Sink == id })
		g := slices.IndexFunc(gaps, func(g drover.Gap) bool { return g.Sink == id && g.Feed == f && g.First <= seq && seq <= g.Last })
		switch {
		case seq <= p.Start:
			at.State, at.Why = "before its start", "it was read before the sink began"
		case seq > p.Seq && !beyond:
			at.State = "pending"
		case i >= 0:
			at.State, at.Why = "set aside", strings.TrimSpace(aside[i].Reason+": "+aside[i].Detail)
		case g >= 0:
			at.State, at.Why = "passed over", gaps[g].Cause
		case l.Routed != nil && !l.routed(ctx, f, id):
			at.State, at.Why = "passed over", "no route leads there now"
		}
		out = append(out, at)
	}
	return out, nil
}

func (l *Local) routed(ctx context.Context, f drover.Feed, sink drover.SinkID) bool {
	t, err := l.Store.Tenant(ctx, f.Tenant)
	return err != nil || l.Routed(t, f.Source, sink)
}
