package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// wholeBudget is what all parts together may take on two cores with nothing in
// any cache.
const wholeBudget = 20 * time.Minute

// doneByTest are the targets whose work "make test" does: in CI also those that
// take minutes to build.
func doneByTest(ci bool) []string {
	if ci {
		return []string{"make test", "make clients", "make receivers", "make browser"}
	}
	return []string{"make test"}
}

// everything is "make test".
func everything(ctx context.Context, s *session) error {
	s.targets, s.checked = doneByTest(s.ci), true
	for _, p := range allParts(s.ci) {
		s.part(ctx, p)
	}
	return nil
}

// allParts are the parts of "make test"; their budgets stand in docs/testing.md.
func allParts(ci bool) []part {
	return []part{packagesPart(), buildPart(), lintPart(), unitPart(), rigsPart(), clientsPart(ci), receiversPart(ci), browserPart(ci)}
}

// packagesPart fetches modules. What was installed before this program could
// run (a linter built from source) is told by PACKAGES_SECONDS.
func packagesPart() part {
	return part{"packages", 240 * time.Second, func(ctx context.Context, s *session) error {
		if _, err := run(ctx, "", nil, "go", "mod", "download"); err != nil {
			return err
		}
		if before, _ := strconv.Atoi(os.Getenv("PACKAGES_SECONDS")); before > 0 {
			s.before = time.Duration(before) * time.Second
			return note(fmt.Sprintf("%d s of it to install tools", before))
		}
		return nil
	}}
}

func buildPart() part {
	return part{"build", 150 * time.Second, func(ctx context.Context, s *session) error {
		_, err := run(ctx, "", nil, "go", "build", "./...")
		return err
	}}
}

// lintPart runs the best linter that is there: golangci-lint, else staticcheck
// beside go vet, else go vet alone.
func lintPart() part {
	return part{"lint", 240 * time.Second, func(ctx context.Context, s *session) error {
		if have("golangci-lint") {
			if _, err := run(ctx, "", nil, "golangci-lint", "run", "./..."); err != nil {
				return err
			}
			return note("golangci-lint")
		}
		if _, err := run(ctx, "", nil, "go", "vet", "./..."); err != nil {
			return err
		}
		if have("staticcheck") {
			if _, err := run(ctx, "", nil, "staticcheck", "./..."); err != nil {
				return err
			}
			return note("go vet and staticcheck; golangci-lint is not here")
		}
		return note("go vet; golangci-lint and staticcheck are not here")
	}}
}

// plainSQLite leaves the race detector out of SQLite, which is C turned into Go,
// locks by itself, and is ten times slower with it: nothing of ours is looked at
// less closely, and the unit tests take half as long. It is for that one package:
// one that instantiates generic functions would lend its own, blind, to all.
const plainSQLite = "-gcflags=modernc.org/sqlite/lib=-race=false"

// unitPart runs all tests but the rigs, with the race detector where a C
// compiler is there, save those that are marked to run without it.
func unitPart() part {
	return part{"unit", 600 * time.Second, func(ctx context.Context, s *session) error {
		all, err := packages(ctx)
		if err != nil {
			return err
		}
		unit := append([]string{"-timeout=10m"}, slices.DeleteFunc(all, isRig)...)
		if !haveCompiler() {
			if err := s.tests.goTest(ctx, s.out, "", unit...); err != nil {
				return err
			}
			return note("without -race: a C compiler is not here")
		}
		without, err := plainTests()
		if err != nil {
			return err
		}
		err = s.tests.goTest(ctx, s.out, "", append([]string{"-race", plainSQLite, "-skip=" + without.match()}, unit...)...)
		if err := errors.Join(err, s.tests.goTest(ctx, s.out, "", append([]string{"-timeout=10m", "-run=" + without.match()}, without.dirs...)...)); err != nil {
			return err
		}
		return note(fmt.Sprintf("with -race, but %d tests", len(without.names)))
	}}
}

// rigsPart runs the rigs of the tier for every commit. They measure and kill
// processes, so they run as the binary does, without the race detector.
func rigsPart() part {
	return part{"rigs", 330 * time.Second, func(ctx context.Context, s *session) error {
		all, err := packages(ctx)
		if err != nil {
			return err
		}
		rigs := slices.DeleteFunc(all, func(p string) bool { return !isRig(p) })
		if len(rigs) == 0 {
			return notHere("there is no rig")
		}
		return s.tests.goTest(ctx, s.out, "", append([]string{"-timeout=10m"}, rigs...)...)
	}}
}

// clientsPart runs Microsoft's own client libraries against the pretend cloud.
func clientsPart(wanted bool) part {
	return modulePart("clients", "msclients", 300*time.Second, wanted, "Microsoft's client libraries take minutes to build")
}

// receiversPart runs the sinks against receivers that others wrote.
func receiversPart(wanted bool) part {
	return modulePart("receivers", "receivers", 300*time.Second, wanted, "the OpenTelemetry Collector takes minutes to build")
}

// browserPart drives a real browser over the pages that drover serves.
func browserPart(wanted bool) part {
	p := modulePart("browser", "browser", 180*time.Second, wanted, "what drives a browser is a module of its own")
	run := p.run
	p.run = func(ctx context.Context, s *session) error {
		if wanted && !haveBrowser() {
			return notHere("chromium")
		}
		return run(ctx, s)
	}
	return p
}

// haveBrowser reports whether there is a browser that can be driven.
func haveBrowser() bool {
	return have("chromium") || have("chromium-browser") || have("google-chrome")
}

// modulePart runs the tests of a module of its own below test/, which links
// what drover must not.
func modulePart(name, folder string, budget time.Duration, wanted bool, why string) part {
	return part{name, budget, func(ctx context.Context, s *session) error {
		dir := filepath.Join("test", folder)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			return notHere("there is no %s", dir)
		}
		if !wanted {
			return notHere("make %s (%s)", name, why)
		}
		return s.tests.goTest(ctx, s.out, dir, "-timeout=10m", "./...")
	}}
}

// module runs one such part alone.
func module(ctx context.Context, s *session, p part) error {
	s.targets, s.checked = []string{"make " + p.name}, true
	s.only = func(row proofRow) bool { return slices.Contains(row.needs, p.name) }
	s.part(ctx, p)
	return nil
}

func isRig(pkg string) bool { return strings.HasPrefix(pkg, "drover/internal/rig") }

// packages lists the module's packages.
func packages(ctx context.Context) ([]string, error) {
	out, err := run(ctx, "", nil, "go", "list", "./...")
	if err != nil {
		return nil, err
	}
	return strings.Fields(out), nil
}

// haveCompiler reports whether the race detector can be used.
func haveCompiler() bool {
	cc := os.Getenv("CC")
	return cc != "" && have(cc) || have("gcc") || have("clang")
}

// tagged runs the tests behind a build tag, one after the other.
func tagged(ctx context.Context, s *session, tag string) error {
	s.targets, s.checked = []string{"make " + tag}, true
	s.only = func(p proofRow) bool { return slices.Contains(p.needs, tag) }
	with, err := withTag(tag)
	if err != nil {
		return err
	}
	s.part(ctx, part{tag, 0, func(ctx context.Context, s *session) error {
		if len(with) == 0 {
			return notHere("no test is behind the tag %s yet", tag)
		}
		return s.tests.goTest(ctx, s.out, "", append([]string{"-tags=" + tag, "-timeout=24h", "-p=1"}, with...)...)
	}})
	return nil
}

// proofsOnly runs the tests that proofs.txt names and no others.
func proofsOnly(ctx context.Context, s *session) error {
	s.targets, s.checked = []string{"make test"}, true
	tests := make(map[string][]string)
	for _, p := range s.listed {
		if !slices.ContainsFunc(p.needs, func(n string) bool { return needs[n].target != "" }) && !slices.Contains(tests[p.pkg], p.test) {
			tests[p.pkg] = append(tests[p.pkg], p.test)
		}
	}
	s.part(ctx, part{"proofs", 0, func(ctx context.Context, s *session) error {
		var failed []error
		for pkg, names := range tests {
			failed = append(failed, s.tests.goTest(ctx, s.out, "", "-timeout=10m", "-run=^("+strings.Join(names, "|")+")$", "./"+pkg))
		}
		return errors.Join(failed...)
	}})
	return nil
}

// fuzzAll is "make fuzz": what follows on the command line says how long or how
// often, and which.
func fuzzAll(ctx context.Context, s *session) error {
	long, pattern := "10s", "^Fuzz"
	if len(os.Args) > 2 && os.Args[2] != "" {
		long = os.Args[2]
	}
	if len(os.Args) > 3 && os.Args[3] != "" {
		pattern = os.Args[3]
	}
	return fuzz(ctx, s, long, pattern)
}

// fuzz runs every fuzz target whose name matches a pattern, each for a time or
// a count of inputs as go test -fuzztime takes them.
func fuzz(ctx context.Context, s *session, long, pattern string) error {
	budget := time.Duration(0) // of a count it is not known
	if d, err := time.ParseDuration(long); err == nil {
		budget = d + 20*time.Second
	}
	all, err := packages(ctx)
	if err != nil {
		return err
	}
	for _, pkg := range all {
		out, err := run(ctx, "", nil, "go", "test", "-list="+pattern, pkg)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			name := strings.TrimSpace(line)
			if !strings.HasPrefix(name, "Fuzz") {
				continue
			}
			s.part(ctx, part{strings.TrimPrefix(pkg, "drover/") + " " + name, budget, func(ctx context.Context, s *session) error {
				out, err := run(ctx, "", nil, "go", "test", "-run=^$", "-fuzz=^"+name+"$", "-fuzztime="+long, pkg)
				if err != nil {
					s.tests.failed++
					return err
				}
				s.tests.passed++
				return note(lastRuns(out))
			}})
		}
	}
	return nil
}

var execs = regexp.MustCompile(`execs: (\d+)`)

// lastRuns says how often a fuzz target was called.
func lastRuns(out string) string {
	all := execs.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1] + " inputs"
}
