package oracle

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// gap is a range that the ledger lists as not read, or not delivered to a sink.
type gap struct {
	feed     uint32
	sink     string // empty: not read, so at no place
	from, to tick
	closed   bool
}

// ledgerLine is any line of a ledger export.
type ledgerLine struct {
	t, tenant, source, sink, alertID, changed string
	reason, cause, state, from, to            string
	seq                                       uint64
	sum                                       sum
	hasSum                                    bool
	shaText                                   string
	event                                     eventID
	hasEvent                                  bool
	flags                                     string
}

// asideEntry is one entry of the list of what was set aside; it is matched with
// revisions when all of the export was read.
type asideEntry struct {
	sink     string
	tenant   uint32
	sum      sum
	hasSum   bool
	event    eventID
	hasEvent bool
}

// readLedger reads an export of the ledger.
func (p *place) readLedger() error {
	p.seqs = make(map[uint32][]uint64)
	for i := range p.Logs {
		l := &p.Logs[i]
		torn, err := l.lines(func(n int, line []byte) error {
			p.readLedgerLine(line, l, n)
			return nil
		})
		if err != nil {
			return err
		}
		if torn > 0 {
			p.j.note("%s: %s ends in a torn line of %d bytes; it was left out", p.Name, l.Name, torn)
		}
	}
	p.checkSequences()
	return nil
}

func (p *place) readLedgerLine(line []byte, l *Log, n int) {
	at := func() string { return where(l, n) }
	var x ledgerLine
	err := members(line, func(name, v []byte) error {
		switch string(name) {
		case "t":
			x.t = text(v)
		case "tenant":
			x.tenant = lower(text(v))
		case "source":
			x.source = text(v)
		case "sink":
			x.sink = text(v)
		case "alert_id":
			x.alertID = text(v)
		case "changed":
			x.changed = text(v)
		case "seq":
			x.seq = uint64(number(v))
		case "sha256":
			x.sum, x.hasSum = parseSum(v)
			x.shaText = text(v)
		case "event_id":
			x.event, x.hasEvent = parseEventID(v)
		case "flags":
			x.flags = string(v)
		case "reason":
			x.reason = text(v)
		case "cause":
			x.cause = text(v)
		case "state":
			x.state = text(v)
		case "from":
			x.from = text(v)
		case "to":
			x.to = text(v)
		}
		return nil
	})
	if err != nil {
		p.j.find(Torn, l.Tenant, p.Name, Example{Rev: -1, Where: at(), Detail: err.Error()})
		return
	}
	switch x.t {
	case "revision":
		p.takeRevision(&x, l, at)
	case "gap":
		p.takeGap(&x, at())
	case "set_aside":
		p.takeAside(&x, at())
	}
}

// takeRevision judges a revision by the hash that the ledger holds.
func (p *place) takeRevision(x *ledgerLine, l *Log, at func() string) {
	r := record{tenant: x.tenant, source: x.source, alertID: x.alertID, changed: x.changed, seq: x.seq, event: x.event, hasEvent: x.hasEvent,
		claimed: x.sum, sum: x.sum, unnamed: strings.Contains(x.flags, `"unnamed"`), touch: strings.Contains(x.flags, `"touch"`)}
	if n, err := hex.Decode(r.full[:], []byte(x.shaText)); err != nil || n != len(r.full) {
		p.j.find(Altered, x.tenant, p.Name, Example{Source: x.source, AlertID: x.alertID, Rev: -1, Where: at(), Detail: "sha256 is not 64 hex digits"})
		return
	}
	f := p.j.m.feed(p.j.m.tenant(x.tenant, false), x.source)
	p.seqs[f] = append(p.seqs[f], x.seq)
	if i, ok := p.judge(&r, l.Tenant, at); ok {
		p.take(&r, i, at)
	}
}

func (p *place) takeGap(x *ledgerLine, at string) {
	t := p.j.m.tenant(x.tenant, false)
	g := gap{feed: p.j.m.feed(t, x.source), sink: x.sink, from: parseTick(x.from), to: parseTick(x.to), closed: x.state == "closed"}
	if strings.TrimSpace(x.cause) == "" {
		p.j.find(NoReason, x.tenant, p.Name, Example{Source: x.source, Rev: -1, Where: at, Detail: "a gap without a cause"})
		return // what has no cause excuses nothing
	}
	if x.state == "open" {
		p.j.openGaps[t]++
	}
	p.j.gaps = append(p.j.gaps, g)
}

func (p *place) takeAside(x *ledgerLine, at string) {
	t := p.j.m.tenant(x.tenant, false)
	p.j.asides[t]++
	if strings.TrimSpace(x.reason) == "" {
		p.j.find(NoReason, x.tenant, p.Name, Example{Source: x.source, Rev: -1, SHA256: x.shaText, Where: at, Detail: "set aside without a reason"})
		return
	}
	for _, s := range p.j.m.specials[x.sum] {
		if x.hasSum && s.tenant == t {
			p.j.dealtAside[s] = true
		}
	}
	p.j.aside = append(p.j.aside, asideEntry{sink: x.sink, tenant: t, sum: x.sum, hasSum: x.hasSum, event: x.event, hasEvent: x.hasEvent})
}

// checkSequences wants the numbers of each feed without hole and repeat. Where
// old rows were pruned they begin later.
func (p *place) checkSequences() {
	m := p.j.m
	for f, seqs := range p.seqs {
		slices.Sort(seqs)
		for i := 1; i < len(seqs); i++ {
			if seqs[i] != seqs[i-1]+1 {
				p.j.find(Sequence, m.tenants[m.feeds[f].tenant].id, p.Name, Example{Source: m.feeds[f].source, Rev: -1, Detail: fmt.Sprintf("%d is followed by %d", seqs[i-1], seqs[i])})
			}
		}
	}
}
