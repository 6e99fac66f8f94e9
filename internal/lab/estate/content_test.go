package estate_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"drover/internal/lab/estate"
)

// plain is a row of a source as JSON values, without its change time.
func plain(t *testing.T, row []byte, member string) string {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(row))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	delete(m, member)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Two states of an alert have one content if, and only if, their rows differ
// in the change time alone, as each source shows them.
func TestTheContentOfAStateIsAllButItsChangeTime(t *testing.T) {
	start := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	type state struct{ content, row string }
	states := make(map[string][]state)
	var e *estate.Estate
	e = estate.New(3, start, func(_, source string, r *estate.Row) {
		var row []byte
		member := "lastUpdateDateTime"
		switch source {
		case estate.Graph:
			row = e.Render(nil, r, 0, estate.Options{})
		case estate.Incidents:
			row = e.RenderIncident(nil, r, nil, estate.View{})
		case estate.MDE:
			row, member = e.RenderEndpoint(nil, r, 0, estate.Options{}, true), "lastUpdateTime"
		case estate.SIEM:
			row, member = e.RenderDetection(nil, r, estate.Shape{}), "LastProcessedTimeUtc"
		}
		key := source + " " + r.ID
		states[key] = append(states[key], state{e.Content(source, r), plain(t, row, member)})
	})
	e.Add(estate.Options{ID: "aaaaaaaa-0000-4000-8000-000000000001", PerMinute: 5, Horizon: time.Hour, Updates: 4, Silent: 0.3, Shuffle: true, LiveField: true, MDE: true, Incidents: true, SIEM: true, Reprocess: true})
	for m := range 120 {
		e.Newest(start.Add(time.Duration(m)*time.Minute), func(string, string, *estate.Row) {})
	}
	touches, changes := 0, 0
	for key, list := range states {
		for i := 1; i < len(list); i++ {
			same := list[i].row == list[i-1].row
			if same != (list[i].content == list[i-1].content) {
				t.Errorf("%s: rows the same: %v, contents %s and %s", key, same, list[i-1].content, list[i].content)
			}
			if same {
				touches++
			} else {
				changes++
			}
		}
	}
	if touches < 20 || changes < 100 {
		t.Errorf("%d touches and %d changes prove little", touches, changes)
	}
	// A row that was given as bytes.
	raw := func(changed, status string) string {
		return e.Content(estate.Graph, &estate.Row{ID: "a", Raw: []byte(`{"id":"a","evidence":[{"lastUpdateDateTime":"2026-01-01T00:00:00Z"}],"lastUpdateDateTime":"` + changed + `", "status":"` + status + `"}`)})
	}
	if raw("2026-03-02T08:00:00Z", "new") != raw("2026-03-02T09:00:00Z", "new") || raw("2026-03-02T08:00:00Z", "new") == raw("2026-03-02T08:00:00Z", "resolved") {
		t.Error("of a row given as bytes the wrong member counts")
	}
}
