package oracle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says how the files of a place are to be read.
type Kind string

// The kinds of places.
const (
	KindFile   Kind = "file"   // records in format json, one a line; keyed: nothing twice
	KindHEC    Kind = "hec"    // log of a pretend Splunk; append: repeats with a cause
	KindLedger Kind = "ledger" // export of the ledger: revisions, gaps, what was set aside, places
)

// Place is somewhere that revisions should have arrived.
type Place struct {
	Name string // of a sink, as the ledger export spells it
	Kind Kind
	// Logs are read in this order; the order of records across them counts.
	Logs []Log
	// Tenants limits what is owed here; empty: every tenant's revisions. Any
	// record of a tenant that is not listed is foreign.
	Tenants []string
	// TakesAll: nothing that the run dealt gave this sink a cause to refuse
	// anything, so what was set aside for it alone is lost.
	TakesAll bool
	// Tokens binds tokens of a HEC place, by name, to a tenant.
	Tokens map[string]string
	// Revisions is which revisions of an alert the sink is given: all,
	// no_touches, created or settled; empty: all.
	Revisions string
	// Sources are the sources whose records routes lead here; Primary stands for
	// what a route leads here that names none. Empty: every source, and the marks
	// of who else tells an alert are not looked at.
	Sources []string
}

// Primary in Place.Sources stands for incidents and, of the sources that a
// tenant's alerts are read from, the primary one.
const Primary = "primary"

// Input is what Judge reads.
type Input struct {
	Truth []Log // of the lab, in the order they were written
	Sinks []Place
	// Sources limits what is owed to those that the run read; empty: every
	// source's revisions. What else is delivered is judged all the same.
	Sources []string
	// Reads is the same for single tenants, by ID: the sources that the run reads
	// of it. Where a sink filters, the first of them that tells alerts is the
	// tenant's primary one; of a tenant that is not listed, of those that were
	// asked.
	Reads map[string][]string
	// Grace is how long before a kill a revision may have been shown, or a
	// record sent, to count as caught by the kill; 0: 5 s. No answer is stored
	// later than this.
	Grace time.Duration
	// Reading is how long after the first answer that shows a state one that does
	// is stored at the latest; 0: 5 s. It is longer where answers are dealt that
	// the run cannot take, or the ledger fails. Sinks that filter are judged by when
	// states were read: what lies closer to a border than this cannot be told.
	Reading time.Duration
	// Behind is how far a sink that filters may be behind what it could be given;
	// 0: 1 min. It matters where the run ends before something is due, and for
	// what a primary source shows only when its time is over.
	Behind time.Duration
	// Examples is how many examples a finding holds at most; 0: 10.
	Examples int
	// Labels are put on the result line as they are: commit, tier, …
	Labels map[string]string
}

// reads reports whether the run reads a source of a tenant.
func (in *Input) reads(tenant, source string) bool {
	if list, ok := in.Reads[tenant]; ok {
		return slices.Contains(list, source)
	}
	return len(in.Sources) == 0 || slices.Contains(in.Sources, source)
}

func (in *Input) check() error {
	if len(in.Truth) == 0 {
		return errors.New("there is no truth log to judge by")
	}
	if in.Grace == 0 {
		in.Grace = 5 * time.Second
	}
	in.Reading, in.Behind = cmp.Or(in.Reading, 5*time.Second), cmp.Or(in.Behind, time.Minute)
	if in.Examples == 0 {
		in.Examples = 10
	}
	reads := make(map[string][]string, len(in.Reads))
	for t, list := range in.Reads {
		reads[strings.ToLower(t)] = list
	}
	in.Reads = reads
	in.Sinks = slices.Clone(in.Sinks)
	seen := make(map[string]bool)
	for i := range in.Sinks {
		p := &in.Sinks[i]
		switch p.Kind {
		case KindFile, KindHEC, KindLedger:
		default:
			return fmt.Errorf("place %q: there is no kind %q; known are file, hec, ledger", p.Name, p.Kind)
		}
		if p.Name == "" || seen[p.Name] {
			return fmt.Errorf("place %q: each place needs a name of its own", p.Name)
		}
		seen[p.Name] = true
		if err := p.checkFilter(); err != nil {
			return err
		}
		p.Tenants = slices.Clone(p.Tenants)
		for i, t := range p.Tenants {
			p.Tenants[i] = strings.ToLower(t)
		}
	}
	return nil
}
