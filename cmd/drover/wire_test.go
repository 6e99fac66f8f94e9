package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"drover"
	"drover/internal/config"
	"drover/internal/proof"
)

func TestTwoTokensOfOneFileNameNeverShareALane(t *testing.T) {
	places := []string{"{file: contoso/hec.token}", "{file: fabrikam/hec.token}", "{file: hec.token}", "{env: hec.token}", "{credential: hec.token}"}
	text := "sinks:\n  soc:\n    type: splunk_hec\n    url: https://splunk.example:8088\n    token: {file: shared.token}\n    tenants:\n"
	for n, p := range places {
		text += fmt.Sprintf("      t%d: {token: %s}\n", n, p)
	}
	cfg, err := config.Parse(filepath.Join(t.TempDir(), "drover.yaml"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dests, err := a.destinations()
	if err != nil {
		t.Fatal(err)
	}
	lanes := make(map[string]string)
	for n, p := range append(places, "{file: shared.token}") {
		lane := dests[0].Sink.Lane(drover.Tenant{ID: drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)), Name: fmt.Sprint("t", n), Customer: drover.CustomerID(fmt.Sprint("c", n))})
		if other, taken := lanes[lane]; taken {
			t.Errorf("%s and %s share the lane %s", p, other, lane)
		}
		lanes[lane] = p
	}
	proof.Ran(t, "D16", "%d tokens kept in %d places, most under one file name: %d lanes", len(places)+1, len(places)+1, len(lanes))
}
