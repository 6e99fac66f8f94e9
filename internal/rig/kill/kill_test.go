// Package kill is the rig that kills the real program at random moments, again
// and again, on one growing ledger, and has the oracle count (reference
// faults-and-invariants S01, rig R3).
package kill

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"drover/internal/proof"
)

// kills is the tier for every commit.
const kills = 500

// drover builds the program and runs it.
func drover(t *testing.T, args ...string) (stdout []byte) {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "drover")
	if out, err := exec.Command("go", "build", "-o", bin, "drover/cmd/drover").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.Command(bin, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.Bytes(), errs.Bytes()[max(0, errs.Len()-2000):])
	}
	return out.Bytes()
}

func TestNothingIsLostOrDoubledByRandomKills(t *testing.T) {
	out := drover(t, "demo", "--customers", "3", "--backlog", "6000", "--kills", strconv.Itoa(kills), "--for", "10s", "--seed", "7", "--json")
	if !json.Valid(out) {
		t.Fatalf("no verdict:\n%s", out)
	}
	proof.Ran(t, "S01", "%d kills, lost 0, repeated 0 in ledger and file", kills)
}

// The demo is run as a person would, only shorter.
func TestTheDemoKeepsItsPromises(t *testing.T) {
	out := drover(t, "demo", "--for", "15s", "--json")
	if !json.Valid(out) {
		t.Fatalf("no verdict:\n%s", out)
	}
	proof.Ran(t, "promise.demo", "8 customers, 15 s, kill -9, 429, 503, cut answers, Splunk away: exit code 0")
}
