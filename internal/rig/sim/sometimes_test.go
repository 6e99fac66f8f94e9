package sim

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"drover"
	"drover/internal/lab/splunk"
	"drover/internal/proof"
)

// notDealt are kinds of faults that no run deals, and why.
var notDealt = map[string]string{
	"sink:outage":    "it is dealt by hand, and counted as an event",
	"sink:swallowed": "the receiver says that it has taken what it has not: the promise ends there",
	"big_page":       "it is about memory: P22 of internal/defender",
	"tls":            "it is about the first handshake: P30 of internal/httpx",
	"no_rows":        "an empty answer is a good answer; a feed that is silent against its habit is not told yet (P39)",
	"forgets":        "P34 of internal/collect",
}

// events are what the engines tell that must have happened in some run.
var events = []string{
	"collect.read", "collect.commit", "collect.failed", "collect.late", "collect.foreign", "collect.gap_opened", "collect.gap_closed",
	"collect.parked", "collect.freed", "collect.skew", "collect.absent", "collect.incident", "collect.incident_over", "ledger.hiccup",
	"archive.taken", "archive.failed", "soc.taken", "soc.failed", "soc.unrouted", "soc-ack.taken", "soc-ack.failed", "soc-ack.refused",
	"soc.parked", "soc.freed", "sink.outage",
}

// unmet lists what no run has met: faults that may be dealt, errors of each
// kind, events of the engines. A rig that stops reaching a branch must fail.
func (s *sum) unmet() (list []string) {
	for _, k := range slices.Sorted(maps.Keys(s.could)) {
		if strings.HasPrefix(k, "status ") || strings.HasPrefix(k, "aadsts ") {
			continue // the cloud counts by kind
		}
		if s.dealt[k] == 0 {
			list = append(list, "fault "+k)
		}
	}
	// What is refused for good is no error to the engines but an outcome.
	for _, k := range []drover.Kind{drover.Transient, drover.Throttled, drover.Denied} {
		if s.kinds[k] == 0 {
			list = append(list, "error "+k.String())
		}
	}
	for _, e := range events {
		if s.what[e] == 0 {
			list = append(list, "event "+e)
		}
	}
	return list
}

func (s *sum) sometimes(t *testing.T) {
	t.Helper()
	for _, miss := range s.unmet() {
		t.Errorf("no run has met: %s", miss)
	}
	if !t.Failed() {
		proof.Ran(t, "sim.sometimes", "%d kinds of faults, %d kinds of errors and %d events were each met, in %d runs", len(s.dealt), len(s.kinds), len(events), s.runs)
	}
}

// A kind of fault that the cloud learns must be dealt here as well.
func TestEveryFaultOfTheCloudIsDealt(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../lab/fault/kinds.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	could := draw(1, day).could
	n := 0
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			for _, v := range spec.(*ast.ValueSpec).Values {
				kind, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					continue
				}
				if n++; !could[kind] && notDealt[kind] == "" {
					t.Errorf("no plan deals %q", kind)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("%d kinds found: kinds.go is not what it was", n)
	}
	for kind := range splunk.Kinds() {
		if !could["sink:"+kind] && notDealt["sink:"+kind] == "" {
			t.Errorf("no plan deals %q", "sink:"+kind)
		}
	}
}
