package auditing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/audit"
	"drover/internal/lab/estate"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// filtered hands a source's pages on as f has them.
type filtered struct {
	drover.Source
	f func(page *drover.Page)
}

type filteredPass struct {
	drover.Pass
	f func(page *drover.Page)
}

func (s filtered) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return filteredPass{s.Source.Read(t, span), s.f}
}

func (p filteredPass) Next(ctx context.Context) (drover.Page, error) {
	page, err := p.Pass.Next(ctx)
	if err == nil {
		p.f(&page)
	}
	return page, err
}

// without leaves rows out of a page.
func without(page *drover.Page, drop func(*drover.Row) bool) {
	var rows []drover.Row
	for i := range page.Rows {
		if !drop(&page.Rows[i]) {
			rows = append(rows, page.Rows[i])
		}
	}
	page.Rows = rows
}

// dropsAPage is a reader that loses its third page, and knows it ever after: no
// sweep brings the rows back.
func dropsAPage(w *world, s drover.Source) drover.Source {
	if s.ID() != drover.GraphAlerts {
		return s
	}
	lost := make(map[string]bool)
	n := 0
	return filtered{s, func(page *drover.Page) {
		if n++; n == 3 {
			for i := range page.Rows {
				lost[page.Rows[i].ID] = true
			}
			w.dropped.Store(int64(len(lost)))
		}
		without(page, func(r *drover.Row) bool { return lost[r.ID] })
	}}
}

// view is the ledger as the audit is shown it.
type view struct {
	audit.Store
	keys   func([]ledger.Key) []ledger.Key
	body   func(*drover.Revision)
	places func([]ledger.Place)
}

func (v view) Keys(ctx context.Context, f drover.Feed, span drover.Span, unknown bool) ([]ledger.Key, error) {
	keys, err := v.Store.Keys(ctx, f, span, unknown)
	if v.keys != nil {
		keys = v.keys(keys)
	}
	return keys, err
}

func (v view) Body(ctx context.Context, f drover.Feed, seq uint64) (drover.Revision, error) {
	rev, err := v.Store.Body(ctx, f, seq)
	if v.body != nil && err == nil {
		v.body(&rev)
	}
	return rev, err
}

func (v view) Places(ctx context.Context, s drover.SinkID) ([]ledger.Place, error) {
	places, err := v.Store.Places(ctx, s)
	if v.places != nil {
		v.places(places)
	}
	return places, err
}

// plain is a story without anything odd.
var plain = estate.Options{Backlog: 150, BacklogSpan: 3 * 24 * time.Hour, PerMinute: 0.2, Horizon: 2 * time.Hour, Updates: 0.5}

// finding is what an audit must name: n of a kind, and nothing else that is
// unexplained.
type finding struct {
	what, where string
	n           int
}

// plant is a fault of the product, or damage behind its back.
type plant struct {
	setting
	damage func(w *world)
	want   func(w *world) []finding
}

// losesRows is a reader of one source that drops some rows.
func losesRows(source drover.SourceID) plant {
	o := estate.Options{Backlog: 60, BacklogSpan: 48 * time.Hour, SIEM: source == drover.SIEMDetections, Incidents: source == drover.GraphIncidents, MDE: source == drover.MDEAlerts}
	return plant{setting: setting{stories: []estate.Options{o}, source: func(w *world, s drover.Source) drover.Source {
		if s.ID() != source {
			return s
		}
		return filtered{s, func(page *drover.Page) {
			without(page, func(r *drover.Row) bool { return ledger.AlertHash(r.ID)[0]%4 == 1 })
		}}
	}}, want: func(*world) []finding { return []finding{{audit.Missing, "ledger", -1}} }}
}

func TestEveryPlantedFaultIsNamedAsWhatItIs(t *testing.T) {
	stalled := func(w *world, id drover.SinkID, s drover.Sink) drover.Sink {
		if id != archive {
			return s
		}
		return stuck{s, w}
	}
	plants := map[string]plant{
		"the reader drops a page": {
			setting: setting{source: dropsAPage},
			want:    func(w *world) []finding { return []finding{{audit.Missing, "ledger", int(w.dropped.Load())}} },
		},
		"the reader drops every row of some minutes": {
			setting: setting{source: func(w *world, s drover.Source) drover.Source {
				from, to := drover.InstantOf(epoch.Add(-30*time.Hour)), drover.InstantOf(epoch.Add(-20*time.Hour))
				return filtered{s, func(page *drover.Page) {
					without(page, func(r *drover.Row) bool { return r.Created >= from && r.Created < to })
				}}
			}},
			want: func(w *world) []finding { return []finding{{audit.Missing, "ledger", -1}} },
		},
		"the reader of detections drops rows":            losesRows(drover.SIEMDetections),
		"the reader of incidents drops rows":             losesRows(drover.GraphIncidents),
		"the reader of Defender for Endpoint drops rows": losesRows(drover.MDEAlerts),
		"the reader alters a row": {
			setting: setting{source: func(w *world, s drover.Source) drover.Source {
				return filtered{s, func(page *drover.Page) {
					for i := range page.Rows {
						if r := &page.Rows[i]; strings.HasSuffix(r.ID, "7_1") {
							r.Raw = bytes.Replace(r.Raw, []byte(`"title":"`), []byte(`"title":"Not `), 1)
							r.Sum = sha256.Sum256(r.Raw)
						}
					}
				}}
			}},
			want: func(w *world) []finding { return []finding{{audit.Altered, "ledger", -1}} },
		},
		"the reader does not see that a row is another tenant's": {
			setting: setting{stories: []estate.Options{{Backlog: 60, BacklogSpan: 48 * time.Hour, Foreign: 4}}, source: func(w *world, s drover.Source) drover.Source {
				return filtered{s, func(page *drover.Page) {
					for i := range page.Rows {
						page.Rows[i].TenantID = ""
					}
				}}
			}},
			// The API shows it, and the ledger has it as this tenant's own.
			want: func(w *world) []finding { return []finding{{audit.Foreign, "ledger", -1}} },
		},
		"the ledger has a key twice": {
			setting: setting{audited: func(w *world, s audit.Store) audit.Store {
				return view{Store: s, keys: func(keys []ledger.Key) []ledger.Key {
					if len(keys) > 10 {
						return append(keys, keys[3], keys[7])
					}
					return keys
				}}
			}},
			want: func(w *world) []finding { return []finding{{audit.Twice, "ledger", 2}} },
		},
		"the ledger has lost rows": {
			setting: setting{audited: func(w *world, s audit.Store) audit.Store {
				var gone []ledger.Key
				return view{Store: s, keys: func(keys []ledger.Key) []ledger.Key {
					if gone == nil && len(keys) > 100 {
						newest := make(map[drover.Hash]ledger.Key)
						for _, k := range keys {
							newest[k.Alert] = k
						}
						for _, k := range keys[20:60] {
							if newest[k.Alert] == k && len(gone) < 5 {
								gone = append(gone, k)
							}
						}
					}
					var rest []ledger.Key
					for _, k := range keys {
						lost := false
						for _, g := range gone {
							lost = lost || g == k
						}
						if !lost {
							rest = append(rest, k)
						}
					}
					return rest
				}}
			}},
			want: func(w *world) []finding {
				return []finding{{audit.Missing, "ledger", 5}, {audit.Extra, "sink", 5}}
			},
		},
		"the ledger gives out other bytes": {
			setting: setting{audited: func(w *world, s audit.Store) audit.Store {
				return view{Store: s, body: func(r *drover.Revision) {
					if r.Seq == 9 {
						r.Raw = bytes.Replace(r.Raw, []byte(`"title":"`), []byte(`"title":"x`), 1)
					}
				}}
			}},
			want: func(w *world) []finding { return []finding{{audit.Altered, "ledger", 1}} },
		},
		"a place stands beyond what is accounted for": {
			setting: setting{sink: stalled, audited: func(w *world, s audit.Store) audit.Store {
				return view{Store: s, places: func(list []ledger.Place) {
					for i := range list {
						if list[i].Sink == soc {
							list[i].Seq -= 4
						}
					}
				}}
			}},
			want: func(w *world) []finding { return []finding{{audit.Place, "sink", 4}} },
		},
		"a place was moved over rows that were never sent": {
			setting: setting{sink: stalled},
			damage: func(w *world) {
				p, err := w.store.Place(context.Background(), archive, w.feed(0))
				w.must(err)
				w.must(w.store.Settle(context.Background(), ledger.Settle{Sink: archive, Done: []drover.Range{{Feed: w.feed(0), First: p.Seq + 1, Last: p.Seq + 6}}, Taken: 6}))
			},
			want: func(w *world) []finding { return []finding{{audit.Missing, "sink", 6}} },
		},
		"a sink says that it took what it lost": {
			setting: setting{sink: func(w *world, id drover.SinkID, s drover.Sink) drover.Sink {
				if id != archive {
					return s
				}
				return forgetful{s, w}
			}},
			want: func(w *world) []finding { return []finding{{audit.Missing, "sink", int(w.dropped.Load())}} },
		},
		"rows are gone from a sink": {
			damage: func(w *world) {
				lines := w.lines(0)
				w.write(0, append(lines[:40:40], lines[43:]...))
			},
			want: func(w *world) []finding { return []finding{{audit.Missing, "sink", 3}} },
		},
		"a record stands twice at a sink": {
			damage: func(w *world) {
				lines := w.lines(0)
				w.write(0, append(lines, lines[5], lines[6]))
			},
			want: func(w *world) []finding { return []finding{{audit.Twice, "sink", 2}} },
		},
		"a record was altered at a sink": {
			damage: func(w *world) {
				lines := w.lines(0)
				lines[17] = strings.Replace(lines[17], `"severity":"`, `"severity":"x`, 1)
				w.write(0, lines)
			},
			want: func(w *world) []finding { return []finding{{audit.Altered, "sink", 1}} },
		},
		"another tenant's record stands at a sink": {
			setting: setting{stories: []estate.Options{plain, plain}},
			damage: func(w *world) {
				w.write(0, append(w.lines(0), w.lines(1)[3]))
			},
			want: func(w *world) []finding { return []finding{{audit.Foreign, "sink", 1}} },
		},
		"a record at a sink is nobody's": {
			damage: func(w *world) {
				lines := w.lines(0)
				made := strings.Replace(lines[2], `"event_id":"`, `"event_id":"00000000`, 1)
				at := strings.Index(made, `","tenant"`)
				made = made[:at-8] + made[at:]
				made = strings.Replace(made, `"alert_id":"`, `"alert_id":"made-up-`, 1)
				w.write(0, append(lines, made))
			},
			want: func(w *world) []finding { return []finding{{audit.Extra, "sink", 1}} },
		},
	}
	named, rows := 0, 0
	for name, p := range plants {
		t.Run(name, func(t *testing.T) {
			if p.stories == nil {
				p.stories = []estate.Options{plain}
			}
			story(t, p.setting, func(w *world) {
				w.pass(3 * time.Hour)
				if p.damage != nil {
					p.damage(w)
				}
				r := w.audit(4 * 24 * time.Hour)
				all := 0
				for _, f := range p.want(w) {
					n := count(r, f.what, f.where, audit.Unexplained)
					if n == 0 || f.n >= 0 && n != f.n {
						t.Errorf("%s at %s: %d, want %d", f.what, f.where, n, f.n)
					}
					all += n
				}
				if n := count(r, "", "", audit.Unexplained); n != all || r.Verdict != audit.Differ {
					t.Errorf("%s; %d unexplained, %d of them planted", r.Verdict, n, all)
				}
				rows += all
				if t.Failed() {
					t.Log(summary(r))
				} else {
					named++
				}
			})
		})
	}
	proof.Ran(t, "I23", "%d of %d planted faults named as what they are, %d rows; unexplained beside them 0", named, len(plants), rows)
}

// stuck is a sink that takes nothing once the backlog is in.
type stuck struct {
	drover.Sink
	w *world
}

func (s stuck) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	if s.w.now().After(epoch.Add(10 * time.Minute)) {
		return drover.Taken{}, &drover.Error{Op: "deliver", Kind: drover.Transient, Err: fmt.Errorf("out of order")}
	}
	return s.Sink.Deliver(ctx, b)
}

// forgetful is a sink that drops every twentieth record and says nothing.
type forgetful struct {
	drover.Sink
	w *world
}

func (s forgetful) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	kept := b
	kept.Records, kept.Lines = nil, nil
	for i, r := range b.Records {
		if i%20 == 19 {
			s.w.dropped.Add(1)
			continue
		}
		kept.Records = append(kept.Records, r)
	}
	taken, err := s.Sink.Deliver(ctx, kept)
	if err == nil {
		taken.N = len(b.Records)
	}
	return taken, err
}
