package auditing

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/audit"
	"drover/internal/httpx"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// rich is a story with everything that an API may show and nothing wrong.
var rich = estate.Options{Backlog: 80, BacklogSpan: 5 * 24 * time.Hour, PerMinute: 0.3, Horizon: 4 * time.Hour, Updates: 1, Ties: 20, LateShare: 0.05, LateMax: 30 * time.Minute,
	Silent: 0.1, Shuffle: true, LiveField: true, Twins: 3, Unnamed: 3, Foreign: 3, Bad: 6, SIEM: true, Reprocess: true, Incidents: true, MDE: true}

func TestACleanRunAgreesWhateverTheAPIDoes(t *testing.T) {
	faults := []fault.Rule{{}, {Kind: fault.Unordered}, {Kind: fault.NoLink}, {Kind: fault.LinkRefused}, {Kind: fault.LoopLink}, {Kind: fault.EndlessLinks}, {Kind: fault.EmptyPage}, {Kind: fault.Overlap, Param: 5},
		{Kind: fault.Clamp, Param: 7}, {Kind: fault.TopIgnored, Param: 13}, {Kind: fault.TopRefused, Param: 20}, {Kind: fault.ForeignLink, Value: "https://elsewhere.test/x"},
		{Kind: fault.NewestOnly, API: "siem", Param: 9}, {Kind: fault.Status, Param: 503, Share: 0.3}, {Kind: fault.Reset, Share: 0.2}, {Kind: fault.Truncated, Param: 500, Share: 0.2}, {Kind: fault.Status, Param: 429, Share: 0.2}}
	rows, agreed, wrong := 0, 0, 0
	story(t, setting{stories: []estate.Options{rich}}, func(w *world) {
		w.pass(7 * time.Hour)
		for _, f := range faults {
			if f.Kind != "" {
				w.lab.Faults().Set(f)
			}
			r := w.audit(6 * 24 * time.Hour)
			w.lab.Faults().Clear()
			shown := 0
			for _, rf := range r.Feeds {
				source := string(rf.Source)
				w.lab.Estate().See(string(rf.Tenant), source, w.now(), func(v estate.View) {
					shown = 0
					for _, row := range v.Rows {
						if at := row.Changed; source != estate.SIEM || drover.InstantOf(at) < r.Window.To { // else it has moved on since
							shown++
						}
					}
				})
				if rf.Counts.API < shown {
					t.Errorf("fault %q: the audit has read %d rows of %d of %s", f.Kind, rf.Counts.API, shown, rf.Source)
				}
				rows += rf.Counts.API
			}
			n := count(r, "", "", audit.Unexplained)
			wrong += n
			if r.Verdict != audit.Agree || n > 0 {
				t.Errorf("fault %q: %s\n%s", f.Kind, r.Verdict, summary(r))
			} else {
				agreed++
			}
		}
	})
	proof.Ran(t, "I23", "%d of %d clean runs agree under as many faults of the API, %d rows; false alarms %d", agreed, len(faults), rows, wrong)
}

// between calls f once, before the n-th request of the audit.
type between struct {
	audit.Doer
	n    *atomic.Int64
	at   int64
	then func()
}

func (b between) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	if b.n.Add(1) == b.at {
		b.then()
	}
	return b.Doer.Do(ctx, r)
}

func TestWhatIsAccountedForIsExplainedAndDoesNotDiffer(t *testing.T) {
	type want struct {
		what, where, why string
		n                int // -1: some
	}
	var w *world // of the case that runs
	cases := map[string]struct {
		setting
		prepare func()
		want    []want
		feed    func(f *audit.ReportFeed) int // what of its counts must not be 0
		sink    func(s *audit.ReportSink) int // what of a sink's counts must not be 0
		verdict audit.Verdict
	}{
		"late: it became visible just before, under an older time": {
			prepare: func() {
				at := w.now().Add(-10 * time.Minute)
				w.lab.Estate().Put(w.tenant(0), estate.Graph, estate.Row{ID: "da-late", Created: at, Changed: at, Visible: w.now()})
			},
			want: []want{{audit.Missing, "ledger", audit.WhyLate, 1}},
		},
		"pending: the tenant is paused": {
			prepare: func() {
				w.must(w.store.SetTenantState(context.Background(), drover.TenantID(w.tenant(0)), drover.Paused))
				w.pass(20 * time.Minute)
				for n := range 3 {
					w.lab.Estate().Put(w.tenant(0), estate.Graph, estate.Row{ID: fmt.Sprint("da-new-", n), Created: w.now(), Changed: w.now(), Visible: w.now()})
				}
				w.pass(time.Minute)
			},
			want: []want{{audit.Missing, "ledger", audit.WhyPending, 3}},
		},
		"pending at a sink that is out of order": {
			setting: setting{sink: func(w *world, id drover.SinkID, s drover.Sink) drover.Sink {
				if id == archive {
					return stuck{s, w}
				}
				return s
			}},
			sink: func(s *audit.ReportSink) int { return s.Pending },
		},
		"not routed": {
			setting: setting{unrouted: func(_ drover.Tenant, s drover.SinkID) bool { return s == archive }},
			sink:    func(s *audit.ReportSink) int { return s.NotRouted },
		},
		"set aside at a sink": {
			setting: setting{sink: func(_ *world, id drover.SinkID, s drover.Sink) drover.Sink {
				if id == archive {
					return refusing{s}
				}
				return s
			}},
			sink: func(s *audit.ReportSink) int { return s.SetAside },
		},
		"set aside, foreign": {
			setting: setting{stories: []estate.Options{{Backlog: 40, BacklogSpan: 48 * time.Hour, Bad: 5, Foreign: 4, Shuffle: true}}},
			want:    []want{{"", "ledger", audit.WhySetAside, -1}, {audit.Foreign, "ledger", audit.WhyForeign, 4}},
		},
		"a gap covers it": {
			prepare: func() {
				at := w.now()
				w.lab.Faults().Set(fault.Rule{Kind: fault.PoisonAt, Value: "da-poison"})
				w.lab.Estate().Put(w.tenant(0), estate.Graph, estate.Row{ID: "da-poison", Created: at, Changed: at, Visible: at})
				for range 90 {
					if w.pass(time.Minute); w.gaps(0) > 0 {
						break
					}
				}
				w.pass(30 * time.Minute)
				w.lab.Faults().Clear()
			},
			want: []want{{audit.Missing, "ledger", audit.WhyGap, -1}},
		},
		"not owed: from before the tenant's start": {
			setting: setting{start: 24 * time.Hour},
			want:    []want{{audit.Missing, "ledger", audit.WhyNotOwed, -1}},
		},
		"bytes that the retention has taken": {
			setting: setting{stories: []estate.Options{{Backlog: 80, BacklogSpan: 48 * time.Hour, Shuffle: true, Updates: 0.5}}},
			prepare: func() { w.prune(ledger.PruneOrder{Bodies: time.Hour}) },
			feed:    func(f *audit.ReportFeed) int { return f.Counts.KeyOnly },
		},
		"bytes that the retention has taken, of alerts that the API has forgotten": {
			prepare: func() {
				w.prune(ledger.PruneOrder{Bodies: time.Hour})
				w.lab.Faults().Set(fault.Rule{Kind: fault.Forgets, Param: 74})
			},
			want: []want{{audit.Extra, "api", audit.WhyRetention, -1}},
		},
		"a gap at a sink that held back too much": {
			setting: setting{sink: func(w *world, id drover.SinkID, s drover.Sink) drover.Sink {
				if id == archive {
					return stuck{s, w}
				}
				return s
			}},
			prepare: func() { w.prune(ledger.PruneOrder{Bodies: time.Minute, Hold: time.Minute}) },
			sink:    func(s *audit.ReportSink) int { return s.Gap },
		},
		"files that were taken away": {
			setting: setting{fileSize: 200_000},
			prepare: func() {
				away, err := filepath.Glob(filepath.Join(w.dir, "out", "*Z-*.ndjson"))
				w.must(err)
				if len(away) < 2 {
					w.Fatal("nothing was put away")
				}
				w.must(os.Remove(away[1]))
			},
			want: []want{{audit.Missing, "sink", audit.WhyMoved, -1}},
		},
		"more contents under one change time than are taken": {
			prepare: func() {
				w.lab.Estate().Put(w.tenant(0), estate.Graph, estate.Row{ID: "da-restless", Created: w.now(), Changed: w.now(), Visible: w.now()})
				for range 4 {
					w.pass(150 * time.Second)
					w.lab.Estate().Change(w.tenant(0), "da-restless", w.now(), true)
				}
				w.pass(150 * time.Second)
			},
			want: []want{{audit.Altered, "ledger", audit.WhyUnstable, 1}},
		},
		"superseded while the audit ran": {
			setting: setting{doer: func(d audit.Doer) audit.Doer {
				return between{d, new(atomic.Int64), 4, func() {
					for n := range 4 {
						w.lab.Estate().Change(w.tenant(0), w.alert(n), w.now(), false)
					}
					w.pass(3 * time.Minute)
				}}
			}},
		},
		"vanished: the API shows it no more": {
			prepare: func() {
				w.lab.Faults().Set(fault.Rule{Kind: fault.Forgets, Param: 74})
			},
			want: []want{{audit.Extra, "api", audit.WhyVanished, -1}},
		},
		"the API shows nothing": {
			prepare: func() { w.lab.Faults().Set(fault.Rule{Kind: fault.NoRows}) },
			want:    []want{{audit.Extra, "api", audit.WhyVanished, -1}}, verdict: audit.CannotTell,
		},
		"the API refuses": {
			prepare: func() { w.lab.Faults().Set(fault.Rule{Kind: fault.Status, Param: 403}) },
			verdict: audit.CannotTell,
		},
		"a product did not answer": {
			prepare: func() {
				w.lab.Faults().Set(fault.Rule{Kind: fault.Provider, Value: "microsoftDefenderForEndpoint"})
			},
			verdict: audit.CannotTell,
		},
		"the API is out of order all the time": {
			prepare: func() { w.lab.Faults().Set(fault.Rule{Kind: fault.Status, Param: 503}) },
			verdict: audit.CannotTell,
		},
	}
	explained, alarms := 0, 0
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if c.stories == nil {
				c.stories = []estate.Options{plain}
			}
			if c.verdict == "" {
				c.verdict = audit.Agree
			}
			story(t, c.setting, func(world *world) {
				w = world
				w.pass(3 * time.Hour)
				if c.prepare != nil {
					c.prepare()
				}
				r := w.auditQuietly(epoch.Add(-4*24*time.Hour), w.now())
				alarms += count(r, "", "", audit.Unexplained)
				if r.Verdict != c.verdict || count(r, "", "", audit.Unexplained) > 0 {
					t.Errorf("%s, want %s\n%s", r.Verdict, c.verdict, summary(r))
				}
				for _, d := range c.want {
					n := count(r, d.what, d.where, d.why)
					if n == 0 || d.n >= 0 && n != d.n {
						t.Errorf("%s: %d, want %d\n%s", d.why, n, d.n, summary(r))
					}
					explained += n
				}
				if c.feed != nil {
					n := c.feed(r.Feeds[0])
					if n == 0 {
						t.Errorf("nothing of that kind was counted\n%s", summary(r))
					}
					explained += n
				}
				if c.sink != nil {
					n := c.sink(r.Feeds[0].Sinks[0])
					if n == 0 {
						t.Errorf("nothing of that kind at the sink\n%s", summary(r))
					}
					explained += n
				}
				if n := count(r, "", "", ""); c.verdict == audit.CannotTell && c.want == nil && n > 0 {
					t.Errorf("%d differences in what could not be read\n%s", n, summary(r))
				}
				if c.verdict == audit.CannotTell && len(r.Feeds[0].CannotTell) == 0 {
					t.Error("it does not say why it cannot tell")
				}
			})
		})
	}
	proof.Ran(t, "I23", "%d rows explained in %d cases (late, pending, gap, not routed, set aside, foreign, superseded, vanished, retention, unstable, moved away, not owed; four that cannot be told); false alarms %d", explained, len(cases), alarms)
}

// refusing is a sink that never takes each tenth record.
type refusing struct{ drover.Sink }

func (s refusing) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	kept, refused := b, []drover.Refusal(nil)
	kept.Records, kept.Lines = nil, nil
	for i, r := range b.Records {
		if i%10 == 9 {
			refused = append(refused, drover.Refusal{Index: i, Reason: "it does not like it"})
			continue
		}
		kept.Records = append(kept.Records, r)
	}
	taken, err := s.Sink.Deliver(ctx, kept)
	if err == nil {
		taken.N, taken.Refused = len(b.Records), refused
	}
	return taken, err
}
