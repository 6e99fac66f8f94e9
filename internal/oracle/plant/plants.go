package plant

import (
	"slices"
	"strings"
	"time"

	"drover/internal/oracle"
)

// Plant is one bug, planted into the record of a good run.
type Plant struct {
	Name    string
	Promise int // of the design, 1 to 7; 0: same bytes (invariant I3)
	Spoil   func(r *Run) Want
}

// Want is the finding that has to name the bug.
type Want struct {
	Fault  oracle.Fault
	Tenant string
	Place  string
}

// Plants lists every planted bug: at least three for each promise that a judge
// can see from outside.
func Plants() []Plant {
	return slices.Concat(lossPlants, repeatPlants, wallPlants, orderPlants, bytesPlants, secretPlants)
}

// Which of the tenants the bugs are planted for, and at: a file of it that is
// not the last, and its newest file.
const victim = 0

// records returns the lines of a tenant's newest file that pass.
func (r *Run) records(t int, pass func(*Record) bool) []*Record {
	var list []*Record
	for _, f := range r.Files[2*t : 2*t+2] {
		for _, l := range f.Lines {
			if l.Record != nil && (pass == nil || pass(l.Record)) {
				list = append(list, l.Record)
			}
		}
	}
	return list
}

// middle is the record in the middle of those that pass; nil: all that no kill
// excuses.
func (r *Run) middle(t int, pass func(*Record) bool) *Record {
	if pass == nil {
		pass = func(x *Record) bool { return x.Poll != 30 }
	}
	list := r.records(t, pass)
	return list[len(list)/2]
}

// plain are records that nothing is special about, on one line.
func plain(r *Record) bool { return of("graph.alerts")(r) }

// of passes the records of a source that nothing is special about.
func of(source string) func(*Record) bool {
	return func(r *Record) bool {
		return r.Poll != 30 && !r.Late && !r.Unnamed && r.Source == source && !strings.ContainsAny(r.Raw, "\r\n")
	}
}

// lines edits every line of the file sink; fn returns what stands in its place.
func (r *Run) lines(fn func(Line) []Line) {
	for i := range r.Files {
		r.Files[i].Lines = edit(r.Files[i].Lines, fn)
	}
}

// edit replaces each element by what fn makes of it.
func edit[T any](list []T, fn func(T) []T) []T {
	out := make([]T, 0, len(list))
	for _, x := range list {
		out = append(out, fn(x)...)
	}
	return out
}

// dropFile, dropHEC and dropLedger take records out of a place.
func (r *Run) dropFile(gone func(*Record) bool) {
	r.lines(func(l Line) []Line { return keep(l, l.Record, gone) })
}

func (r *Run) dropHEC(gone func(*Record) bool) {
	r.HEC = edit(r.HEC, func(e Event) []Event { return keep(e, e.Record, gone) })
}

func (r *Run) dropLedger(gone func(*Record) bool) {
	r.Ledger = edit(r.Ledger, func(l Line) []Line { return keep(l, l.Record, gone) })
}

func keep[T any](x T, rec *Record, gone func(*Record) bool) []T {
	if rec != nil && gone(rec) {
		return nil
	}
	return []T{x}
}

// swap puts another record in the place of one, at the file sink.
func (r *Run) swap(old, with *Record) {
	r.lines(func(l Line) []Line {
		if l.Record == old {
			l.Record = with
		}
		return []Line{l}
	})
}

// firstOf returns the position of a record's first event at the receiver.
func (r *Run) firstOf(rec *Record) int {
	return slices.IndexFunc(r.HEC, func(e Event) bool { return e.Record == rec })
}

// again sends one event once more, later.
func (r *Run) again(rec *Record, after time.Duration) {
	e := r.HEC[r.firstOf(rec)]
	e.At, e.N, e.I, e.Answered = e.At.Add(after), r.HEC[len(r.HEC)-1].N+1, 0, true
	r.HEC = append(r.HEC, e)
}

// once passes records that were sent to the receiver once, and the sender was
// told; far from the kill.
func (r *Run) once(rec *Record) bool {
	n, told := 0, false
	for _, e := range r.HEC {
		if e.Record == rec {
			n++
			told = e.Answered && (e.At.Before(r.Kill.Add(-time.Minute)) || e.At.After(r.Kill.Add(time.Minute)))
		}
	}
	return n == 1 && told && plain(rec)
}

// is passes one record.
func is(x *Record) func(*Record) bool { return func(r *Record) bool { return r == x } }
