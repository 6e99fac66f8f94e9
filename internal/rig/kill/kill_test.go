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
	v := read(t, out)
	if v.kills != kills || v.shown == 0 {
		t.Errorf("%d kills, %d revisions shown", v.kills, v.shown)
	}
	if v.lost+v.doubled+v.findings > 0 {
		t.Errorf("lost %d, doubled %d, %d findings", v.lost, v.doubled, v.findings)
	}
	proof.Ran(t, "S01", "%d kills at random moments, %d revisions: lost %d, repeats without a cause %d (at HEC %d with one)", v.kills, v.shown, v.lost, v.doubled, v.explained)
}

// verdict is what counts of the oracle's.
type verdict struct {
	kills, shown, lost, doubled, explained, findings int
}

// read reads the verdict that the demo prints.
func read(t *testing.T, out []byte) (v verdict) {
	t.Helper()
	var in struct {
		OK        bool
		Totals    struct{ Kills int }
		Customers []struct {
			Shown  int
			Places []struct{ Lost, Unexplained, Explained int }
		}
		Findings []json.RawMessage
	}
	if err := json.Unmarshal(out, &in); err != nil {
		t.Fatalf("no verdict: %v\n%s", err, out)
	}
	v.kills, v.findings = in.Totals.Kills/2, len(in.Findings) // one mark before a kill, one behind it
	for _, c := range in.Customers {
		v.shown += c.Shown
		for _, p := range c.Places {
			v.lost, v.doubled, v.explained = v.lost+p.Lost, v.doubled+p.Unexplained, v.explained+p.Explained
		}
	}
	return v
}

// The demo is run as a person would, only shorter.
func TestTheDemoKeepsItsPromises(t *testing.T) {
	out := drover(t, "demo", "--for", "15s", "--json")
	v := read(t, out)
	if v.shown == 0 || v.kills == 0 || v.lost+v.doubled+v.findings > 0 {
		t.Errorf("%+v", v)
	}
	proof.Ran(t, "promise.demo", "%d revisions, kill -9 (%d), 429, 503, cut answers, Splunk away: lost %d, repeats without a cause %d, findings %d", v.shown, v.kills, v.lost, v.doubled, v.findings)
}
