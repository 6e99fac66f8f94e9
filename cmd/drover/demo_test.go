package main

import (
	"encoding/json"
	"testing"

	"drover/internal/proof"
)

// The demo is run as a person would, only shorter.
func TestTheDemoKeepsItsPromises(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	code, out, errs := droverCommand(t, "demo", "--for", "12s", "--json")
	if code != exitOK || !json.Valid([]byte(out)) {
		t.Fatalf("exit code %d\n%s\n%s", code, out, errs)
	}
	proof.Ran(t, "promise.demo", "8 customers, 12 s, kill -9, 429, 503, cut answers, Splunk away: exit code 0")
}
