package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"
)

// errNotHere is what a part returns when this machine lacks what it needs.
var errNotHere = errors.New("not here")

func notHere(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotHere, fmt.Sprintf(format, args...))
}

// part is one line of the table of costs.
type part struct {
	name   string
	budget time.Duration
	run    func(ctx context.Context, s *session) error
}

// cost is what became of a part.
type cost struct {
	name   string
	took   time.Duration
	budget time.Duration
	note   string
	failed bool
	absent bool
}

// session gathers what the parts found.
type session struct {
	ci      bool // CI=true: nothing may be missing
	out     io.Writer
	costs   []cost
	tests   results
	listed  []proofRow
	before  time.Duration // spent before this program began, counted with the part that says so
	checked bool          // the proofs of this run are complete and can be judged
	targets []string      // the make targets whose work this run does, as proofs.txt's needs name them
	only    func(proofRow) bool
}

func newSession() (*session, error) {
	text, err := os.ReadFile("proofs.txt")
	if err != nil {
		return nil, fmt.Errorf("read the list of proofs: %w", err)
	}
	rows, err := parseProofs(string(text))
	if err != nil {
		return nil, err
	}
	return &session{ci: os.Getenv("CI") == "true", out: os.Stdout, listed: rows, tests: newResults()}, nil
}

// part runs one part and notes what it cost.
func (s *session) part(ctx context.Context, p part) {
	c := cost{name: p.name, budget: p.budget}
	start := time.Now()
	if err := ctx.Err(); err != nil {
		c.note, c.failed = "stopped", true
	} else {
		fmt.Fprintf(s.out, "== %s\n", p.name)
		err := p.run(ctx, s)
		var n note
		switch {
		case errors.As(err, &n):
			c.note = string(n)
		case errors.Is(err, errNotHere):
			c.note, c.absent = err.Error(), true
		case err != nil:
			c.note, c.failed = "FAILED: "+err.Error(), true
		}
	}
	c.took = time.Since(start) + s.before
	s.before = 0
	s.costs = append(s.costs, c)
}

// note is a part's "all is well, and this is worth knowing".
type note string

func (n note) Error() string { return string(n) }

// state names what was checked and when: figures are kept with it.
func state() string {
	at := "no git checkout"
	if commit, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output(); err == nil {
		at = "commit " + strings.TrimSpace(string(commit))
		if changed, err := exec.Command("git", "status", "--porcelain").Output(); err != nil || len(changed) > 0 {
			at += " with changes"
		}
	}
	return at + ", " + time.Now().UTC().Format(time.RFC3339)
}

// report prints the tables and the last line, and says whether all is well.
func (s *session) report() bool {
	good := true
	fmt.Fprintf(s.out, "\n%s\n", state())
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "part\tseconds\tbudget\t")
	var sum time.Duration
	for _, c := range s.costs {
		sum += c.took
		took := fmt.Sprintf("%.0f", c.took.Seconds())
		if c.absent {
			took = "-"
		} else if c.budget > 0 && c.took > c.budget {
			took += " (over)"
		}
		good = good && !c.failed
		first, _, _ := strings.Cut(c.note, "\n")
		fmt.Fprintf(w, "%s\t%s\t%.0f\t%s\n", c.name, took, c.budget.Seconds(), first)
	}
	fmt.Fprintf(w, "all\t%.0f\t%.0f\t\n", sum.Seconds(), wholeBudget.Seconds())
	_ = w.Flush()
	if s.checked {
		fmt.Fprintln(s.out)
		good = s.reportProofs() && good
	}
	for _, f := range s.tests.failures {
		fmt.Fprintf(s.out, "\nFAILED %s\n%s", f.name, f.output)
	}
	failed := s.tests.failed
	for _, c := range s.costs {
		if c.failed {
			fmt.Fprintf(s.out, "\n%s: %s\n", c.name, c.note)
		}
	}
	if !good && failed == 0 {
		failed = 1 // a part or a proof failed in which no test did
	}
	fmt.Fprintf(s.out, "\n%d passed, %d failed, %d skipped\n", s.tests.passed, failed, s.tests.skipped)
	return good && failed == 0
}

// run runs a command and returns its output with an error that holds its end.
func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(out.String(), 60))
	}
	return out.String(), nil
}

// tail returns the last lines of s.
func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// have reports whether a program is on the path.
func have(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
