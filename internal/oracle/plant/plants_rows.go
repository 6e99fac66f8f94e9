package plant

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"drover/internal/oracle"
)

// Promise 1: nothing lost.
var lossPlants = []Plant{
	{"one row is missing in a file", 1, func(r *Run) Want {
		r.dropFile(is(r.middle(victim, nil)))
		return Want{oracle.Lost, r.Tenants[victim].ID, FilePlace}
	}},
	{"one row never reached the receiver", 1, func(r *Run) Want {
		r.dropHEC(is(r.middle(1, nil)))
		return Want{oracle.Lost, r.Tenants[1].ID, HECPlace}
	}},
	{"one page is nowhere", 1, func(r *Run) Want {
		x := *r.middle(victim, nil)
		page := func(y *Record) bool { return y.Tenant == x.Tenant && y.Source == x.Source && y.Poll == x.Poll }
		r.dropFile(page)
		r.dropHEC(page)
		r.dropLedger(page)
		return Want{oracle.Lost, x.Tenant, LedgerPlace}
	}},
	{"the newest state of one alert is nowhere", 1, func(r *Run) Want {
		x := r.middle(2, func(y *Record) bool {
			return y.Rev > 0 && len(r.records(2, func(z *Record) bool { return z.ID == y.ID && z.Source == y.Source && z.Rev > y.Rev })) == 0
		})
		r.dropFile(is(x))
		r.dropHEC(is(x))
		r.dropLedger(is(x))
		return Want{oracle.Lost, x.Tenant, FilePlace}
	}},
	{"one row is delivered and not in the ledger", 1, func(r *Run) Want {
		r.dropLedger(is(r.middle(victim, nil)))
		return Want{oracle.Lost, r.Tenants[victim].ID, LedgerPlace}
	}},
	{"the last line of a file is torn and never written again", 1, func(r *Run) Want {
		f := &r.Files[2*victim+1]
		l := &f.Lines[len(f.Lines)-1]
		l.Text = l.text()[:len(l.text())/2]
		return Want{oracle.Lost, f.Tenant, FilePlace}
	}},
	{"an answer that took nothing is read as success", 1, func(r *Run) Want {
		i := r.firstOf(r.middle(1, r.once))
		r.HEC[i].Kept, r.HEC[i].Answered = false, false
		return Want{oracle.Lost, r.Tenants[1].ID, HECPlace}
	}},
	{"the receiver takes half a batch and the rest is not sent again", 1, func(r *Run) Want {
		for i := range r.HEC {
			if r.HEC[i].Tenant == r.Tenants[2].ID && !r.HEC[i].Answered {
				n := r.HEC[i].N
				r.HEC = slices.DeleteFunc(r.HEC, func(e Event) bool { return e.N == n+1 })
				r.HEC[i].Kept = false
				break
			}
		}
		return Want{oracle.Lost, r.Tenants[2].ID, HECPlace}
	}},
	{"a row is set aside without a reason", 1, func(r *Run) Want {
		x := r.middle(victim, nil)
		r.dropFile(is(x))
		r.Ledger = append(r.Ledger, aside(x, FilePlace, ""))
		return Want{oracle.NoReason, x.Tenant, LedgerPlace}
	}},
	{"what is set aside at one sink is missing at another", 1, func(r *Run) Want {
		x := r.middle(victim, nil)
		r.dropFile(is(x))
		r.dropHEC(is(x))
		r.Ledger = append(r.Ledger, aside(x, HECPlace, "too large"))
		return Want{oracle.Lost, x.Tenant, FilePlace}
	}},
	{"a gap is closed though rows in it are missing", 1, func(r *Run) Want {
		x := r.middle(victim, plain)
		for _, drop := range []func(func(*Record) bool){r.dropFile, r.dropHEC, r.dropLedger} {
			drop(is(x))
		}
		r.Ledger = append(r.Ledger, Line{Text: fmt.Sprintf(`{"t":"gap","tenant":"%s","source":"%s","from":"%s","to":"%s","cause":"page over the limit","state":"closed"}`,
			x.Tenant, x.Source, x.Changed.Add(-time.Second).Format(time.RFC3339Nano), x.Changed.Add(time.Second).Format(time.RFC3339Nano))})
		return Want{oracle.GapClosed, x.Tenant, FilePlace}
	}},
	{"an open gap has no cause", 1, func(r *Run) Want {
		r.Ledger = append(r.Ledger, Line{Text: `{"t":"gap","tenant":"` + r.Tenants[1].ID + `","source":"graph.alerts","from":"2026-03-02T08:00:00Z","to":"2026-03-02T09:00:00Z","cause":"","state":"open"}`})
		return Want{oracle.NoReason, r.Tenants[1].ID, LedgerPlace}
	}},
	{"a row without identity is dropped and not listed", 1, func(r *Run) Want {
		r.Ledger = slices.DeleteFunc(r.Ledger, func(l Line) bool { return strings.Contains(l.Text, `"bad row"`) })
		return Want{oracle.NotShown, r.Tenants[victim].ID, ""}
	}},
	{"an alert is there as Graph shows it, and nowhere as Defender for Endpoint does", 1, func(r *Run) Want {
		x := r.middle(victim, of("mde.alerts"))
		for _, drop := range []func(func(*Record) bool){r.dropFile, r.dropHEC, r.dropLedger} {
			drop(is(x))
		}
		return Want{oracle.Lost, x.Tenant, LedgerPlace}
	}},
	{"the state of an incident that was merged into another is nowhere", 1, func(r *Run) Want {
		x := r.middle(2, func(y *Record) bool {
			return of("graph.incidents")(y) && strings.Contains(y.Raw, `"redirectIncidentId":"1001"`)
		})
		for _, drop := range []func(func(*Record) bool){r.dropFile, r.dropHEC, r.dropLedger} {
			drop(is(x))
		}
		return Want{oracle.Lost, x.Tenant, FilePlace}
	}},
	{"the sequence of a feed has a hole", 1, func(r *Run) Want {
		x := r.middle(victim, plain)
		for i, l := range r.Ledger {
			if l.Record != nil && l.Tenant == x.Tenant && l.Source == x.Source && l.Seq > x.Seq {
				y := *l.Record
				y.Seq++
				r.Ledger[i].Record = &y
			}
		}
		return Want{oracle.Sequence, x.Tenant, LedgerPlace}
	}},
}

// aside is a ledger line for a row that a sink refuses.
func aside(x *Record, sink, reason string) Line {
	return Line{Text: fmt.Sprintf(`{"t":"set_aside","tenant":"%s","source":"%s","sink":"%s","reason":"%s","sha256":"%s","event_id":"%s"}`, x.Tenant, x.Source, sink, reason, x.Sum, x.Event)}
}

// Promise 2: nothing twice.
var repeatPlants = []Plant{
	{"one row is twice in a file", 2, func(r *Run) Want {
		x := r.middle(victim, plain)
		r.lines(func(l Line) []Line {
			if l.Record == x {
				return []Line{l, l}
			}
			return []Line{l}
		})
		return Want{oracle.Repeated, x.Tenant, FilePlace}
	}},
	{"a batch is twice in a file after a kill", 2, func(r *Run) Want {
		x := r.middle(1, func(y *Record) bool { return y.Poll == 30 })
		f := &r.Files[3]
		f.Lines = slices.Insert(f.Lines, 0, Line{Record: x})
		return Want{oracle.Repeated, x.Tenant, FilePlace}
	}},
	{"the receiver gets one row twice and no answer was lost", 2, func(r *Run) Want {
		x := r.middle(2, r.once)
		r.again(x, time.Minute)
		return Want{oracle.Repeated, x.Tenant, HECPlace}
	}},
	{"one lost answer and two repeats", 2, func(r *Run) Want {
		for _, e := range r.HEC {
			if !e.Answered {
				r.again(e.Record, time.Minute)
				return Want{oracle.Repeated, e.Tenant, HECPlace}
			}
		}
		return Want{}
	}},
	{"a repeat long after the kill is put down to it", 2, func(r *Run) Want {
		x := r.middle(1, func(y *Record) bool { return y.Poll == 29 })
		r.again(x, 5*time.Minute)
		return Want{oracle.Repeated, x.Tenant, HECPlace}
	}},
	{"a repeat has another event ID", 2, func(r *Run) Want {
		for i, e := range r.HEC {
			if i > 0 && e.Answered && slices.ContainsFunc(r.HEC[:i], func(o Event) bool { return o.Record == e.Record }) {
				x := *e.Record
				x.Event = strings.Repeat("ab", 16)
				r.HEC[i].Record = &x
				return Want{oracle.EventID, x.Tenant, HECPlace}
			}
		}
		return Want{}
	}},
	{"two revisions share an event ID", 2, func(r *Run) Want {
		list := r.records(victim, plain)
		a, b := list[3], list[4]
		for _, x := range r.Files[2*victim].Lines {
			if x.Event == b.Event && x.Record == b {
				b.Event = a.Event
			}
		}
		return Want{oracle.EventID, b.Tenant, FilePlace}
	}},
	{"an alert has one event ID at Graph and at Defender for Endpoint", 2, func(r *Run) Want {
		twins := func(x *Record) []*Record {
			return r.records(victim, func(y *Record) bool { return y.ID == "da"+x.ID && y.Rev == x.Rev })
		}
		x := r.middle(victim, func(y *Record) bool { return of("mde.alerts")(y) && len(twins(y)) > 0 })
		x.Event = twins(x)[0].Event
		return Want{oracle.EventID, x.Tenant, FilePlace}
	}},
	{"a record has no event ID", 2, func(r *Run) Want {
		x := r.middle(victim, plain)
		y := *x
		y.Event = ""
		r.swap(x, &y)
		return Want{oracle.EventID, x.Tenant, FilePlace}
	}},
	{"other bytes of one state are a second revision", 2, func(r *Run) Want {
		x := r.middle(victim, func(y *Record) bool { return plain(y) && r.Variants[y.Event] != "" && r.Variants[y.Event] != y.Raw })
		y := *x
		y.Raw, y.Ordinal = r.Variants[x.Event], 1
		for _, l := range r.records(victim, func(z *Record) bool { return z.Source == x.Source }) {
			y.Seq = max(y.Seq, l.Seq+1)
		}
		y.seal()
		y.Late = true
		f := &r.Files[2*victim+1]
		f.Lines = append(f.Lines, Line{Record: &y})
		r.Ledger = append(r.Ledger, Line{Record: &y})
		return Want{oracle.Repeated, x.Tenant, LedgerPlace}
	}},
	{"one row is twice in the ledger", 2, func(r *Run) Want {
		x := r.middle(2, plain)
		r.Ledger = append(r.Ledger, Line{Record: x})
		return Want{oracle.Repeated, x.Tenant, LedgerPlace}
	}},
	{"two rows of a feed have one sequence number", 2, func(r *Run) Want {
		x := r.middle(1, plain)
		for i, l := range r.Ledger {
			if l.Record == x {
				y := *x
				y.Seq--
				r.Ledger[i].Record = &y
			}
		}
		return Want{oracle.Sequence, x.Tenant, LedgerPlace}
	}},
}

// Promise 4: in order, and no step back.
var orderPlants = []Plant{
	{"two rows change places in a file", 4, func(r *Run) Want {
		lines := r.Files[2*victim+1].Lines
		for i := range lines[1:] {
			if a, b := lines[i], lines[i+1]; a.Source == b.Source && a.ID != b.ID {
				lines[i], lines[i+1] = b, a
				return Want{oracle.OutOfOrder, a.Tenant, FilePlace}
			}
		}
		return Want{}
	}},
	{"a batch overtakes another at the receiver", 4, func(r *Run) Want {
		x := r.middle(1, r.once)
		i := r.firstOf(x)
		e := r.HEC[i]
		r.HEC = append(slices.Delete(r.HEC, i, i+1), e)
		return Want{oracle.OutOfOrder, x.Tenant, HECPlace}
	}},
	{"an older state after a newer one is not marked late", 4, func(r *Run) Want {
		x := r.stale()
		y := *x
		y.Late = false
		r.swap(x, &y)
		return Want{oracle.WentBack, x.Tenant, FilePlace}
	}},
	{"the mark late is lost on the way to the receiver", 4, func(r *Run) Want {
		x := r.stale()
		y := *x
		y.Late = false
		for i := range r.HEC {
			if r.HEC[i].Record == x {
				r.HEC[i].Record = &y
			}
		}
		return Want{oracle.WentBack, x.Tenant, HECPlace}
	}},
	{"two states of one alert change places and numbers", 4, func(r *Run) Want {
		lines := r.Files[2*victim+1].Lines
		for i := range lines {
			for k := i + 1; k < len(lines); k++ {
				a, b := lines[i].Record, lines[k].Record
				if a.Source == b.Source && a.ID == b.ID && a.Changed.Before(b.Changed) && !a.Late && !b.Late {
					x, y := *a, *b
					x.Seq, y.Seq = y.Seq, x.Seq
					lines[i].Record, lines[k].Record = &y, &x
					return Want{oracle.WentBack, a.Tenant, FilePlace}
				}
			}
		}
		return Want{}
	}},
	{"an incident goes back to a state before its merge, and is not marked late", 4, func(r *Run) Want {
		var last *Record
		for _, x := range r.records(1, of("graph.incidents")) {
			if !x.Late && strings.Contains(x.Raw, `"redirectIncidentId":"1001"`) {
				last = x
			}
		}
		for _, x := range r.records(1, of("graph.incidents")) {
			if x.ID == last.ID && x.Rev < last.Rev && !x.Late {
				f := &r.Files[2*1+1]
				r.dropFile(is(x))
				y := *x
				y.Seq = 1 << 20
				f.Lines = append(f.Lines, Line{Record: &y})
				return Want{oracle.WentBack, x.Tenant, FilePlace}
			}
		}
		return Want{}
	}},
	{"a row is numbered anew when it is sent again", 4, func(r *Run) Want {
		x := r.middle(2, r.once)
		y := *x
		y.Seq = 1
		r.HEC[r.firstOf(x)].Record = &y
		return Want{oracle.OutOfOrder, x.Tenant, HECPlace}
	}},
}

// stale finds a record that came after a newer state of its alert.
func (r *Run) stale() *Record {
	for t := range r.Tenants {
		newest := make(map[string]*Record)
		for _, x := range r.records(t, nil) {
			key := x.Source + x.ID
			if n := newest[key]; n == nil || n.Changed.Before(x.Changed) {
				newest[key] = x
			} else if x.Late {
				return x
			}
		}
	}
	return nil
}
