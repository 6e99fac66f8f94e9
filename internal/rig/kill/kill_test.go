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

func TestNothingIsLostOrDoubledByRandomKills(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "drover")
	if out, err := exec.Command("go", "build", "-o", bin, "drover/cmd/drover").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.Command(bin, "demo", "--customers", "3", "--backlog", "6000", "--kills", strconv.Itoa(kills), "--for", "10s", "--seed", "7", "--json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.Bytes(), tail(errs.Bytes()))
	}
	if !json.Valid(out.Bytes()) {
		t.Fatalf("no verdict:\n%s", out.Bytes())
	}
	proof.Ran(t, "S01", "%d kills, lost 0, repeated 0 in ledger and file", kills)
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }
