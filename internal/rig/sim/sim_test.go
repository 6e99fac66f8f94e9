package sim

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/oracle"
	"drover/internal/proof"
	"drover/internal/rig/seeds"
)

// day is the size of a run of the tier for every commit: a night of faults and
// the calm behind it.
var day = size{tenants: 10, active: 8 * time.Hour, calm: 7 * time.Hour, interval: 5 * time.Minute}

// usual are the seeds of that tier. A seed that has found a fault stays.
var usual = []uint64{1, 2, 3, 4, 5, 24}

func TestADayOfFaultsKeepsEveryPromise(t *testing.T) {
	t.Parallel()
	list, own, err := seeds.List(usual...)
	if err != nil {
		t.Fatal(err)
	}
	all := play(t, list, day)
	if own || t.Failed() {
		return
	}
	all.sometimes(t)
	all.prove(t)
}

// estateDay is 24 hours of a provider with a hundred customers.
var estateDay = size{tenants: 100, active: 17 * time.Hour, calm: 7 * time.Hour, interval: 5 * time.Minute}

// TestADayWithAHundredTenantsKeepsEveryPromise is one run of that size for every
// commit; the soak plays others.
func TestADayWithAHundredTenantsKeepsEveryPromise(t *testing.T) {
	t.Parallel()
	list, _, err := seeds.List(1)
	if err != nil {
		t.Fatal(err)
	}
	play(t, list, estateDay).day(t, "sim.hundred")
}

// day prints what runs of a whole day have shown.
func (s *sum) day(t *testing.T, name string) {
	if t.Failed() {
		return
	}
	proof.Ran(t, name, "%d seeds, %.0f h with %d tenants, %d kinds of faults dealt %d times: of %d revisions lost %d, repeated without a cause %d, foreign %d, cursor regressions %d, not well in the end %d",
		s.runs, s.hours, estateDay.tenants, len(s.dealt), total(s.dealt), s.shown, s.at.Lost, s.at.Repeated-s.at.Explained, s.at.Foreign, s.back, s.unwell)
}

// play runs seeds, as many at a time as there are processors.
func play(t *testing.T, seeds []uint64, z size) *sum {
	all := newSum()
	t.Run("seed", func(t *testing.T) {
		for _, seed := range seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				p := draw(seed, z)
				v := run(t, seed, p, (*world).play)
				t.Log(v.line())
				for _, s := range v.wrong() {
					t.Error(s)
				}
				all.add(p, v)
			})
		}
	})
	return all
}

// sum adds up verdicts.
type sum struct {
	mu       sync.Mutex
	runs     int
	hours    float64
	shown    int // revisions owed, over all runs
	rows     int
	requests int
	at       oracle.At // over all places
	hec      oracle.At
	findings map[oracle.Fault]int
	dealt    map[string]int // faults by kind
	could    map[string]bool
	what     map[string]int // events of the engines
	kinds    map[drover.Kind]int
	back     int
	cursors  int // places where a cursor was looked at
	unwell   int
	early    int
	astray   int
	leaks    int
	crossed  int
	searched int
	walls    int
	special  map[string]int
	asides   map[string]int
}

func newSum() *sum {
	return &sum{findings: make(map[oracle.Fault]int), dealt: make(map[string]int), could: make(map[string]bool), what: make(map[string]int), kinds: make(map[drover.Kind]int),
		special: make(map[string]int), asides: make(map[string]int)}
}

func count[K comparable](to, from map[K]int) {
	for k, n := range from {
		to[k] += n
	}
}

func (s *sum) add(p plan, v *verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	s.hours += v.span.Hours()
	s.shown += v.Shown()
	s.rows += v.Totals.Rows
	s.requests += v.Totals.Requests
	for at, places := range map[*oracle.At][]string{&s.at: {""}, &s.hec: {string(sinkHEC), string(sinkAck)}} {
		for _, name := range places {
			x := v.Sum(name)
			at.Present += x.Present
			at.Lost += x.Lost
			at.SetAside += x.SetAside
			at.Excused += x.Excused
			at.InGap += x.InGap
			at.Repeated += x.Repeated
			at.Explained += x.Explained
			at.Foreign += x.Foreign
			at.Altered += x.Altered
			at.Disorder += x.Disorder
		}
	}
	for _, f := range v.Findings {
		s.findings[f.Fault] += f.Count
	}
	for k := range p.could {
		s.could[k] = true
	}
	count(s.dealt, v.dealt)
	count(s.what, v.what)
	count(s.kinds, v.kinds)
	count(s.special, v.told.special)
	count(s.asides, v.asides)
	s.back += len(v.back)
	s.cursors += v.noted
	s.unwell += len(v.pending)
	s.early += v.told.early
	s.astray += len(v.astray)
	s.leaks += len(v.leaks)
	s.crossed += len(v.crossed)
	s.searched += v.searched
	s.walls += v.walls
}

// prove prints what the runs have shown.
func (s *sum) prove(t *testing.T) {
	proof.Ran(t, "I1", "%d seeds, %.0f h with %d kinds of faults dealt %d times: lost %d of %d revisions at ledger and sinks, %d of them set aside, %d superseded just before a kill", s.runs, s.hours, len(s.dealt), total(s.dealt), s.at.Lost, s.at.Lost+s.at.Present+s.at.SetAside+s.at.Excused+s.at.InGap, s.at.SetAside, s.at.Excused)
	proof.Ran(t, "I2", "invented %d of %d records", s.findings[oracle.Altered]+s.at.Foreign, s.at.Present+s.at.Repeated)
	proof.Ran(t, "I3", "altered %d of %d records", s.at.Altered, s.at.Present+s.at.Repeated)
	proof.Ran(t, "I4", "holes and repeats in sequences and keys of the ledger: %d", s.findings[oracle.Sequence]+s.findings[oracle.Repeated])
	proof.Ran(t, "I5", "repeats at two Splunks: dup_raw %d, dup_explained %d", s.hec.Repeated, s.hec.Explained)
	proof.Ran(t, "I8", "cursor regressions %d of %d cursors noted", s.back, s.cursors)
	proof.Ran(t, "I9", "tenants of which a sink's counts (taken %d, set aside %d, not routed %d) do not add up to the ledger: %d", s.what[string(sinkFile)+".taken"]+s.what[string(sinkHEC)+".taken"]+s.what[string(sinkAck)+".taken"], s.what[string(sinkAck)+".refused"], s.what[string(sinkHEC)+".unrouted"], s.astray)
	proof.Ran(t, "I12", "rows at another tenant's place %d; marks of other tenants in %d searches of a tenant's file: %d", s.at.Foreign, s.walls, s.crossed)
	proof.Ran(t, "I15", "%d secrets looked for in log, ledger, files and export: %d found", s.searched, s.leaks)
	proof.Ran(t, "I17", "feeds parked, gaps open and records pending after the calm: %d; gaps opened %d and closed %d, feeds parked %d and freed %d", s.unwell, s.what["collect.gap_opened"], s.what["collect.gap_closed"], s.what["collect.parked"], s.what["collect.freed"])
	proof.Ran(t, "I19", "dealt %d foreign and %d unusable rows, not shown %d; a sink refused %d, shown %d", s.special["foreign"], s.special["bad"], s.findings[oracle.NotShown], s.what[string(sinkAck)+".refused"], s.asides["refused"])
	proof.Ran(t, "I20", "out of order at three sinks %d", s.at.Disorder)
	proof.Ran(t, "P25", "requests before a told time %d, with %d refusals that told one or might have", s.early, s.kinds[drover.Throttled])
}

func total(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}
