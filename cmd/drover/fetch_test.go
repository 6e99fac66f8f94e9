package main

import (
	"encoding/json"
	"strings"
	"testing"

	"drover/internal/lab/estate"
)

// A page is checked by a second question, so that rows come twice, and a live
// field or shuffled evidence gives them other bytes.
func TestFetchPrintsEachStateOnceThoughItsBytesVary(t *testing.T) {
	const alerts = 40
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 3, customers: 1, story: func(int) estate.Options {
		return estate.Options{Backlog: alerts, LiveField: true, Shuffle: true, Ties: 10}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	code, out, errs := droverCommand(t, "fetch", "--tenant", s.lab.Customers()[0].Tenant, "--cloud", "lab", "--since", "60d", "-c", s.config)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	seen := make(map[string]bool)
	for line := range strings.Lines(out) {
		var rec struct {
			Drover struct {
				EventID string `json:"event_id"`
			} `json:"drover"`
		}
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatal(err)
		}
		if seen[rec.Drover.EventID] {
			t.Errorf("%s is printed twice", rec.Drover.EventID)
		}
		seen[rec.Drover.EventID] = true
	}
	if len(seen) != alerts {
		t.Errorf("%d alerts are printed, want %d", len(seen), alerts)
	}
}
