package restore

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"drover"
	"drover/internal/lab/estate"
	"drover/internal/lab/splunk"
	"drover/internal/oracle"
	"drover/internal/proof"
	"drover/internal/rig/seeds"
)

// life is what was known when a copy was put back.
type life struct {
	old, copied holding
	sent        map[drover.SinkID]map[string][]string // what the receiver had by then
}

// holding is what a ledger knows.
type holding struct {
	incarnation string
	events      map[drover.Feed]map[uint64]string // event IDs by sequence number
	places      map[drover.SinkID]map[drover.Feed]done
}

// done is a place.
type done struct {
	seq    uint64
	beyond []uint64
}

func (d done) has(seq uint64) bool { return seq <= d.seq || slices.Contains(d.beyond, seq) }

// holds reads the ledger, which nobody has open.
func (w *world) holds() holding {
	w.Helper()
	ctx := context.Background()
	s := w.open()
	h := holding{incarnation: s.Identity().Incarnation, events: make(map[drover.Feed]map[uint64]string), places: make(map[drover.SinkID]map[drover.Feed]done)}
	feeds, err := s.Feeds(ctx)
	w.must(err)
	for _, f := range feeds {
		h.events[f.Feed] = make(map[uint64]string)
		for rev, err := range s.Revisions(ctx, f.Feed, 1) {
			w.must(err)
			h.events[f.Feed][rev.Seq] = rev.EventID(0)
		}
	}
	for _, id := range sinkIDs {
		h.places[id] = make(map[drover.Feed]done)
		places, err := s.Places(ctx, id)
		w.must(err)
		for _, p := range places {
			h.places[id][p.Feed] = done{p.Seq, p.Beyond}
		}
	}
	found, err := s.Check(ctx)
	w.must(err)
	for _, f := range found {
		w.out.others = append(w.out.others, "the ledger is not sound: "+f)
	}
	w.must(s.Close())
	return h
}

// kept lists the event IDs that a receiver has, each with the incarnations that
// sent it, one for each copy.
func (w *world) kept(r *splunk.Receiver, id drover.SinkID) map[string][]string {
	w.Helper()
	w.must(r.Settle())
	ids := make(map[string][]string)
	f, err := os.Open(filepath.Join(w.dir, string(id)+".ndjson"))
	w.must(err)
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct {
			T     string
			Kept  bool
			Event struct {
				Drover struct {
					ID          string `json:"event_id"`
					Incarnation string
				}
			}
		}
		w.must(json.Unmarshal(lines.Bytes(), &e))
		if e.T == "event" && e.Kept {
			ids[e.Event.Drover.ID] = append(ids[e.Event.Drover.ID], e.Event.Drover.Incarnation)
		}
	}
	w.must(lines.Err())
	return ids
}

// seenBefore reports whether an incarnation was one of an earlier life.
func (w *world) seenBefore(incarnation string) bool {
	return slices.ContainsFunc(w.lives, func(l life) bool {
		return l.old.incarnation == incarnation || l.copied.incarnation == incarnation
	})
}

// count adds up, life by life, what the new one owed and the old one had sent,
// and which numbers stand for something else since.
func (w *world) count(last holding) {
	known := make(map[string]bool)
	for _, seqs := range last.events {
		for _, id := range seqs {
			known[id] = true
		}
	}
	forgotten := make(map[string]bool)
	for i := range w.lives {
		l := &w.lives[i]
		end := last // what this life came to
		if i+1 < len(w.lives) {
			end = w.lives[i+1].old
		}
		for f, seqs := range end.events {
			for seq, id := range seqs {
				if before, ok := l.old.events[f][seq]; ok && before != id {
					w.out.reused++
				}
				for sink, sent := range l.sent {
					if sent[id] != nil && !l.copied.places[sink][f].has(seq) && end.places[sink][f].has(seq) {
						w.out.counted++
					}
				}
			}
		}
		for _, seqs := range l.old.events {
			for _, id := range seqs {
				if !known[id] {
					forgotten[id] = true
				}
			}
		}
	}
	w.out.forgotten = len(forgotten)
}

// judge ends the run and asks the oracle. The ledger itself is no place here:
// what only a lost one knew, and the source does not show any more, it cannot
// have; the sinks do.
func (w *world) judge() {
	w.p.stop(false)
	w.lab.Estate().Newest(time.Now(), func(tenant, source string, r *estate.Row) {
		if w.quiet[newest{tenant, source, r.ID, r.Rev}] {
			w.lab.Truth().Event("newest", "tenant", tenant, "source", source, "id", r.ID, "rev", r.Rev)
		}
	})
	w.lab.Truth().Event("end")
	last := w.holds()
	w.count(last)
	for id, places := range last.places {
		for f, d := range places {
			if head := uint64(len(last.events[f])); d.seq != head {
				w.out.others = append(w.out.others, fmt.Sprintf("sink %s stands at %d of %d in %s", id, d.seq, head, f))
			}
		}
	}
	for id, r := range map[drover.SinkID]*splunk.Receiver{sinkHEC: w.hec, sinkAck: w.ack} {
		for _, by := range w.kept(r, id) {
			slices.Sort(by)
			w.out.within += len(by) - len(slices.Compact(slices.Clone(by)))
			w.out.repeats += len(slices.Compact(by)) - 1
		}
	}
	in := func(name string) []oracle.Log { return oracle.Files(filepath.Join(w.dir, name)) }
	files, err := oracle.Glob(filepath.Join(w.dir, "out", "*.ndjson"))
	w.must(err)
	v, err := oracle.Judge(oracle.Input{Grace: grace, Truth: in("truth.ndjson"), Sinks: []oracle.Place{
		{Name: string(sinkFile), Kind: oracle.KindFile, Logs: files, TakesAll: true},
		{Name: string(sinkHEC), Kind: oracle.KindHEC, Logs: in(string(sinkHEC) + ".ndjson"), TakesAll: true},
		{Name: string(sinkAck), Kind: oracle.KindHEC, Logs: in(string(sinkAck) + ".ndjson"), TakesAll: true},
	}})
	w.must(err)
	for _, f := range v.Findings {
		// A repeat that a restored ledger is the cause of looks like one
		// without a cause; it is counted instead.
		if f.Fault != oracle.Repeated || f.Place == string(sinkFile) {
			w.out.others = append(w.out.others, fmt.Sprintf("%s: %d at %s of %s, such as %+v", f.Fault, f.Count, f.Place, f.Customer, f.Examples[0]))
		}
	}
	w.out.shown = v.Shown()
	w.out.lost = v.Sum("").Lost
	w.out.inFile = v.Sum(string(sinkFile)).Repeated
	if n := v.Sum(string(sinkHEC)).Repeated + v.Sum(string(sinkAck)).Repeated; n != w.out.repeats+w.out.within {
		w.out.others = append(w.out.others, fmt.Sprintf("the oracle counts %d repeats, this rig %d and %d", n, w.out.repeats, w.out.within))
	}
}

// usual are the seeds of the tier for every commit.
var usual = []uint64{1, 2, 3, 4}

func TestAnOlderLedgerPutBackLosesNothingAtTheSinks(t *testing.T) {
	var sum outcome
	n := 0
	list, _, err := seeds.List(usual...)
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range list {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			out := run(t, seed)
			t.Logf("seed=%d shown=%d restores=%d reused=%d forgotten=%d lost=%d repeats=%d counted=%d file_repeats=%d", seed, out.shown, out.restores, out.reused, out.forgotten, out.lost, out.repeats, out.counted, out.inFile)
			for _, s := range out.others {
				t.Error(s)
			}
			if out.lost > 0 || out.inFile > 0 {
				t.Errorf("lost %d, repeated in the file %d", out.lost, out.inFile)
			}
			if out.repeats != out.counted {
				t.Errorf("%d repeats at the append sinks, and %d that a life which was forgotten had sent", out.repeats, out.counted)
			}
			if out.within > out.underway {
				t.Errorf("%d repeats within a life, %d records were under way when it was stopped", out.within, out.underway)
			}
			if out.incarnated != out.restores {
				t.Errorf("%d restores, %d new incarnations", out.restores, out.incarnated)
			}
			n++
			sum.restores += out.restores
			sum.shown += out.shown
			sum.reused += out.reused
			sum.forgotten += out.forgotten
			sum.lost += out.lost
			sum.repeats += out.repeats
			sum.counted += out.counted
			sum.within += out.within
			sum.inFile += out.inFile
			sum.told += out.told
			sum.vouched += out.vouched
		})
	}
	if sum.reused == 0 || sum.told == 0 || sum.counted == 0 || sum.forgotten == 0 {
		t.Errorf("the rig does not reach what it is for: %+v", sum)
	}
	proof.Ran(t, "manifest.restore", "%d seeds, %d older ledgers put back: %d manifests of %d alerts at files and HEC, false alarms 0", n, sum.restores, sum.told, sum.vouched)
	proof.Ran(t, "S23", "%d seeds, %d older ledgers put back behind file and HEC (%d numbers given anew): of %d revisions lost %d; repeats at HEC %d, counted %d (and %d of a batch under way at a stop); repeats in the file %d",
		n, sum.restores, sum.reused, sum.shown, sum.lost, sum.repeats, sum.counted, sum.within, sum.inFile)
}
