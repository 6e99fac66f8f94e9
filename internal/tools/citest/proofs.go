package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
)

// proofRow is one line of proofs.txt: which test of which package shows what,
// and what the machine must have for it.
type proofRow struct {
	id, pkg, test string
	needs         []string
	line          int
}

// needs are the words of the last column. A machine that lacks what one names
// may leave the proof out, CI may not; those that another target runs are not
// expected of "make test" anywhere.
var needs = map[string]struct {
	here   func() bool
	target string // the make target that runs it
}{
	"go":        {here: func() bool { return true }},
	"lab":       {here: func() bool { return true }},
	"race":      {here: haveCompiler},
	"strace":    {here: haveStrace},
	"jq":        {here: func() bool { return have("jq") }},
	"keyring":   {here: func() bool { return have("dbus-run-session") && have("gnome-keyring-daemon") }},
	"soak":      {target: "make soak"},
	"receivers": {target: "make receivers"},
	"clients":   {target: "make clients"},
	"browser":   {target: "make browser"},
	"chromium":  {here: haveBrowser},
}

// haveStrace reports whether strace is there and may trace.
func haveStrace() bool {
	return have("strace") && exec.Command("strace", "-o", "/dev/null", "true").Run() == nil
}

// parseProofs reads "id | package | test | needs" lines; # begins a comment.
func parseProofs(text string) ([]proofRow, error) {
	var rows []proofRow
	seen := make(map[string]int)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 4 || slices.Contains(cells, "") {
			return nil, fmt.Errorf("proofs.txt:%d: expected id | package | test | needs", n)
		}
		row := proofRow{id: cells[0], pkg: cells[1], test: cells[2], needs: strings.Fields(strings.ReplaceAll(cells[3], ",", " ")), line: n}
		for _, need := range row.needs {
			if _, ok := needs[need]; !ok {
				return nil, fmt.Errorf("proofs.txt:%d: nothing is known of the need %q", n, need)
			}
		}
		key := strings.Join(cells[:3], " ")
		if first := seen[key]; first > 0 {
			return nil, fmt.Errorf("proofs.txt:%d: the same as line %d", n, first)
		}
		seen[key] = n
		rows = append(rows, row)
	}
	return rows, nil
}

// path is the import path of a row's package, written as a folder of the
// module ("." is its root).
func (p proofRow) path() string {
	if p.pkg == "." {
		return "drover"
	}
	return "drover/" + p.pkg
}

// owns reports whether a test is the row's, or a part of it.
func (p proofRow) owns(pkg, test string) bool {
	return pkg == p.path() && (test == p.test || strings.HasPrefix(test, p.test+"/"))
}

// verdict is what became of a proof.
type verdict struct {
	row    proofRow
	state  string // ran, not here, FAILED, elsewhere
	figure string
}

// unlisted returns what the tests showed that proofs.txt does not name.
func unlisted(rows []proofRow, r *results) []claim {
	return slices.DeleteFunc(slices.Clone(r.claims), func(c claim) bool {
		return slices.ContainsFunc(rows, func(p proofRow) bool { return p.id == c.id && p.owns(c.pkg, c.test) })
	})
}

// judge compares what is listed with what the tests said.
func judge(row proofRow, r *results, ci bool, targets []string, here func(need string) bool) verdict {
	v := verdict{row: row}
	for _, need := range row.needs {
		if t := needs[need].target; t != "" && !slices.Contains(targets, t) {
			v.state, v.figure = "elsewhere", t
			return v
		}
	}
	var why string
	count := 0
	for _, c := range r.claims {
		if c.id != row.id || !row.owns(c.pkg, c.test) {
			continue
		}
		if c.state == "not-here" {
			why = c.figure
			continue
		}
		count++
		v.figure = c.figure
	}
	if count > 1 {
		v.figure += fmt.Sprintf(" (the last of %d)", count)
	}
	var lacking []string
	for _, need := range row.needs {
		if needs[need].target == "" && !here(need) {
			lacking = append(lacking, need)
		}
	}
	switch outcome := r.outcome[row.path()+" "+row.test]; {
	case outcome == "fail":
		v.state, v.figure = "FAILED", strings.TrimSpace("the test failed; "+v.figure)
	case count > 0 && outcome != "":
		v.state = "ran"
	case len(lacking) > 0 && !ci:
		v.state, v.figure = "not here", "this machine lacks: "+strings.Join(lacking, ", ")
	case why != "":
		v.state, v.figure = "FAILED", "left out: "+why
	case len(lacking) > 0:
		v.state, v.figure = "FAILED", "in CI nothing may be missing: "+strings.Join(lacking, ", ")
	case outcome == "":
		v.state, v.figure = "FAILED", "there is no such test, or it did not run"
	default:
		v.state, v.figure = "FAILED", "the test said nothing of it"
	}
	return v
}

// reportProofs prints the table and says whether every proof is as it must be.
func (s *session) reportProofs() bool {
	known := make(map[string]bool)
	here := func(need string) bool {
		if _, ok := known[need]; !ok {
			known[need] = needs[need].here()
		}
		return known[need]
	}
	good := true
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "proof\tstate\tfigure\ttest")
	for _, row := range s.listed {
		if s.only != nil && !s.only(row) {
			continue
		}
		v := judge(row, &s.tests, s.ci, s.targets, here)
		good = good && v.state != "FAILED"
		fmt.Fprintf(w, "%s\t%s\t%s\t%s %s\n", v.row.id, v.state, v.figure, v.row.pkg, v.row.test)
	}
	_ = w.Flush()
	for _, c := range unlisted(s.listed, &s.tests) {
		good = false
		fmt.Fprintf(s.out, "FAILED: proof %s of %s %s is not in proofs.txt\n", c.id, strings.TrimPrefix(c.pkg, "drover/"), c.test)
	}
	return good
}
