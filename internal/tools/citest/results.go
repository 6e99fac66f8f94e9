package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// event is one line of go test -json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Output     string
	Elapsed    float64
}

// failure is a test that failed, with what it said.
type failure struct{ name, output string }

// claim is a PROOF line of a test.
type claim struct {
	id, pkg, test string
	state         string // ran or not-here
	figure        string
}

// results counts tests and keeps what proofs and failures said.
type results struct {
	passed, failed, skipped int
	failures                []failure
	claims                  []claim
	outcome                 map[string]string // "package test" → pass, fail, skip
}

func newResults() results { return results{outcome: make(map[string]string)} }

var proofLine = regexp.MustCompile(`PROOF (\S+) (ran|not-here) ?(.*)`)

// goTest runs go test -json and takes in what it says. The error says only
// that something failed; the failures are in the results.
func (r *results) goTest(ctx context.Context, out io.Writer, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	if slices.Contains(args, "-race") {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1") // the detector needs it
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := r.failed
	r.read(pipe, out)
	err = cmd.Wait()
	switch n := r.failed - before; {
	case ctx.Err() != nil:
		return ctx.Err()
	case n > 0:
		return fmt.Errorf("%d failed", n)
	case err != nil: // go itself could not go on
		r.failed++
		r.failures = append(r.failures, failure{"go test " + strings.Join(args, " "), tail(stderr.String(), 60) + "\n"})
		return fmt.Errorf("go test: %w", err)
	}
	return nil
}

// read takes in the events of one go test and prints one line a package.
func (r *results) read(in io.Reader, out io.Writer) {
	said := make(map[string]*strings.Builder) // by "package test"
	failedIn := make(map[string]bool)         // packages in which a test failed
	built := make(map[string]*strings.Builder)
	scan := bufio.NewScanner(in)
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		var e event
		if json.Unmarshal(scan.Bytes(), &e) != nil {
			continue // not from test2json: a line that go itself printed
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "build-output":
			if built[e.ImportPath] == nil {
				built[e.ImportPath] = new(strings.Builder)
			}
			built[e.ImportPath].WriteString(e.Output)
		case "output":
			if said[key] == nil {
				said[key] = new(strings.Builder)
			}
			said[key].WriteString(e.Output)
			if m := proofLine.FindStringSubmatch(strings.TrimSpace(e.Output)); m != nil && e.Test != "" {
				r.claims = append(r.claims, claim{m[1], e.Package, e.Test, m[2], m[3]})
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				r.packageDone(e, said, built, failedIn, out)
				break
			}
			r.outcome[key] = e.Action
			r.count(e, said[key], failedIn)
			delete(said, key)
		}
	}
}

// count takes in the end of one test.
func (r *results) count(e event, said *strings.Builder, failedIn map[string]bool) {
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
	case "fail":
		r.failed++
		failedIn[e.Package] = true
		text := ""
		if said != nil {
			text = said.String()
		}
		r.failures = append(r.failures, failure{e.Package + " " + e.Test, tail(text, 80) + "\n"})
	}
}

// packageDone takes in the end of a package: one that failed without a test
// that did could not be built, died or ran out of time.
func (r *results) packageDone(e event, said, built map[string]*strings.Builder, failedIn map[string]bool, out io.Writer) {
	switch e.Action {
	case "skip":
		return // no test files
	case "fail":
		fmt.Fprintf(out, "FAIL %s %.1fs\n", e.Package, e.Elapsed)
		if failedIn[e.Package] {
			return
		}
		var text strings.Builder
		for path, b := range built {
			if path == e.Package || strings.HasPrefix(path, e.Package+" ") || strings.HasPrefix(path, e.Package+"_test") || len(built) == 1 {
				text.WriteString(b.String())
			}
		}
		for _, key := range slices.Sorted(maps.Keys(said)) { // its own words, then those of tests that never ended
			if strings.HasPrefix(key, e.Package+" ") {
				text.WriteString(said[key].String())
			}
		}
		r.failed++
		r.failures = append(r.failures, failure{e.Package, tail(text.String(), 80) + "\n"})
	default:
		fmt.Fprintf(out, "ok   %s %.1fs\n", e.Package, e.Elapsed)
	}
}
