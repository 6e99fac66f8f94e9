package oracle

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"time"
)

// slack is how far apart the clocks of whoever marks a kill and of a receiver
// may be.
const slack = time.Second

// hecCopy is one record that the receiver kept.
type hecCopy struct {
	key  uint64 // start of the receiver and number of the request
	at   tick   // arrival
	done tick   // when the fate of the answer was known
	told bool   // the sender got an answer that says so
	ack  bool   // the answer carried an ackId: told only when that was confirmed
}

// hecCopies are the copies of each revision at a HEC place.
type hecCopies struct {
	first []hecFirst
	more  map[uint32][]hecCopy // all copies, of revisions that have several
	acked map[uint64]tick      // requests whose ackId was told true, and when
	start uint64
}

// hecFirst is a first copy, packed.
type hecFirst struct {
	key      uint64
	at, done tick
	flags    uint8
}

func pack(c hecCopy) hecFirst {
	f := hecFirst{key: c.key, at: c.at, done: c.done}
	if c.told {
		f.flags |= 1
	}
	if c.ack {
		f.flags |= 2
	}
	return f
}

func (f hecFirst) unpack() hecCopy {
	return hecCopy{f.key, f.at, f.done, f.flags&1 != 0, f.flags&2 != 0}
}

// hecLine is any line of a receiver log.
type hecLine struct {
	t, at, done, token   string
	n                    uint64
	kept, answered, acks bool
	event, packed        []byte
}

// readHEC reads the receiver log of a pretend Splunk.
func (p *place) readHEC() error {
	p.hec = &hecCopies{first: make([]hecFirst, len(p.j.m.revs)), more: make(map[uint32][]hecCopy), acked: make(map[uint64]tick)}
	for i := range p.Logs {
		l := &p.Logs[i]
		torn, err := l.lines(func(n int, line []byte) error {
			p.readHECLine(line, l, n)
			return nil
		})
		if err != nil {
			return err
		}
		if torn > 0 {
			p.j.note("%s: %s ends in a torn line of %d bytes; it was left out", p.Name, l.Name, torn)
		}
	}
	p.explain()
	p.noteManifests()
	return nil
}

func (p *place) readHECLine(line []byte, l *Log, n int) {
	at := func() string { return where(l, n) }
	var x hecLine
	err := members(line, func(name, v []byte) error {
		switch string(name) {
		case "t":
			x.t = text(v)
		case "at":
			x.at = text(v)
		case "done":
			x.done = text(v)
		case "n":
			x.n = uint64(number(v))
		case "token_name":
			x.token = text(v)
		case "ack":
			x.acks = true
		case "kept":
			x.kept = isTrue(v)
		case "answered":
			x.answered = isTrue(v)
		case "event":
			x.event = v
		case "event_base64":
			x.packed = v
		}
		return nil
	})
	if err != nil {
		p.j.find(Torn, l.Tenant, p.Name, Example{Rev: -1, Where: at(), Detail: err.Error()})
		return
	}
	key := p.hec.start<<40 | x.n
	switch x.t {
	case "start":
		p.hec.start++
	case "ack":
		if x.answered {
			p.hec.acked[key] = parseTick(x.at)
		}
	case "event":
		p.takeHEC(&x, key, l, at)
	}
}

// takeHEC judges one event. What the receiver did not keep is looked at too:
// it was sent.
func (p *place) takeHEC(x *hecLine, key uint64, l *Log, at func() string) {
	body := x.event
	if x.packed != nil {
		b, err := base64.StdEncoding.DecodeString(text(x.packed))
		if err != nil {
			p.j.find(Torn, l.Tenant, p.Name, Example{Rev: -1, Where: at(), Detail: "event_base64 is not base64"})
			return
		}
		body = b
	}
	bound := l.Tenant
	if t, ok := p.Tokens[x.token]; ok {
		bound = lower(t)
	}
	var r record
	switch err := parseRecord(body, &r); {
	case errors.Is(err, errManifest):
		p.manifest(&r, bound, at)
		return
	case err != nil:
		p.j.find(Torn, bound, p.Name, Example{Rev: -1, Where: at(), Detail: "the event is no record: " + err.Error()})
		return
	}
	i, ok := p.judge(&r, bound, at)
	if !ok {
		return
	}
	if !x.kept {
		if x.answered {
			p.revs[i] |= swallowed
		}
		return
	}
	c := hecCopy{key: key, at: parseTick(x.at), told: x.answered, ack: x.acks}
	if c.done = parseTick(x.done); c.done == noTick {
		c.done = c.at
	}
	if p.take(&r, i, at) {
		p.hec.first[i] = pack(c)
		return
	}
	if p.hec.more[i] == nil {
		p.hec.more[i] = append(p.hec.more[i], p.hec.first[i].unpack())
	}
	p.hec.more[i] = append(p.hec.more[i], c)
}

// explain looks for the cause of each repeat, in the order of requests: an
// earlier copy whose sender was not told, or a kill between two copies. One
// lost answer explains one repeat.
func (p *place) explain() {
	m := p.j.m
	for i, copies := range p.hec.more {
		slices.SortStableFunc(copies, func(a, b hecCopy) int {
			switch {
			case a.key < b.key:
				return -1
			case a.key > b.key:
				return 1
			}
			return 0
		})
		a := p.tally(m.tenantOfRev(i))
		credit := 0
		for k, c := range copies {
			if k > 0 {
				switch {
				case credit > 0:
					credit--
					a.Explained++
				case p.straddle(copies[k-1], c):
					a.Explained++
				default:
					a.Unexplained++
					rv := &m.revs[i]
					p.j.find(Repeated, m.tenants[m.tenantOfRev(i)].id, p.Name, Example{Source: m.sourceOfRev(i), AlertID: m.alerts[rv.alert].id, Rev: int(rv.n),
						EventID: hex.EncodeToString(rv.event[:]), Detail: "sent again though the sender had been told that it was taken"})
				}
			}
			if told := p.toldAt(c); told == noTick {
				credit++
			}
		}
	}
}

// toldAt is when the sender was told for good that a copy is taken, or noTick.
func (p *place) toldAt(c hecCopy) tick {
	if !c.told {
		return noTick
	}
	if c.ack {
		at, ok := p.hec.acked[c.key]
		if !ok {
			return noTick
		}
		return at
	}
	return c.done
}

// straddle reports whether a kill stands between two copies, so close behind
// the answer to the first that it may not have been booked.
func (p *place) straddle(a, b hecCopy) bool {
	grace := ticks(p.j.in.Grace)
	told := max(p.toldAt(a), a.done)
	for _, k := range p.j.m.kills {
		if a.at <= k+ticks(slack) && k <= b.at+ticks(slack) && (k-told <= grace) {
			return true
		}
	}
	return false
}
