package auditing

import (
	"testing"
	"time"

	"drover/internal/audit"
	"drover/internal/lab/estate"
)

// rich is a story with everything that an API may show and nothing wrong.
var rich = estate.Options{Backlog: 120, BacklogSpan: 5 * 24 * time.Hour, PerMinute: 0.4, Horizon: 6 * time.Hour, Updates: 1, Ties: 20, LateShare: 0.05, LateMax: 30 * time.Minute,
	Silent: 0.1, Shuffle: true, LiveField: true, Twins: 3, Unnamed: 3, Foreign: 3, Bad: 6, SIEM: true, Reprocess: true}

func TestACleanRunAgrees(t *testing.T) {
	story(t, setting{stories: []estate.Options{rich, rich}}, func(w *world) {
		w.pass(10 * time.Hour)
		r := w.audit(6 * 24 * time.Hour)
		if r.Verdict != audit.Agree {
			t.Errorf("%s\n%s", r.Verdict, summary(r))
		}
		t.Log(summary(r))
	})
}
