package oracle

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"drover/internal/proof"
)

// tale is a truth log in which one tenant's alerts change, and the records that
// a sink was given of it. Times are from 08:00 UTC.
type tale struct {
	truth, file, ledger []string
	seq                 int
	reading             time.Duration
	reads               map[string][]string
}

func newTale() *tale {
	return &tale{truth: newBook().truth}
}

func stamp(d time.Duration) string { return zero.Add(d).Format(time.RFC3339Nano) }

func body(source, id string, rev int) string {
	return fmt.Sprintf(`{"id":"%s","source":"%s","rev":%d}`, id, source, rev)
}

// state shows a state, at and maybe later again. Two with the same content differ
// in their change time alone.
func (b *tale) state(source, id string, rev int, content string, when ...time.Duration) {
	b.changed(source, id, rev, when[0]-time.Second, content, when...)
}

func (b *tale) changed(source, id string, rev int, changed time.Duration, content string, when ...time.Duration) {
	if content != "" {
		content = fmt.Sprintf(`,"created":"%s","content":"%x"`, stamp(0), sha256.Sum256([]byte(content)))
	}
	b.truth = append(b.truth, fmt.Sprintf(`{"t":"issued","at":"%s","tenant":"%s","source":"%s","id":"%s","rev":%d,"changed":"%s","visible_at":"%s"%s}`,
		stamp(when[0]), tenantA, source, id, rev, stamp(changed), stamp(when[0]), content))
	for _, at := range when {
		b.truth = append(b.truth, fmt.Sprintf(`{"t":"request","at":"%s","tenant":"%s","source":"%s","status":200}`, stamp(at), tenantA, source),
			fmt.Sprintf(`{"t":"served","at":"%s","tenant":"%s","source":"%s","id":"%s","rev":%d,"changed":"%s","sha256":"%x"}`,
				stamp(at), tenantA, source, id, rev, stamp(changed), sha256.Sum256([]byte(body(source, id, rev)))))
	}
}

func (b *tale) mark(at time.Duration, more string) {
	b.truth = append(b.truth, `{"t":"mark","at":"`+stamp(at)+`",`+more+`}`)
}

// give is a record of a state at the sink.
func (b *tale) give(source, id string, rev int, marks string) {
	b.seq++
	changed := ""
	for _, line := range b.truth {
		if strings.Contains(line, `"t":"issued"`) && strings.Contains(line, fmt.Sprintf(`"source":"%s","id":"%s","rev":%d,`, source, id, rev)) {
			_, rest, _ := strings.Cut(line, `"changed":"`)
			changed, _, _ = strings.Cut(rest, `"`)
		}
	}
	raw := body(source, id, rev)
	event := sha256.Sum256([]byte(raw))
	b.file = append(b.file, fmt.Sprintf(`{"drover":{"event_id":"%x","tenant":"%s","customer":"contoso","source":"%s","alert_id":"%s","changed":"%s","ordinal":0,"seq":%d,"incarnation":"i","sha256":"%x"%s},"alert":%s}`,
		event[:16], tenantA, source, id, changed, b.seq, sha256.Sum256([]byte(raw)), marks, raw))
}

// stored is a state in the export of the ledger.
func (b *tale) stored(source, id string, rev int) {
	raw := body(source, id, rev)
	event := sha256.Sum256([]byte(raw))
	b.ledger = append(b.ledger, fmt.Sprintf(`{"t":"revision","tenant":"%s","source":"%s","alert_id":"%s","seq":%d,"sha256":"%x","event_id":"%x","flags":[]}`,
		tenantA, source, id, len(b.ledger)+1, sha256.Sum256([]byte(raw)), event[:16]))
}

// judge ends the story and judges it; what is found at the sink stands as
// "fault id/rev detail".
func (b *tale) judge(t *testing.T, end time.Duration, p Place) (v *Verdict, found []string) {
	t.Helper()
	truth := slices.Concat(b.truth, []string{`{"t":"end","at":"` + stamp(end) + `"}`})
	p.Name, p.Kind, p.Logs = "sink", KindFile, []Log{Text("out", text3(b.file))}
	in := Input{Truth: []Log{Text("truth", text3(truth))}, Sinks: []Place{p}, Reading: b.reading, Reads: b.reads}
	if b.ledger != nil {
		in.Sinks = append(in.Sinks, Place{Name: "ledger", Kind: KindLedger, Logs: []Log{Text("ledger", text3(b.ledger))}})
	}
	v, err := Judge(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range v.Findings {
		for _, ex := range f.Examples {
			if f.Place == "sink" {
				found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s/%d %s", f.Fault, ex.AlertID, ex.Rev, ex.Detail)))
			}
		}
	}
	slices.Sort(found)
	return v, found
}

const (
	graph  = "graph.alerts"
	mde    = "mde.alerts"
	siem   = "siem.detections"
	minute = time.Minute
)

// life is an alert with a state of every kind: one that is changed within
// minutes, touches, one that rests, one that changes for two hours without rest.
func life(b *tale) {
	b.state(graph, "a1", 0, "new", 1*minute, 2*minute)
	b.state(graph, "a1", 1, "assigned", 5*minute)
	b.state(graph, "a1", 2, "assigned", 9*minute) // a touch
	b.state(graph, "a1", 3, "resolved", 30*minute)
	b.state(graph, "a1", 4, "resolved", 45*minute) // a touch
	for n := range 12 {                            // from 10:00 to 11:39
		b.state(graph, "b2", n, fmt.Sprint("step ", n), 120*minute+time.Duration(n)*9*minute)
	}
}

// gives are the states of life that a sink is given.
var gives = map[string]string{
	"all":        "a1/0 a1/1 a1/2 a1/3 a1/4 b2/0 b2/1 b2/2 b2/3 b2/4 b2/5 b2/6 b2/7 b2/8 b2/9 b2/10 b2/11",
	"no_touches": "a1/0 a1/1 a1/3 b2/0 b2/1 b2/2 b2/3 b2/4 b2/5 b2/6 b2/7 b2/8 b2/9 b2/10 b2/11",
	"created":    "a1/0 b2/0",
	"settled":    "a1/2 a1/3 a1/4 b2/6 b2/11", // b2/6 was read at 10:54, b2/7 at 11:03
}

func (b *tale) gives(list string) {
	for _, s := range strings.Fields(list) {
		id, rev, _ := strings.Cut(s, "/")
		n := 0
		_, _ = fmt.Sscan(rev, &n)
		marks := ""
		if s == "a1/2" || s == "a1/4" {
			marks = `,"touch":true`
		}
		b.give(graph, id, n, marks)
	}
}

// Each choice is told by the states of one story; each record that is missing is
// named, and each that is too many.
func TestEachRecordThatASinkShouldOrShouldNotBeGivenIsNamed(t *testing.T) {
	missed, cases := 0, 0
	for choice, list := range gives {
		every := strings.Fields(gives["all"])
		for _, s := range append([]string{""}, every...) {
			b := newTale()
			life(b)
			given := strings.Fields(list)
			want := ""
			switch {
			case s == "":
			case slices.Contains(given, s):
				given = slices.DeleteFunc(given, func(x string) bool { return x == s })
				want = "lost " + s
			default:
				given = slices.DeleteFunc(slices.Clone(every), func(x string) bool { return x != s && !slices.Contains(given, x) })
				want = "unwanted " + s
			}
			b.gives(strings.Join(given, " "))
			v, found := b.judge(t, 5*time.Hour, Place{Revisions: choice})
			cases++
			if want == "" && len(found) == 0 || want != "" && len(found) == 1 && strings.HasPrefix(found[0], want) {
				if n := v.Sum("sink"); n.Excused > 0 || len(v.Excuses) > 0 || n.PassedOver+n.Present+n.Lost+n.Unwanted != len(every) {
					t.Errorf("%s without or with %q: %+v", choice, s, n)
				}
				continue
			}
			missed++
			t.Errorf("%s: %q is wrong: want %q, found %q", choice, s, want, found)
		}
	}
	proof.Ran(t, "oracle.filters", "four choices, %d stories with one record too many, too few or none: %d misjudged", cases, missed)
}

// What lies at a border is let pass either way, and counted with its reason.
func TestWhatCannotBeToldIsCountedWithItsReason(t *testing.T) {
	second := time.Second
	for name, tt := range map[string]struct {
		revisions string
		write     func(b *tale)
		end       time.Duration
		open      map[string]int // by reason: how many
		lost      string         // without any record: what is missing all the same
	}{
		"ten minutes, about": {"settled", func(b *tale) {
			b.state(graph, "a1", 0, "x", 1*minute)
			b.state(graph, "a1", 1, "y", 11*minute)
		}, 60 * minute, map[string]int{calls[atBorder]: 1}, "a1/1"},
		"ten minutes, for sure": {"settled", func(b *tale) {
			b.state(graph, "a1", 0, "x", 1*minute)
			b.state(graph, "a1", 1, "y", 11*minute+6*second)
		}, 60 * minute, nil, "a1/0 a1/1"},
		"the hour, about": {"settled", func(b *tale) {
			b.state(graph, "a1", 0, "x", 55*minute)
			b.state(graph, "a1", 1, "y", 60*minute-2*second)
		}, 90 * minute, map[string]int{calls[atBorder]: 1}, "a1/1"},
		"too young at the end": {"settled", func(b *tale) {
			b.state(graph, "a1", 0, "x", 1*minute)
			b.state(graph, "a1", 1, "y", 52*minute)
		}, 60 * minute, map[string]int{calls[waits]: 1}, "a1/0"},
		"read twice within seconds": {"created", func(b *tale) {
			b.state(graph, "a1", 0, "x", 60*second)
			b.state(graph, "a1", 1, "y", 62*second)
		}, 60 * minute, map[string]int{calls[unordered]: 2}, ""},
		"a kill may have swallowed the first": {"created", func(b *tale) {
			b.state(graph, "a1", 0, "x", 60*second)
			b.mark(62*second, `"kind":"kill"`)
			b.state(graph, "a1", 1, "y", 120*second)
		}, 60 * minute, map[string]int{calls[unsure]: 1}, ""},
		"of the content nothing is said": {"no_touches", func(b *tale) {
			b.state(graph, "a1", 0, "", 1*minute)
			b.state(graph, "a1", 1, "", 10*minute)
		}, 60 * minute, map[string]int{calls[unsaid]: 1}, "a1/0"},
		"a state without a time of its own": {"no_touches", func(b *tale) {
			b.state(graph, "a1", 0, "x", 1*minute)
			b.changed(graph, "a1", 1, 59*second, "y", 10*minute, 11*minute)
			b.state(graph, "a1", 2, "y", 30*minute)
		}, 60 * minute, map[string]int{calls[unordered]: 1}, "a1/0 a1/1"},
		"a state that shows late stands for itself": {"settled", func(b *tale) {
			b.state(graph, "a1", 1, "y", 5*minute)
			b.changed(graph, "a1", 0, 1*minute, "x", 7*minute)
		}, 60 * minute, nil, "a1/0 a1/1"},
		"the clock of the cloud is ahead": {"settled", func(b *tale) {
			b.mark(0, `"kind":"clock","ahead":"30m"`) // 08:55 and 09:02 there are one hour here
			b.state(graph, "a1", 0, "x", 55*minute)
			b.state(graph, "a1", 1, "y", 62*minute)
			b.mark(63*minute, `"kind":"clock","ahead":"-1h"`)
		}, 60 * minute, nil, "a1/1"},
		"answers may be lost, but what is shown no more is not read": {"created", func(b *tale) {
			b.reading = 20 * minute
			b.state(graph, "a1", 0, "x", 1*minute, 2*minute)
			b.state(graph, "a1", 1, "y", 3*minute)
		}, 60 * minute, nil, "a1/0"},
		"answers may be lost": {"settled", func(b *tale) {
			b.reading = 20 * minute
			b.state(graph, "a1", 0, "x", 1*minute, 2*minute)
			b.state(graph, "a1", 1, "y", 8*minute, 40*minute)
		}, 90 * minute, map[string]int{calls[atBorder]: 1}, "a1/1"},
		"an alert that is created anew is another one": {"created", func(b *tale) {
			b.state(graph, "a1", 0, "x", 1*minute)
			b.state(graph, "a1", 1, "x", 20*minute)
			i := slices.IndexFunc(b.truth, func(s string) bool { return strings.Contains(s, `"rev":1,`) && strings.Contains(s, `"issued"`) })
			b.truth[i] = strings.Replace(b.truth[i], `"created":"`+stamp(0), `"created":"`+stamp(minute), 1)
		}, 60 * minute, nil, "a1/0 a1/1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTale()
			tt.write(b)
			v, found := b.judge(t, tt.end, Place{Revisions: tt.revisions})
			open := make(map[string]int)
			for _, x := range v.Excuses {
				open[x.Reason] += x.Missing + x.Present
				if !slices.ContainsFunc(v.Notes, func(n string) bool { return strings.Contains(n, x.Reason) }) {
					t.Errorf("%q is not noted: %q", x.Reason, v.Notes)
				}
			}
			var lost []string
			for _, f := range found {
				lost = append(lost, strings.TrimPrefix(strings.Join(strings.Fields(f)[:2], " "), "lost "))
			}
			if !maps.Equal(open, tt.open) || strings.Join(lost, " ") != tt.lost {
				t.Errorf("open %v, lost %q; want %v, %q", open, lost, tt.open, tt.lost)
			}
			for _, x := range v.Excuses {
				if x.Missing > v.Sum("sink").Excused {
					t.Errorf("%d excused, %d missing", v.Sum("sink").Excused, x.Missing)
				}
			}
		})
	}
}

// The ledger's export says whether a state that a kill may have swallowed was
// stored.
func TestTheLedgerSaysWhatWasStored(t *testing.T) {
	for name, stored := range map[string]bool{"it was stored": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			b := newTale()
			b.state(graph, "a1", 0, "x", 60*time.Second)
			b.mark(62*time.Second, `"kind":"kill"`)
			b.state(graph, "a1", 1, "y", 120*time.Second)
			want := []string{"lost a1/1"}
			if stored {
				b.stored(graph, "a1", 0)
				want = nil // the older one may have been swallowed by the kill, as at any place
			}
			b.stored(graph, "a1", 1)
			v, found := b.judge(t, time.Hour, Place{Revisions: "created"})
			if !slices.Equal(found, want) || len(v.Excuses) > 0 {
				t.Errorf("found %q, want %q; %+v", found, want, v.Excuses)
			}
		})
	}
}

func TestAMarkOfATouchIsHeldAgainstWhatChanged(t *testing.T) {
	for name, tt := range map[string]struct{ second, marks, want string }{
		"a touch that says so":      {"x", `,"touch":true`, ""},
		"a touch that does not":     {"x", "", "unmarked a1/1 a touch, and not marked as one"},
		"a change":                  {"y", "", ""},
		"a change said to be none":  {"y", `,"touch":true`, "unmarked a1/1 marked as a touch, and is none"},
		"of the content is nothing": {"", `,"touch":true`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTale()
			b.state(graph, "a1", 0, "x", 1*minute)
			b.state(graph, "a1", 1, tt.second, 20*minute)
			b.give(graph, "a1", 0, "")
			b.give(graph, "a1", 1, tt.marks)
			if _, found := b.judge(t, time.Hour, Place{Revisions: "all"}); strings.Join(found, "; ") != tt.want {
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

// A touch is told by what was read before it: what came and went between two
// reads was never seen.
func TestATouchIsToldByWhatWasRead(t *testing.T) {
	b := newTale()
	b.state(graph, "a1", 0, "x", 1*minute)
	b.truth = append(b.truth, fmt.Sprintf(`{"t":"issued","at":"%s","tenant":"%s","source":"%s","id":"a1","rev":1,"changed":"%s","created":"%s","visible_at":"%s","content":"%032x"}`,
		stamp(2*minute), tenantA, graph, stamp(2*minute), stamp(0), stamp(2*minute), 7))
	b.state(graph, "a1", 2, "x", 3*minute) // back to what it was
	b.give(graph, "a1", 0, "")
	v, found := b.judge(t, time.Hour, Place{Revisions: "no_touches"})
	if s := v.Sum("sink"); len(found) > 0 || s.PassedOver != 1 {
		t.Errorf("found %q, %+v", found, s)
	}
}

const day = 24 * time.Hour

func TestAnAlertHasOneVoiceAtASink(t *testing.T) {
	only, also := `,"only_here":true`, func(s string) string { return `,"also_told_by":["` + s + `"]` }
	type rec struct {
		source, id string
		marks      string
	}
	for name, tt := range map[string]struct {
		sources []string
		end     time.Duration
		given   []rec
		want    []string
		open    string
	}{
		"what one voice is": {[]string{Primary}, 9 * day, []rec{{graph, "da1", ""}, {graph, "da3", ""}, {"graph.incidents", "1001", ""}, {mde, "2", only}, {mde, "3", only}, {siem, "da1:x=", ""}},
			[]string{"unmarked da1:x=/0 only_here is missing: the primary source does not show the alert", "unwanted da1:x=/0 the primary source tells the alert"}, ""},
		"nothing else is missing":                     {[]string{Primary}, 9 * day, []rec{{graph, "da1", ""}, {graph, "da3", ""}, {"graph.incidents", "1001", ""}, {mde, "2", only}, {mde, "3", only}}, nil, ""},
		"what the primary source never shows is lost": {[]string{graph}, 9 * day, []rec{{graph, "da1", ""}, {graph, "da3", ""}, {mde, "3", only}}, []string{"lost 2/0"}, ""},
		"what it shows after 48 hours too":            {[]string{graph}, 9 * day, []rec{{graph, "da1", ""}, {graph, "da3", ""}, {mde, "2", only}}, []string{"lost 3/0"}, ""},
		"it is told without its mark":                 {[]string{graph}, 9 * day, []rec{{graph, "da1", ""}, {graph, "da3", ""}, {mde, "2", ""}, {mde, "3", only}}, []string{"unmarked 2/0 only_here is missing: the primary source does not show the alert"}, ""},
		"incidents go where they are named": {[]string{graph}, 9 * day, []rec{{graph, "da1", ""}, {graph, "da3", ""}, {"graph.incidents", "1001", ""}, {mde, "2", only}, {mde, "3", only}},
			[]string{"unwanted 1001/0 no route leads here"}, ""},
		"the other source alone": {[]string{mde}, 9 * day, []rec{{mde, "1", ""}, {mde, "2", ""}, {mde, "3", ""}, {graph, "da1", ""}}, []string{"unwanted da1/0 no route leads here"}, ""},
		"two sources name each other": {[]string{graph, mde}, 9 * day, []rec{{graph, "da1", also(mde)}, {graph, "da3", also(mde)}, {mde, "1", also(graph)}, {mde, "2", ""}, {mde, "3", also(graph)}},
			[]string{`unmarked 2/0 also_told_by [], but given here are ["graph.alerts"]`}, ""},
		"before its time": {[]string{graph}, 47 * time.Hour, []rec{{graph, "da1", ""}, {mde, "2", only}}, []string{"unwanted 2/0 " + calls[tooEarly]}, calls[waits]},
		"not yet":         {[]string{graph}, 48 * time.Hour, []rec{{graph, "da1", ""}}, nil, calls[waits]},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTale()
			b.state(graph, "da1", 0, "x", 1*minute)
			b.state("graph.incidents", "1001", 0, "x", 1*minute)
			b.state(mde, "1", 0, "x", 2*minute)
			b.state(mde, "2", 0, "x", 2*minute) // in this source alone
			b.state(mde, "3", 0, "x", 3*minute) // Graph shows it on the third day
			if strings.Contains(strings.Join(tt.sources, ""), Primary) {
				b.state(siem, "da1:x=", 0, "x", 2*minute)
			}
			if tt.end > 3*day {
				b.state(graph, "da3", 0, "x", 60*time.Hour)
			}
			for _, r := range tt.given {
				b.give(r.source, r.id, 0, r.marks)
			}
			b.seq = 0
			v, found := b.judge(t, tt.end, Place{Sources: tt.sources})
			found = slices.DeleteFunc(found, func(f string) bool { return strings.HasPrefix(f, "out of order") })
			if !slices.Equal(found, tt.want) {
				t.Errorf("found %q\nwant %q", found, tt.want)
			}
			if (tt.open != "") != (len(v.Excuses) > 0) || tt.open != "" && v.Excuses[0].Reason != tt.open {
				t.Errorf("open: %+v, want %q", v.Excuses, tt.open)
			}
		})
	}
}

// Which sources a tenant has can be said; else those are that were asked.
func TestThePrimarySourceIsTheFirstThatTheRunReads(t *testing.T) {
	for name, tt := range map[string]struct {
		reads map[string][]string
		want  []string
	}{
		"those that were asked": {nil, []string{"lost a1/0"}},
		"as said":               {map[string][]string{strings.ToUpper(tenantA): {mde}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTale()
			b.reads = tt.reads
			b.state(graph, "a1", 0, "x", 1*minute)
			b.state(mde, "m1", 0, "x", 2*minute)
			marks := `,"only_here":true`
			if tt.reads != nil {
				marks = ""
			}
			b.give(mde, "m1", 0, marks)
			if _, found := b.judge(t, 3*day, Place{Sources: []string{Primary}}); !slices.Equal(found, tt.want) {
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

func TestAPlaceThatIsDescribedWronglyIsRefused(t *testing.T) {
	for want, p := range map[string]Place{
		"known are all":  {Kind: KindFile, Revisions: "touches"},
		"known are grap": {Kind: KindFile, Sources: []string{"graph"}},
		"a ledger takes": {Kind: KindLedger, Revisions: "created"},
	} {
		p.Name = "x"
		if _, err := Judge(Input{Truth: []Log{Text("truth", nil)}, Sinks: []Place{p}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
