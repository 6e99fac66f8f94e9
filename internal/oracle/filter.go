package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The sources that tell alerts; the first that a tenant has is its primary one.
var tellers = []string{"graph.alerts", "mde.alerts", "siem.detections"}

const incidents = "graph.incidents"

// What the pages for operators say of a sink's settings (config.md, sinks.md).
const (
	rests  = 10 * time.Minute // without anything new: an alert has settled
	unseen = 48 * time.Hour   // has the primary source to show what another one tells
)

func (p *Place) checkFilter() error {
	if !slices.Contains([]string{"", "all", "no_touches", "created", "settled"}, p.Revisions) {
		return fmt.Errorf("place %q: there are no revisions %q; known are all, no_touches, created, settled", p.Name, p.Revisions)
	}
	for _, s := range p.Sources {
		if s != Primary && s != incidents && !slices.Contains(tellers, s) {
			return fmt.Errorf("place %q: there is no source %q; known are %s, %s and %s", p.Name, s, strings.Join(tellers, ", "), incidents, Primary)
		}
	}
	if p.Kind == KindLedger && (p.Revisions != "" || len(p.Sources) > 0) {
		return fmt.Errorf("place %q: a ledger takes every revision of every source", p.Name)
	}
	return nil
}

// call is what is decided of a revision at a sink that filters.
type call uint8

const (
	due call = iota // owed like at any other place
	// Not to be given.
	unrouted
	toldThere
	tooEarly
	isTouch
	notFirst
	outrun
	// Not to be told from outside.
	unsaid
	unordered
	unsure
	atBorder
	waits
	toldLate
)

var calls = [...]string{
	due: "due", unrouted: "no route leads here", toldThere: "the primary source tells the alert", tooEarly: "before its time: it had not waited long enough when the run ended",
	isTouch: "nothing but the change time has changed", notFirst: "not the first of its alert", outrun: "the next state was read within 10 minutes and the same hour",
	unsaid:    "the truth log does not say what a state holds",
	unordered: "two states of the alert were read at about the same time, or in another order than they were made",
	unsure:    "a state without a change time of its own, or one that a kill may have swallowed, is in between",
	atBorder:  "read at the border of 10 minutes or of an hour",
	waits:     "too young to be decided when the run ended",
	toldLate:  "its primary source told the alert when 48 hours were about over, or later",
}

// not reports whether the sink is not to be given it, open that it cannot be
// told.
func (c call) not() bool  { return c > due && c < unsaid }
func (c call) open() bool { return c >= unsaid }

// and takes two calls together: either can refuse.
func (c call) and(d call) call {
	switch {
	case c.not() || d == due:
		return c
	case d.not() || c == due:
		return d
	}
	return c
}

type excuseKey struct {
	place string
	why   call
}

// sieve books a revision that the place is not to be given, or of which that
// cannot be told. It returns false where it is owed like at any other place.
func (p *place) sieve(i uint32, a *At) bool {
	c := p.sifted[i]
	switch {
	case c.not() && p.revs[i]&taken != 0:
		a.Unwanted++
		rv := &p.j.m.revs[i]
		p.j.find(Unwanted, p.j.m.tenants[p.j.m.tenantOfRev(i)].id, p.Name, Example{Source: p.j.m.sourceOfRev(i), AlertID: p.j.m.alerts[rv.alert].id, Rev: int(rv.n), Detail: calls[c]})
		return true
	case c.not():
		a.PassedOver++
		return true
	case !c.open():
		return false
	}
	key := excuseKey{p.Name, c}
	x := p.j.excused[key]
	if x == nil {
		x = &Excuse{Place: p.Name, Reason: calls[c]}
		p.j.excused[key] = x
	}
	if p.revs[i]&(present|aside) != 0 {
		x.Present++
		return false
	}
	x.Missing++
	a.Excused++
	return true
}

// excuses lists what could not be told, and notes each.
func (j *judge) excuses() (list []Excuse) {
	for _, x := range j.excused {
		list = append(list, *x)
	}
	slices.SortFunc(list, func(a, b Excuse) int { return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Reason, b.Reason)) })
	for _, x := range list {
		j.note("%s: whether it is to be given cannot be told of %d revisions, %d are there: %s", x.Place, x.Missing+x.Present, x.Present, x.Reason)
	}
	return list
}

// asked notes that the run reads a source of a tenant.
func (j *judge) asked(x *truthLine) {
	if j.sifts && x.tenant != "" && (x.source == incidents || slices.Contains(tellers, x.source)) {
		j.m.sources[feed{j.m.tenant(x.tenant, false), x.source}] = true
	}
}

// primary is the source that tells a tenant's alerts, "" if none is read.
func (m *model) primary(t uint32) string {
	for _, s := range tellers {
		if m.has(t, s) {
			return s
		}
	}
	return ""
}

// has reports whether the run reads a source of a tenant.
func (m *model) has(t uint32, source string) bool {
	if list, ok := m.reads[m.tenants[t].id]; ok {
		return slices.Contains(list, source)
	}
	return m.sources[feed{t, source}]
}

// goes reports whether routes lead what a source tells of a tenant here.
func (p *place) goes(t uint32, source string) bool {
	return len(p.Sources) == 0 || slices.Contains(p.Sources, source) || slices.Contains(p.Sources, Primary) && (source == incidents || source == p.j.m.primary(t))
}

// alone reports whether of a source those alerts go here that the primary one
// does not show.
func (p *place) alone(t uint32, source string) bool {
	first := p.j.m.primary(t)
	return first != "" && source != first && slices.Contains(tellers, source) && !p.goes(t, source) && p.goes(t, first)
}

// checkVoice holds what a record says of the sources that tell its alert
// against the routes.
func (p *place) checkVoice(r *record, i uint32, at func() string) {
	if len(p.Sources) == 0 {
		return
	}
	m := p.j.m
	t, source := m.tenantOfRev(i), m.sourceOfRev(i)
	alone := p.alone(t, source)
	var others []string
	if slices.Contains(tellers, source) && p.goes(t, source) {
		for _, s := range tellers {
			if s != source && m.has(t, s) && p.goes(t, s) {
				others = append(others, s)
			}
		}
	}
	said := slices.Sorted(slices.Values(r.also))
	why := ""
	switch {
	case alone && !r.onlyHere:
		why = "only_here is missing: the primary source does not show the alert"
	case !alone && r.onlyHere:
		why = "only_here, though a route leads its source here"
	case !slices.Equal(said, others):
		why = fmt.Sprintf("also_told_by %q, but given here are %q", said, others)
	default:
		return
	}
	ex := p.example(r, at(), why)
	ex.Rev = int(m.revs[i].n)
	p.j.find(Unmarked, r.tenant, p.Name, ex)
}
