package oracle

import (
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
}

// Input is what Judge reads.
type Input struct {
	Truth []Log // of the lab, in the order they were written
	Sinks []Place
	// Sources limits what is owed to those that the run read; empty: every
	// source's revisions. What else is delivered is judged all the same.
	Sources []string
	// Grace is how long before a kill a revision may have been shown, or a
	// record sent, to count as caught by the kill; 0: 5 s.
	Grace time.Duration
	// Examples is how many examples a finding holds at most; 0: 10.
	Examples int
	// Labels are put on the result line as they are: commit, tier, …
	Labels map[string]string
}

func (in *Input) check() error {
	if len(in.Truth) == 0 {
		return errors.New("there is no truth log to judge by")
	}
	if in.Grace == 0 {
		in.Grace = 5 * time.Second
	}
	if in.Examples == 0 {
		in.Examples = 10
	}
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
		p.Tenants = slices.Clone(p.Tenants)
		for i, t := range p.Tenants {
			p.Tenants[i] = strings.ToLower(t)
		}
	}
	return nil
}
