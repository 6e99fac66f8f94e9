package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drover"
	"drover/internal/ledger"
)

// settle asks for a row by itself and books what then still stands.
func (f *feed) settle(ctx context.Context, s *suspect) error {
	if s.row != nil {
		return f.settleRow(ctx, s)
	}
	return f.settleRevisions(ctx, s)
}

// settleRow books a row of the API that the ledger does not have as it is.
func (f *feed) settleRow(ctx context.Context, s *suspect) error {
	r := s.row
	if err := f.alike(ctx, r); err != nil {
		return err
	}
	d := Difference{What: Missing, Where: "ledger", AlertID: r.id, Changed: r.changed, Created: r.created, Severity: r.severity}
	if s.how == other {
		d.What = Altered
	}
	if r.tenant != "" {
		d.What, d.Detail = Foreign, "the row names tenant "+r.tenant
	}
	if r.id == "" || r.tenant != "" {
		f.explain(&d, r)
		f.add(d)
		return nil
	}
	now, err := f.single(ctx, r)
	switch {
	case errors.Is(err, errGone):
		d.Why, d.Detail = WhyVanished, "the API no longer shows the alert"
		f.add(d)
		return nil
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		d.Detail = "it could not be asked for by itself"
	case now.changed != r.changed:
		how, err := f.match(ctx, now)
		if err != nil {
			return err
		}
		if how != absent && how != other {
			d.Why, d.Detail = WhySuperseded, "the alert changed while the audit ran; the ledger has the state that it has now"
			f.add(d)
			return nil
		}
		r, d.Changed, d.What = now, now.changed, Missing
		if how == other {
			d.What = Altered
		}
	default:
		how, err := f.match(ctx, now)
		if err != nil {
			return err
		}
		switch {
		case how == same || how == sameMeaning || how == keyOnly:
			d.Why, d.Detail = WhySuperseded, "asked for by itself it is as the ledger has it"
			if s.how == absent {
				d = f.came(r)
			}
			f.add(d)
			return nil
		case how == other:
			d.What = Altered
		}
	}
	f.explain(&d, r)
	f.add(d)
	return nil
}

// mayPass reports whether the ledger may come to hold what it does not hold now.
func (f *feed) mayPass(s *suspect) bool {
	if s.row == nil {
		return false
	}
	d := Difference{What: Missing}
	if s.how == other {
		d.What = Altered
	}
	f.explain(&d, s.row)
	return d.Why == Unexplained || d.Why == WhyPending
}

// explain finds what accounts for a row that the ledger does not hold as it is.
// The first that fits counts.
func (f *feed) explain(d *Difference, r *row) {
	aside, listed := f.aside[r.sum]
	when := r.changed
	if !when.Known() {
		when = r.created
	}
	held := 0
	for _, k := range f.keys[ledger.AlertHash(r.id)] {
		if r.id != "" && k.Changed == r.changed {
			held++
		}
	}
	gap := slices.IndexFunc(f.gaps, func(g drover.Gap) bool {
		return when.Known() && g.Span.Contains(when) && (g.Provider == "" || g.Provider == r.provider)
	})
	say := func(why, format string, args ...any) {
		if d.Why = why; d.Detail != "" {
			d.Detail += "; "
		}
		d.Detail += fmt.Sprintf(format, args...)
	}
	switch {
	case listed && aside.Reason == "foreign", r.tenant != "" && f.hasForeign():
		say(WhyForeign, "it is set aside as foreign")
	case listed:
		say(WhySetAside, "it is set aside: %s", aside.Reason)
	case when.Known() && when < f.tenant.Start:
		say(WhyNotOwed, "it changed before the tenant's start")
	case when.Known() && drover.InstantOf(f.a.opt.Now()).Sub(when) > retention:
		say(WhyRetention, "it is older than what is kept")
	case gap >= 0:
		g := f.gaps[gap]
		say(WhyGap, "gap %d (%s) covers it: %s", g.ID, g.State, g.Cause)
	case !slices.Contains(f.tenant.Sources, f.Feed.Source):
		say(WhyNotOwed, "the tenant is no longer read through this source")
	case d.What == Altered && held > drover.MaxOrdinal:
		say(WhyUnstable, "%d contents of that change time are taken, and no more are", held)
	case when.Known() && (!f.through.Known() || when >= f.through):
		switch {
		case f.state.Parked != "":
			say(WhyPending, "the feed is parked: %s", f.state.Parked)
		case f.tenant.State == drover.Paused:
			say(WhyPending, "the tenant is paused")
		default:
			say(WhyPending, "the feed has been read up to %s", f.through)
		}
	case d.What == Altered:
		say(Unexplained, "the API shows another content under the same change time")
	default:
		say(Unexplained, "the feed has been read beyond it, up to %s", f.through)
	}
}

// maxAlike bounds how many bodies of what was set aside are compared with rows.
const maxAlike = 100

// alike finds out whether a row was set aside with other bytes that mean the
// same, and lists it then by the bytes that it has now.
func (f *feed) alike(ctx context.Context, r *row) error {
	if _, listed := f.aside[r.sum]; listed || r.raw == nil {
		return nil
	}
	for _, a := range f.aside {
		if f.compared++; f.compared > maxAlike {
			return nil
		}
		a, err := f.a.opt.Store.AsideBody(ctx, a.ID)
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read what was set aside: %w", err)
		}
		if a.Raw != nil && f.a.opt.Compare.Same(f.Feed.Source, a.Raw, r.raw) {
			f.aside[r.sum] = a
			return nil
		}
	}
	return nil
}

func (f *feed) hasForeign() bool {
	for _, a := range f.aside {
		if a.Reason == "foreign" {
			return true
		}
	}
	return false
}

// settleRevisions books revisions of an alert that the API does not show.
func (f *feed) settleRevisions(ctx context.Context, s *suspect) error {
	last := s.key[len(s.key)-1]
	a := f.about[last.Seq]
	d := Difference{What: Extra, Where: "api", AlertID: a.id, Changed: last.Changed, Created: last.Created, Severity: a.severity, Seq: last.Seq, N: len(s.key)}
	old := last.Changed.Known() && drover.InstantOf(f.a.opt.Now()).Sub(last.Changed) > retention
	if a.gone {
		d.Why, d.Detail = WhyRetention, "its bytes have been thrown away by the retention, so the alert cannot be asked for by itself"
		f.add(d)
		return nil
	}
	now, err := f.single(ctx, &row{id: a.id, changed: last.Changed, created: last.Created})
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errGone) && old:
		d.Why, d.Detail = WhyRetention, "it is older than what the API keeps"
	case errors.Is(err, errGone) && f.newer(last):
		f.Counts.Superseded += len(s.key)
		return nil
	case errors.Is(err, errGone):
		d.Why, d.Detail = WhyVanished, "the API no longer shows the alert"
	case err != nil:
		d.Why, d.Detail = WhyVanished, "the list does not show it, and it could not be asked for by itself"
		f.cannot("rows could not be asked for by themselves: " + err.Error())
	case now.changed > last.Changed:
		f.Counts.Superseded += len(s.key)
		return f.missed(ctx, s, now)
	case now.changed == last.Changed:
		f.Counts.Superseded += len(s.key) - 1
		return f.missed(ctx, s, now)
	default:
		d.Why, d.Detail = WhyVanished, "the API shows an older state than the ledger has"
	}
	f.add(d)
	return nil
}

// missed compares a row that no list has shown, or an older state of it, and
// that is there when asked for.
func (f *feed) missed(ctx context.Context, s *suspect, now *row) error {
	if s.api == nil && f.src.when(now.changed, now.created).Known() && f.list.span.Contains(f.src.when(now.changed, now.created)) {
		f.Counts.API++
		f.day(f.src.when(now.changed, now.created), now.severity).API++
	}
	how, err := f.match(ctx, now)
	if err != nil {
		return err
	}
	switch how {
	case same:
		f.Counts.Same++
	case sameMeaning:
		f.Counts.SameMeaning++
	case keyOnly:
		f.Counts.KeyOnly++
	default:
		d := Difference{What: Missing, Where: "ledger", AlertID: now.id, Changed: now.changed, Created: now.created, Severity: now.severity}
		if how == other {
			d.What = Altered
		}
		f.explain(&d, now)
		f.add(d)
		return nil
	}
	f.day(f.src.when(now.changed, now.created), now.severity).Agreed++
	return nil
}

// newer reports whether the ledger has a later state of the alert.
func (f *feed) newer(k ledger.Key) bool {
	return slices.ContainsFunc(f.keys[k.Alert], func(o ledger.Key) bool { return o.Changed > k.Changed })
}

// errMany: enough rows have been asked for by themselves.
var errMany = fmt.Errorf("more than %d rows would have to be", maxSingles)

// single asks for one row by itself: errGone if the API has none such. Where
// there is no call for that, and where the call knows no such row, a narrow
// window is read: one word alone does not explain a row away.
func (f *feed) single(ctx context.Context, r *row) (*row, error) {
	if f.singles++; f.singles > maxSingles {
		return nil, errMany
	}
	if f.src.one != nil {
		p, err := f.list.get(ctx, f.src.one(r.id), "")
		if err != nil && !errors.Is(err, errGone) {
			return nil, err
		}
		for _, o := range p.rows {
			if o.id == r.id {
				return o, nil
			}
		}
	}
	at := f.src.when(r.changed, r.created)
	if !at.Known() {
		return nil, errGone
	}
	p, err := f.list.get(ctx, f.src.ask(drover.Span{From: at.Add(-time.Second), To: at.Add(time.Second)}, f.src.top, false), "")
	if err != nil {
		return nil, err
	}
	for _, o := range p.rows {
		if o.id == r.id && (f.src.one != nil || o.changed == r.changed) {
			return o, nil
		}
	}
	return nil, errGone
}
