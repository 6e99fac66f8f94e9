package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const list = `# a comment

P07      | internal/collect | TestHalving    | go
S02      | internal/rig/x   | TestPowerCut   | strace, race
I9       | .                | TestConserved  | go
soaked   | internal/collect | TestManyKills  | soak
`

func rowsOf(t *testing.T) []proofRow {
	t.Helper()
	rows, err := parseProofs(list)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestAProofCountsOnlyIfItsTestPassedAndSaidSo(t *testing.T) {
	rows := rowsOf(t)
	p07, s02, i9, soaked := rows[0], rows[1], rows[2], rows[3]
	claim07 := claim{"P07", "drover/internal/collect", "TestHalving/small", "ran", "lost 0 of 9"}
	claim02 := claim{"S02", "drover/internal/rig/x", "TestPowerCut", "not-here", "no strace"}
	const passed, failed, skipped = "pass", "fail", "skip"
	for name, tt := range map[string]struct {
		row      proofRow
		claims   []claim
		outcomes map[string]string
		ci       bool
		strace   bool
		targets  []string
		want     string
	}{
		"passed and said":              {row: p07, claims: []claim{claim07}, outcomes: map[string]string{"drover/internal/collect TestHalving": passed}, want: "ran: lost 0 of 9"},
		"said twice":                   {row: p07, claims: []claim{claim07, claim07}, outcomes: map[string]string{"drover/internal/collect TestHalving": passed}, want: "ran: lost 0 of 9 (the last of 2)"},
		"said and failed":              {row: p07, claims: []claim{claim07}, outcomes: map[string]string{"drover/internal/collect TestHalving": failed}, want: "FAILED: the test failed; lost 0 of 9"},
		"said and never ended":         {row: p07, claims: []claim{claim07}, want: "FAILED: there is no such test, or it did not run"},
		"passed and said nothing":      {row: p07, outcomes: map[string]string{"drover/internal/collect TestHalving": passed}, want: "FAILED: the test said nothing of it"},
		"said by another test":         {row: p07, claims: []claim{{"P07", "drover/internal/collect", "TestHalvingMore", "ran", "x"}}, outcomes: map[string]string{"drover/internal/collect TestHalving": passed}, want: "FAILED: the test said nothing of it"},
		"gone":                         {row: p07, want: "FAILED: there is no such test, or it did not run"},
		"in the root":                  {row: i9, claims: []claim{{"I9", "drover", "TestConserved", "ran", "difference 0"}}, outcomes: map[string]string{"drover TestConserved": passed}, want: "ran: difference 0"},
		"the machine lacks it":         {row: s02, claims: []claim{claim02}, outcomes: map[string]string{"drover/internal/rig/x TestPowerCut": skipped}, want: "not here: this machine lacks: strace"},
		"left out though all is there": {row: s02, claims: []claim{claim02}, outcomes: map[string]string{"drover/internal/rig/x TestPowerCut": skipped}, strace: true, want: "FAILED: left out: no strace"},
		"lacking in CI":                {row: s02, claims: []claim{claim02}, outcomes: map[string]string{"drover/internal/rig/x TestPowerCut": skipped}, ci: true, want: "FAILED: left out: no strace"},
		"lacking in CI, not run":       {row: s02, ci: true, want: "FAILED: in CI nothing may be missing: strace"},
		"another target's":             {row: soaked, ci: true, want: "elsewhere: make soak"},
		"another's that is done too":   {row: soaked, targets: []string{"make test", "make soak"}, want: "FAILED: there is no such test, or it did not run"},
		"missing in its own target":    {row: soaked, targets: []string{"make soak"}, want: "FAILED: there is no such test, or it did not run"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResults()
			r.claims, r.outcome = tt.claims, tt.outcomes
			targets := tt.targets
			if targets == nil {
				targets = []string{"make test"}
			}
			v := judge(tt.row, &r, tt.ci, targets, func(need string) bool { return need != "strace" || tt.strace })
			if got := v.state + ": " + v.figure; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestInCIEverythingShowsWhatTheClientLibrariesSay(t *testing.T) {
	row := proofRow{id: "promise.clients", pkg: "test/msclients", test: "TestX", needs: []string{"clients"}}
	for ci, want := range map[bool]string{false: "elsewhere", true: "FAILED"} { // it did not run
		r := newResults()
		if v := judge(row, &r, ci, doneByTest(ci), func(string) bool { return true }); v.state != want {
			t.Errorf("in CI %t: %s, want %s", ci, v.state, want)
		}
	}
}

func TestAProofThatIsNotListedIsFound(t *testing.T) {
	r := newResults()
	r.claims = []claim{
		{"P07", "drover/internal/collect", "TestHalving", "ran", ""},
		{"P08", "drover/internal/collect", "TestHalving", "ran", ""},
		{"P07", "drover/internal/deliver", "TestHalving", "ran", ""},
	}
	if got := unlisted(rowsOf(t), &r); len(got) != 2 || got[0].id != "P08" || got[1].pkg != "drover/internal/deliver" {
		t.Errorf("got %v", got)
	}
}

func TestABadListIsRefusedWithItsLine(t *testing.T) {
	for text, want := range map[string]string{
		"P07 | a | b":                         "proofs.txt:1: expected id | package | test | needs",
		"\nP07 | a |  | go":                   "proofs.txt:2: expected id | package | test | needs",
		"P07 | a | b | magic":                 `proofs.txt:1: nothing is known of the need "magic"`,
		"P07 | a | b | go\nP07 | a | b | lab": "proofs.txt:2: the same as line 1",
	} {
		if _, err := parseProofs(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

// TestRealRuns runs go test over a small module that has one of everything.
func TestRealRuns(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":         "module drover\n\ngo 1.26\n",
		"good/a_test.go": "package good\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Run(\"sub\", func(t *testing.T) { t.Logf(\"PROOF P07 ran lost 0 of 9\") }) }\nfunc TestB(t *testing.T) { t.Skip(\"x\") }\n",
		"bad/a_test.go":  "package bad\nimport \"testing\"\nfunc TestC(t *testing.T) { t.Error(\"the reason\") }\nfunc TestD(t *testing.T) {}\n",
		"dead/a_test.go": "package dead\nimport (\"os\"; \"testing\")\nfunc TestE(t *testing.T) { println(\"last words\"); os.Exit(3) }\n",
		"rot/a_test.go":  "package rot\nimport \"testing\"\nfunc TestF(t *testing.T) { nonsense() }\n",
		"none/a.go":      "package none\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := newResults()
	var out bytes.Buffer
	err := r.goTest(t.Context(), &out, dir, "./...")
	if err == nil || err.Error() != "3 failed" {
		t.Errorf("got %v", err)
	}
	if r.passed != 3 || r.failed != 3 || r.skipped != 1 { // TestA, its part and TestD; TestC, dead and rot; TestB
		t.Errorf("%d passed, %d failed, %d skipped", r.passed, r.failed, r.skipped)
	}
	if len(r.claims) != 1 || r.claims[0] != (claim{"P07", "drover/good", "TestA/sub", "ran", "lost 0 of 9"}) {
		t.Errorf("claims: %v", r.claims)
	}
	for name, words := range map[string]string{"drover/bad TestC": "the reason", "drover/dead": "last words", "drover/rot": "undefined: nonsense"} {
		if i := slices.IndexFunc(r.failures, func(f failure) bool { return strings.HasPrefix(f.name, name) }); i < 0 || !strings.Contains(r.failures[i].output, words) {
			t.Errorf("%s does not say %q: %v", name, words, r.failures)
		}
	}
	if strings.Contains(out.String(), "none") || !strings.Contains(out.String(), "ok   drover/good") || !strings.Contains(out.String(), "FAIL drover/bad") {
		t.Errorf("printed: %s", out.String())
	}
}

func TestTheLastLineIsTheCountAndTheExitSaysTheSame(t *testing.T) {
	for name, tt := range map[string]struct {
		err     error
		failed  int
		checked bool
		good    bool
		want    string
	}{
		"all is well":               {good: true, want: "5 passed, 0 failed, 2 skipped"},
		"a note":                    {err: note("with -race"), good: true, want: "5 passed, 0 failed, 2 skipped"},
		"something is not here":     {err: notHere("make receivers"), good: true, want: "5 passed, 0 failed, 2 skipped"},
		"a test failed":             {err: errors.New("1 failed"), failed: 1, want: "5 passed, 1 failed, 2 skipped"},
		"the linter complained":     {err: errors.New("lint"), want: "5 passed, 1 failed, 2 skipped"},
		"a listed proof is missing": {checked: true, want: "5 passed, 1 failed, 2 skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := &session{out: &out, tests: newResults(), checked: tt.checked, targets: doneByTest(false), listed: rowsOf(t)[:1]}
			s.tests.passed, s.tests.skipped = 5, 2
			s.part(t.Context(), part{"unit", time.Second, func(context.Context, *session) error {
				s.tests.failed += tt.failed
				return tt.err
			}})
			good := s.report()
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; good != tt.good || last != tt.want {
				t.Errorf("good %v, last line %q\n%s", good, last, out.String())
			}
		})
	}
}

func TestEveryFolderWithALongTestIsFound(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"a_test.go", "internal/x/b_test.go", "internal/x/c_test.go", "test/own/d_test.go", ".hidden/e_test.go", "internal/y/f.go"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("//go:build soak\n\npackage x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("test/own/go.mod", []byte("module own\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := withTag("soak"); err != nil || !slices.Equal(got, []string{"./.", "./internal/x"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestATestThatRunsWithoutTheRaceDetectorIsMarkedOnce(t *testing.T) {
	const mark, body = "//citest:plain it is long\n", "(t *testing.T) {}\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
		fails string
	}{
		"none":              {files: map[string]string{"a_test.go": "func TestA" + body}},
		"two in one folder": {files: map[string]string{"internal/x/a_test.go": "// TestA is.\n//\n" + mark + "func TestA" + body + "func TestB" + body, "internal/x/c_test.go": mark + "func TestC" + body}, want: "^(TestA|TestC)$ ./internal/x"},
		"no reason":         {files: map[string]string{"a_test.go": "//citest:plain\nfunc TestA" + body}, fails: "a_test.go: 0 of 1 marks"},
		"above no test":     {files: map[string]string{"a_test.go": mark + "\nfunc TestA" + body}, fails: "a_test.go: 0 of 1 marks"},
		"a name of two":     {files: map[string]string{"internal/x/a_test.go": mark + "func TestA" + body, "internal/y/a_test.go": "func TestA" + body}, fails: "TestA, marked //citest:plain, has the name of another test"},
		"a rig":             {files: map[string]string{"internal/rig/x/a_test.go": mark + "func TestA" + body}, fails: "anyway"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for name, text := range tt.files {
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			p, err := plainTests()
			switch {
			case tt.fails != "":
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("%v, want %q", err, tt.fails)
				}
			case err != nil || len(p.names) == 0 && tt.want != "" || len(p.names) > 0 && p.match()+" "+strings.Join(p.dirs, " ") != tt.want:
				t.Errorf("got %q in %q, %v, want %q", p.match(), p.dirs, err, tt.want)
			}
		})
	}
}

func TestTheBudgetsStandInTheDocs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "testing.md"))
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	for _, p := range allParts(true) {
		sum += p.budget
		if row := fmt.Sprintf("\n| %s | %.0f |", p.name, p.budget.Seconds()); !strings.Contains(string(text), row) {
			t.Errorf("docs/testing.md has no row %q", row)
		}
	}
	if row := fmt.Sprintf("\n| all | %.0f |", wholeBudget.Seconds()); !strings.Contains(string(text), row) {
		t.Errorf("docs/testing.md has no row %q", row)
	}
	t.Logf("the parts may take %s in all, the whole %s", sum, wholeBudget)
}
