package deliver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/ledger"
	"drover/internal/proof"
)

// speak gives the first tenant more sources.
func (w *world) speak(sources ...drover.SourceID) {
	w.Helper()
	t, err := w.store.Tenant(context.Background(), id(0))
	if err != nil {
		w.Fatal(err)
	}
	t.Sources = append(t.Sources, sources...)
	if err := w.store.UpdateTenant(context.Background(), t); err != nil {
		w.Fatal(err)
	}
	for _, s := range sources {
		f := drover.Feed{Tenant: id(0), Source: s}
		st, err := w.store.Take(context.Background(), f)
		if err != nil {
			w.Fatal(err)
		}
		w.epochs[f] = st.Epoch
	}
}

// show stores an alert as a source shows it.
func (w *world) show(s drover.SourceID, alert string, created time.Duration) {
	w.Helper()
	f := drover.Feed{Tenant: id(0), Source: s}
	w.n[f]++
	at := drover.InstantOf(time.Now())
	raw := fmt.Appendf(nil, `{"id":%q,"n":%d}`, alert, w.n[f])
	rev := drover.Revision{AlertID: alert, Changed: at + drover.Instant(w.n[f]), Created: at.Add(-created), Sum: sha256.Sum256(raw), Raw: raw}
	if _, err := w.store.Commit(context.Background(), ledger.Commit{Feed: f, Epoch: w.epochs[f], Revisions: []drover.Revision{rev}, Whole: drover.NoInstant}); err != nil {
		w.Fatal(err)
	}
	if w.d != nil {
		w.d.Hint(f, 1)
	}
}

// heard is what a sink was sent, by source and alert, in order.
type heard struct {
	*siem
	ids   []string
	marks map[string]string
}

func newHeard() *heard {
	h := &heard{siem: newSIEM(), marks: make(map[string]string)}
	h.fail = func(b drover.Batch) (drover.Taken, error) { h.note(b); return drover.Taken{N: len(b.Records)}, nil }
	return h
}

func (h *heard) note(b drover.Batch) {
	for i := range b.Records {
		_, rest, _ := bytes.Cut(b.Records[i].Body, []byte(`"alert_id":"`))
		alert, _, _ := bytes.Cut(rest, []byte(`"`))
		key := string(b.Records[i].Source) + " " + string(alert)
		h.ids = append(h.ids, key)
		for _, m := range []string{`"only_here":true`, `"also_told_by":["graph.alerts"]`, `"also_told_by":["mde.alerts"]`} {
			if bytes.Contains(b.Records[i].Body, []byte(m)) {
				h.marks[key] = m
			}
		}
	}
}

// sent is what was sent until now.
func (h *heard) sent() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ids)
}

const day = 24 * time.Hour

func TestWhatThePrimarySourceDoesNotShowIsToldByAnother(t *testing.T) {
	twice, untold, told, early := 0, 0, 0, 0
	story(t, 1, func(w *world) {
		w.speak(drover.MDEAlerts, drover.SIEMDetections)
		w.voice = func(_ drover.Tenant, from drover.SourceID, s drover.SinkID) bool {
			return from == drover.GraphAlerts && s == "soc"
		}
		soc, other := newHeard(), newHeard()
		down := false
		soc.fail = func(b drover.Batch) (drover.Taken, error) {
			soc.note(b)
			if down {
				soc.take(&b.Records[0])
				return drover.Taken{}, passing()
			}
			return drover.Taken{N: len(b.Records)}, nil
		}
		begin := func() {
			w.begin(deliver.Destination{ID: "soc", Sink: asking{soc.siem}}, deliver.Destination{ID: "other", Sink: other})
		}
		w.show(drover.MDEAlerts, "da1_1", time.Hour) // both say the same of it
		w.show(drover.GraphAlerts, "da1_1", time.Hour)
		w.show(drover.GraphAlerts, "ed2_-2", time.Minute) // another spelling, created at another time, long ago
		w.pass(5 * day)
		w.show(drover.MDEAlerts, "2_-2", 6*day)
		w.show(drover.MDEAlerts, "da3_3", time.Hour) // Graph shows it 40 hours late
		w.show(drover.SIEMDetections, "da1_1:aa=", 5*day+2*time.Hour)
		w.show(drover.SIEMDetections, "4_4:aa=", time.Hour)
		w.show(drover.SIEMDetections, "4_4:bb=", time.Hour)
		w.show(drover.GraphAlerts, "da4_4", 2*time.Hour)
		w.show(drover.MDEAlerts, "da5_5", time.Hour)             // in MDE alone
		w.show(drover.SIEMDetections, "da6_6:aa=", 30*time.Hour) // in detections alone
		begin()
		w.pass(40 * time.Hour)
		w.show(drover.GraphAlerts, "da3_3", 41*time.Hour)
		w.pass(7 * time.Hour)
		primary := []string{"graph.alerts da1_1", "graph.alerts ed2_-2", "graph.alerts da4_4", "graph.alerts da3_3"}
		if got := soc.sent(); !slices.Equal(got, primary) {
			early += len(got) - len(primary)
			t.Errorf("after 47 hours: %q", got)
		}
		soc.mu.Lock()
		down = true
		soc.mu.Unlock()
		w.pass(2 * time.Hour)
		w.stop()
		down = false
		begin()
		w.pass(time.Hour)
		counts, owed, others := w.tallied("soc"), w.owed("soc"), w.tallied("other")
		w.stop()
		got := soc.sent()[len(primary):]
		slices.Sort(got)
		got = slices.Compact(got)
		if want := []string{"mde.alerts da5_5", "siem.detections da6_6:aa="}; !slices.Equal(got, want) {
			t.Errorf("the others told %q, want %q", got, want)
		}
		for _, key := range soc.ids {
			switch lone := slices.Contains(got, key); {
			case lone && soc.marks[key] == `"only_here":true`:
				told++
			case lone || soc.marks[key] != "":
				t.Errorf("%s is marked %q", key, soc.marks[key])
			}
		}
		twice, untold = twice+max(len(got)-2, 0), untold+max(2-len(got), 0)
		if soc.repeats() != 0 {
			t.Errorf("%d repeats", soc.repeats())
		}
		if !maps.Equal(counts, map[string]int{"taken": 6, "unrouted": 6}) || owed != 0 {
			t.Errorf("counted %v, %d owed", counts, owed)
		}
		if !maps.Equal(others, map[string]int{"unrouted": 12}) || len(other.ids) != 0 {
			t.Errorf("where no route leads: counted %v, %q arrived", others, other.ids)
		}
		w.sound()
	})
	proof.Ran(t, "one.voice", "alerts in two sources, under other spellings and 40 h late: told twice %d; in one only, told before 48 h %d, not told %d, told and marked %d times", twice, early, untold, told)
}

func TestWhoElseTellsAnAlertIsInTheRecordWhereASinkTakesBoth(t *testing.T) {
	story(t, 1, func(w *world) {
		w.speak(drover.MDEAlerts, drover.GraphIncidents)
		w.voice = func(_ drover.Tenant, from drover.SourceID, s drover.SinkID) bool {
			return from != drover.MDEAlerts || s == "both"
		}
		one, both := newHeard(), newHeard()
		w.show(drover.GraphAlerts, "da1_1", 0)
		w.show(drover.MDEAlerts, "da1_1", 0)
		w.show(drover.GraphIncidents, "7", 0)
		w.begin(deliver.Destination{ID: "one", Sink: one}, deliver.Destination{ID: "both", Sink: both})
		w.pass(time.Minute)
		if want := map[string]string{"graph.alerts da1_1": `"also_told_by":["mde.alerts"]`, "mde.alerts da1_1": `"also_told_by":["graph.alerts"]`}; !maps.Equal(both.marks, want) || len(both.ids) != 3 {
			t.Errorf("a sink that takes both got %q, marked %v", both.ids, both.marks)
		}
		if len(one.marks) != 0 || len(one.ids) != 2 {
			t.Errorf("a sink that takes one got %q, marked %v", one.ids, one.marks)
		}
	})
}

func TestOfAPausedTenantNothingIsWaitedFor(t *testing.T) {
	story(t, 1, func(w *world) {
		w.speak(drover.MDEAlerts)
		w.voice = func(_ drover.Tenant, from drover.SourceID, _ drover.SinkID) bool { return from == drover.GraphAlerts }
		soc := newHeard()
		w.show(drover.GraphAlerts, "da1_1", 0)
		w.show(drover.MDEAlerts, "da1_1", 0)
		w.show(drover.MDEAlerts, "da2_2", 0)
		w.begin(deliver.Destination{ID: "soc", Sink: soc})
		w.pass(time.Hour)
		if got := soc.sent(); len(got) != 1 || w.owed("soc") != 2 {
			t.Errorf("%q arrived, %d owed", got, w.owed("soc"))
		}
		if err := w.store.SetTenantState(context.Background(), id(0), drover.Paused); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Minute)
		if got := soc.sent(); !slices.Equal(got[1:], []string{"mde.alerts da2_2"}) || w.owed("soc") != 0 {
			t.Errorf("%q arrived, %d owed", got, w.owed("soc"))
		}
	})
}
