package oracle

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// ticks converts a duration.
func ticks(d time.Duration) tick { return tick(d / 100) }

// readTruth fills the model from the truth logs. The marks are read first: what
// was shown just before a kill is judged by them.
func (j *judge) readTruth() error {
	for _, l := range j.in.Truth {
		if _, err := l.lines(func(_ int, line []byte) error { return j.readMark(line) }); err != nil {
			return err
		}
	}
	slices.Sort(j.m.kills)
	for _, l := range j.in.Truth {
		torn, err := l.lines(func(n int, line []byte) error { return j.readTruthLine(line) })
		if err != nil {
			return err
		}
		if torn > 0 {
			j.note("%s ends in a torn line of %d bytes; it was left out", l.Name, torn)
		}
	}
	if !j.m.ended {
		j.note("the truth log has no end: the newest revisions are those that were shown last")
	}
	return nil
}

// readMark picks out the kills.
func (j *judge) readMark(line []byte) error {
	if !bytes.Contains(line, []byte(`"mark"`)) {
		return nil
	}
	var t, kind, at string
	err := members(line, func(name, v []byte) error {
		switch string(name) {
		case "t":
			t = text(v)
		case "kind":
			kind = text(v)
		case "at":
			at = text(v)
		}
		return nil
	})
	if err != nil || t != "mark" {
		return nil // what cannot be read is named by the second pass
	}
	if kind == "kill" {
		if k := parseTick(at); k != noTick {
			j.m.kills = append(j.m.kills, k)
		}
		j.m.totals.Kills++
	}
	return nil
}

// truthLine is any line of a truth log.
type truthLine struct {
	t, at, tenant, customer, source, id, kind, claims string
	changed, visible, fault, created, content, ahead  string
	rev, seed, status                                 int64
	hasRev, hasSum                                    bool
	sum                                               sum
	newest                                            []byte
}

func (j *judge) readTruthLine(line []byte) error {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	var x truthLine
	err := members(line, func(name, v []byte) error {
		switch string(name) {
		case "t":
			x.t = text(v)
		case "at":
			x.at = text(v)
		case "tenant":
			x.tenant = text(v)
		case "customer":
			x.customer = text(v)
		case "source":
			x.source = text(v)
		case "id":
			x.id = text(v)
		case "rev":
			x.rev, x.hasRev = number(v), true
		case "changed":
			x.changed = text(v)
		case "visible_at":
			x.visible = text(v)
		case "created":
			x.created = text(v)
		case "content":
			x.content = text(v)
		case "ahead":
			x.ahead = text(v)
		case "sha256":
			x.sum, x.hasSum = parseSum(v)
		case "kind":
			x.kind = text(v)
		case "claims":
			x.claims = text(v)
		case "seed":
			x.seed = number(v)
		case "status":
			x.status = number(v)
		case "fault":
			x.fault = text(v)
		case "newest":
			x.newest = v
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("truth log: %w", err) // a judge does not guess at the truth
	}
	return j.takeTruth(&x)
}

func (j *judge) takeTruth(x *truthLine) error {
	m := j.m
	at := parseTick(x.at)
	if at != noTick {
		if m.totals.from == noTick || at < m.totals.from {
			m.totals.from = at
		}
		m.totals.to = max(m.totals.to, at)
		m.ends = max(m.ends, at-m.ahead)
	}
	switch x.t {
	case "start":
		m.totals.Seed = x.seed
	case "tenant":
		m.tenants[m.tenant(x.tenant, true)].slug = x.customer
	case "issued":
		m.totals.Issued++
		r := &m.revs[m.rev(m.feed(m.tenant(x.tenant, true), x.source), x.id, int32(x.rev))]
		r.changed, r.visible = parseTick(x.changed), parseTick(x.visible)
		j.issued(x)
	case "served":
		if !x.hasSum {
			return fmt.Errorf("a served row has no sha256")
		}
		j.takeServed(x, at)
	case "row":
		j.takeSpecial(x, at)
	case "mark":
		if x.kind == "clock" {
			if err := j.clock(x); err != nil {
				return err
			}
		}
	case "request":
		m.totals.Requests++
		j.asked(x)
		if x.source == "token" {
			m.totals.TokenCalls++
			if x.status != 200 {
				m.totals.TokenRefused++
			}
		} else if x.fault != "" {
			m.totals.Faults[x.fault]++
		}
	case "early":
		m.totals.Early++
	case "newest":
		j.takeNewest(x.tenant, x.source, x.id, int32(x.rev))
	case "end":
		m.ended = true
		if x.newest == nil {
			return nil
		}
		return elements(x.newest, func(v []byte) error {
			var e truthLine
			err := members(v, func(name, v []byte) error {
				switch string(name) {
				case "tenant":
					e.tenant = text(v)
				case "source":
					e.source = text(v)
				case "id":
					e.id = text(v)
				case "rev":
					e.rev = number(v)
				}
				return nil
			})
			if err == nil {
				j.takeNewest(e.tenant, e.source, e.id, int32(e.rev))
			}
			return err
		})
	}
	return nil
}

func (j *judge) takeNewest(tenant, source, id string, n int32) {
	m := j.m
	m.revs[m.rev(m.feed(m.tenant(tenant, true), source), id, n)].flags |= newest
}

// takeServed books one row of an answer that was read whole.
func (j *judge) takeServed(x *truthLine, at tick) {
	m := j.m
	m.totals.Rows++
	i := m.rev(m.feed(m.tenant(x.tenant, true), x.source), x.id, int32(x.rev))
	r := &m.revs[i]
	r.flags |= served
	if c := parseTick(x.changed); c != noTick {
		r.changed = c
	}
	killed := m.killed(at, ticks(j.in.Grace))
	if !killed {
		r.flags |= beforeEnd
	}
	if j.sifts {
		m.reading(i).read(at-m.ahead, killed)
	}
	m.spell(x.sum, i)
}

// takeSpecial books a row that was dealt on purpose. One that names no tenant
// is the tenant's own; the others must not be delivered.
func (j *judge) takeSpecial(x *truthLine, at tick) {
	m := j.m
	t := m.tenant(x.tenant, true)
	if x.kind == "unnamed" {
		m.totals.Unnamed++
		m.unnamed[x.sum] = t
		if x.hasRev {
			j.takeServed(x, at)
		}
		return
	}
	s := special{tenant: t, kind: x.kind, item: x.source + "\x00" + x.id}
	if x.id == "" {
		s.item += string(x.sum[:]) // nothing but its bytes tells it from others
	}
	if !slices.Contains(m.specials[x.sum], s) {
		m.specials[x.sum] = append(m.specials[x.sum], s)
	}
	if !m.killed(at, ticks(j.in.Grace)) {
		m.lasting[s] = true
	}
}
