package filter

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"drover"
	"drover/internal/config"
	"drover/internal/oracle"
	"drover/internal/proof"
	"drover/internal/revision"
)

// ram is a directory in memory where there is one: fsync costs nothing there.
func ram(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "drover-filter-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// files are the lines of each sink's files, by sink and file.
type files map[string]map[string][]string

func (s *story) files(t *testing.T) files {
	t.Helper()
	all := make(files)
	for _, o := range outlets {
		all[string(o.id)] = make(map[string][]string)
		names, err := filepath.Glob(filepath.Join(s.dir, "out", string(o.id), "*.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[string(o.id)][filepath.Base(name)] = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		}
	}
	return all
}

// judge has the oracle judge what sinks hold; those that are not named are left
// out.
func (s *story) judge(t *testing.T, f files, sinks ...string) *oracle.Verdict {
	t.Helper()
	in := oracle.Input{Truth: oracle.Files(filepath.Join(s.dir, "truth.ndjson")), Reads: s.reads,
		Sinks: []oracle.Place{{Name: "ledger", Kind: oracle.KindLedger, Logs: oracle.Files(filepath.Join(s.dir, "export.ndjson"))}}}
	for _, o := range outlets {
		if len(sinks) > 0 && !slices.Contains(sinks, string(o.id)) {
			continue
		}
		p := oracle.Place{Name: string(o.id), Kind: oracle.KindFile, TakesAll: true, Revisions: string(o.revisions), Sources: o.sources}
		for name, lines := range f[string(o.id)] {
			p.Logs = append(p.Logs, oracle.Text(name, []byte(strings.Join(lines, "\n")+"\n")).Bound(strings.TrimSuffix(name, ".ndjson")))
		}
		in.Sinks = append(in.Sinks, p)
	}
	v, err := oracle.Judge(in)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// open counts, at a place, of how many revisions the oracle cannot tell.
func open(v *oracle.Verdict, place, reason string) (missing, there int) {
	for _, x := range v.Excuses {
		if (place == "" || x.Place == place) && strings.Contains(x.Reason, reason) {
			missing, there = missing+x.Missing, there+x.Present
		}
	}
	return missing, there
}

func TestEachSinkIsGivenWhatItsConfigSays(t *testing.T) {
	t.Parallel()
	s := play(t, long, func(*world) {})
	f := s.files(t)
	v := s.judge(t, f)
	for _, x := range v.Findings {
		t.Errorf("%s: %d at %s of %s, such as %+v", x.Fault, x.Count, x.Place, x.Customer, x.Examples[0])
	}
	if v.Sum("ledger").Excused > 0 {
		t.Errorf("the ledger is excused for something: %+v", v.Sum("ledger"))
	}
	missing, there := open(v, "", "")
	young, _ := open(v, "", "too young")
	given, passed := 0, 0
	for _, o := range outlets {
		a := v.Sum(string(o.id))
		given, passed = given+a.Present, passed+a.PassedOver
		if a.Present < 50 || a.PassedOver == 0 && o.id != "both" {
			t.Errorf("at %s too little was tried: %+v", o.id, a)
		}
	}
	if other := missing + there - young; other > given/100 {
		t.Errorf("%d states lie at a border; there is little that was judged: %+v", other, v.Excuses)
	}
	alone, touches := 0, 0
	for _, lines := range f["all"] {
		for _, l := range lines {
			if strings.Contains(l, `"only_here":true`) {
				alone++
			}
			if strings.Contains(l, `"touch":true`) {
				touches++
			}
		}
	}
	if alone < 5 || touches < 50 {
		t.Errorf("%d records of what the primary source does not show, %d touches: too few", alone, touches)
	}
	dropped, added, excused := s.spoil(t, f, v)
	if !t.Failed() {
		proof.Ran(t, "voice.filters", "54 h, five sinks: %d records given, %d states rightly not, %d touches, %d told by a second source alone, 0 wrong; too young at the end %d, at a border %d; of files with a record too few %d and too many %d each named, %d excused by name",
			given, passed, touches, alone, young, missing+there-young, dropped, added, excused)
	}
}

// spoil takes records out of the sinks' files, and puts others in, one at a
// time: each has to be named, or let pass with a reason.
func (s *story) spoil(t *testing.T, f files, good *oracle.Verdict) (dropped, added, excused int) {
	t.Helper()
	const tries = 5
	for sink := range f {
		for name, lines := range f[sink] {
			with := func(lines []string) *oracle.Verdict {
				x := files{sink: {}}
				for n, l := range f[sink] {
					x[sink][n] = l
				}
				x[sink][name] = lines
				return s.judge(t, x, sink)
			}
			before, beforeThere := open(good, sink, "")
			for k := range min(tries, len(lines)) {
				i := k * (len(lines) - 1) / tries
				v := with(slices.Delete(slices.Clone(lines), i, i+1))
				after, _ := open(v, sink, "")
				switch {
				case len(v.Found(oracle.Lost)) == 1:
					dropped++
				case after == before+1 && v.OK():
					excused++
				default:
					t.Errorf("%s without %.200s: %+v", sink, lines[i], v.Findings)
				}
			}
			var others []string // that other sinks were given
			for _, o := range outlets {
				for _, l := range f[string(o.id)][name] {
					if !slices.ContainsFunc(lines, func(x string) bool { return event(x) == event(l) }) && !slices.ContainsFunc(others, func(x string) bool { return event(x) == event(l) }) {
						others = append(others, l)
					}
				}
			}
			for k := range min(tries, len(others)) {
				l := others[k*(len(others)-1)/tries]
				v := with(append(slices.Clone(lines), l))
				_, after := open(v, sink, "")
				switch {
				case len(v.Found(oracle.Unwanted)) == 1:
					added++
				case after == beforeThere+1:
					excused++
				default:
					t.Errorf("%s with %.200s: %+v", sink, l, v.Findings)
				}
			}
		}
	}
	return dropped, added, excused
}

// event is the event ID of a record.
func event(line string) string {
	_, rest, _ := strings.Cut(line, `"event_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

// crooked is a sink that a plant changes the records of; whoever sends is told
// that all are taken.
type crooked struct {
	drover.Sink
	drover.Asker
	spoil func([]drover.Record) []drover.Record
}

func (c crooked) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	real := b
	real.Records = c.spoil(slices.Clone(b.Records))
	taken, err := c.Sink.Deliver(ctx, real)
	if err == nil {
		taken.N = len(b.Records)
	}
	return taken, err
}

// plants are faults of the choice, one a sink, so that a story deals several.
// The oracle has to name each at its sink.
var plants = map[string]struct {
	set  func(w *world)
	want map[string]oracle.Fault // by sink
}{
	"it gives too much": {func(w *world) {
		w.revisions = map[drover.SinkID]revision.Choice{"no-touches": revision.All, "settled": revision.NoTouches}
		var mu sync.Mutex
		var kept *drover.Record
		done := false
		w.sink = func(id drover.SinkID, s drover.Sink) drover.Sink {
			return crooked{s, s.(drover.Asker), func(list []drover.Record) []drover.Record {
				mu.Lock()
				defer mu.Unlock()
				switch {
				case id == "all":
					for i := range list {
						if bytes.Contains(list[i].Body, []byte(`"touch":true`)) && kept == nil {
							r := list[i]
							r.Body = bytes.Clone(r.Body)
							kept = &r
						}
					}
				case id == "created" && kept != nil && !done && len(list) > 0 && kept.Tenant == list[0].Tenant:
					done = true
					return append(list, *kept)
				}
				return list
			}}
		}
	}, map[string]oracle.Fault{"no-touches": oracle.Unwanted, "created": oracle.Unwanted, "settled": oracle.Unwanted}},
	"it gives too little": {func(w *world) {
		w.revisions = map[drover.SinkID]revision.Choice{"all": revision.NoTouches, "no-touches": revision.Settled, "settled": revision.Created}
		var mu sync.Mutex
		n := 0
		w.sink = func(id drover.SinkID, s drover.Sink) drover.Sink {
			return crooked{s, s.(drover.Asker), func(list []drover.Record) []drover.Record {
				mu.Lock()
				defer mu.Unlock()
				if id == "created" && len(list) > 0 {
					if n++; n == 5 {
						return list[1:]
					}
				}
				return list
			}}
		}
	}, map[string]oracle.Fault{"all": oracle.Lost, "no-touches": oracle.Lost, "created": oracle.Lost, "settled": oracle.Lost}},
	"a second source is given everywhere": {func(w *world) {
		w.routes = config.Routes{{Sources: routes[0].Sources, Customers: routes[0].Customers, Sinks: []drover.SinkID{"all", "both"}}, routes[1]}
	}, map[string]oracle.Fault{"all": oracle.Unwanted}},
	"a second source is given nowhere": {func(w *world) { w.routes = routes[1:] }, map[string]oracle.Fault{"both": oracle.Lost}},
}

func TestEachFaultOfTheChoiceIsNamed(t *testing.T) {
	t.Parallel()
	caught, all := 0, 0
	for name, p := range plants {
		s := play(t, short, p.set)
		v := s.judge(t, s.files(t))
		for sink, want := range p.want {
			all++
			if slices.ContainsFunc(v.Found(want), func(x oracle.Finding) bool { return x.Place == sink }) {
				caught++
			} else {
				t.Errorf("%s: %s is not found at %s: %+v", name, want, sink, v.Findings)
			}
		}
		for _, x := range v.Findings {
			if _, ok := p.want[x.Place]; !ok {
				t.Errorf("%s: %s is blamed: %s, such as %+v", name, x.Place, x.Fault, x.Examples[0])
			}
		}
	}
	if !t.Failed() {
		proof.Ran(t, "voice.filters.plants", "caught %d of %d faults of the choice, each at its sink and no other", caught, all)
	}
}
