package drover_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pkg is what go list says of a package, as far as the rules need it.
type pkg struct {
	ImportPath   string
	Standard     bool
	ForTest      string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path, Version string }
}

// list runs go list -json for Linux on amd64, so that the answer is the same
// on every machine.
func list(t *testing.T, args ...string) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Standard,ForTest,GoFiles,Imports,TestImports,XTestImports,Module"}, args...)...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	all := make(map[string]pkg)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// ring is how far out a package lies; imports go inward only.
type ring int

const (
	root ring = iota
	pure
	wire
	adapter
	service
	command
	apart   // the lab and the oracle: a misreading of ours must not be theirs too
	support // failpoints and proofs: the standard library only
	rig     // tests that need a package: nobody imports them
)

// rooms lists every package with its ring, as docs/architecture.md does. A
// name that ends in /... is a folder; packages of one folder may import each
// other, and packages of two do not.
var rooms = map[string]ring{
	"drover":                       root,
	"drover/internal/config":       pure,
	"drover/internal/revision":     pure,
	"drover/internal/format":       pure,
	"drover/internal/freelist":     pure,
	"drover/internal/expiry":       pure,
	"drover/internal/coverage":     pure,
	"drover/internal/siemconf":     pure,
	"drover/internal/gdap":         pure,
	"drover/internal/httpx":        wire,
	"drover/internal/vault":        wire,
	"drover/internal/entra":        adapter,
	"drover/internal/keyring":      adapter,
	"drover/internal/keyvault":     adapter,
	"drover/internal/defender":     adapter,
	"drover/internal/ledger/...":   adapter,
	"drover/internal/sink/file":    adapter,
	"drover/internal/sink/stdout":  adapter,
	"drover/internal/sink/splunk":  adapter,
	"drover/internal/collect":      service,
	"drover/internal/deliver":      service,
	"drover/internal/admin":        service,
	"drover/internal/audit":        service,
	"drover/cmd/drover":            command,
	"drover/internal/lab/...":      apart,
	"drover/internal/oracle/...":   apart,
	"drover/internal/fault":        support,
	"drover/internal/proof":        support,
	"drover/internal/rig/...":      rig,
	"drover/internal/tools/...":    rig,
	"drover/internal/registration": adapter,
	"drover/internal/partner":      adapter,
	"drover/internal/onboard":      service,
	"drover/internal/enrol":        service,
	"drover/internal/signin":       service,
	"drover/internal/web":          service,
}

// suites are conformance suites, used by tests only; they may stay away until
// a second implementation needs them.
var suites = map[string]ring{
	"drover/internal/sink/sinktest": adapter,
}

// room returns the entry that a package belongs to, ok false if none does.
func room(path string) (name string, r ring, ok bool) {
	for _, table := range []map[string]ring{rooms, suites} {
		for name, r := range table {
			if path == name || strings.HasSuffix(name, "/...") && (path == strings.TrimSuffix(name, "/...") || strings.HasPrefix(path, strings.TrimSuffix(name, "..."))) {
				return name, r, true
			}
		}
	}
	return "", 0, false
}

// ours are the imports of this module.
func ours(imports []string) []string {
	return slices.DeleteFunc(slices.Clone(imports), func(s string) bool { return s != "drover" && !strings.HasPrefix(s, "drover/") })
}

// TestImports keeps the rules of docs/architecture.md.
func TestImports(t *testing.T) {
	all := list(t, "-deps", "-test", "./...")
	found := make(map[string]bool)
	for path, p := range all {
		if p.Standard || p.ForTest != "" || strings.HasSuffix(path, ".test") || len(ours([]string{path})) == 0 {
			continue
		}
		name, r, ok := room(path)
		if !ok {
			t.Errorf("%s has no room: give it a ring in docs/architecture.md and in arch_test.go", path)
			continue
		}
		found[name] = true
		for _, to := range ours(p.Imports) {
			if why := forbidden(name, r, to); why != "" {
				t.Errorf("%s imports %s: %s", path, to, why)
			}
		}
		if r == root || r == support || r == apart {
			for _, to := range p.Imports {
				if dep, known := all[to]; known && !dep.Standard && len(ours([]string{to})) == 0 {
					t.Errorf("%s imports %s: only the standard library is allowed here", path, to)
				}
			}
		}
		if r == apart {
			for _, to := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
				if other, _, _ := room(to); other != name && to != "drover/internal/proof" {
					t.Errorf("a test of %s imports %s: the lab and the oracle share nothing with what they judge", path, to)
				}
			}
		}
	}
	missing := t.Errorf
	if !found["drover/cmd/drover"] {
		missing = t.Logf // the house is being built
	}
	for name := range rooms {
		if !found[name] {
			missing("there is no package %s; if it is gone, take it out of docs/architecture.md and arch_test.go", name)
		}
	}
}

// forbidden says why a package of a room must not import another, "" if it may.
func forbidden(name string, r ring, to string) string {
	other, s, ok := room(to)
	switch {
	case !ok:
		return "it has no room"
	case other == name:
		return ""
	case to == "drover/internal/proof":
		return "only tests say that they have shown something"
	case r == rig && name != "drover/internal/tools/...":
		return ""
	case r == apart || r == support || name == "drover/internal/tools/...":
		return "only the standard library and its own folder are allowed here"
	case s == rig:
		return "it is for tests"
	case s == apart && r != command:
		return "only cmd/drover and tests use the lab and the oracle"
	case s == apart:
		return ""
	case to == "drover/internal/fault":
		if r != wire && r != adapter && r != service && r != command {
			return "failpoints lie where something is written or sent"
		}
		return ""
	case strings.HasSuffix(to, "test"):
		return "it is a suite for tests"
	case r == command:
		return ""
	case r == service && s == adapter && to != "drover/internal/ledger":
		return "a service declares what it needs of an adapter; only the ledger's vocabulary is shared"
	case s >= r:
		return "imports go inward only"
	}
	return ""
}

// TestTheRulesBite shows that each rule refuses what it is for.
func TestTheRulesBite(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		ok       bool
	}{
		{"drover/internal/config", "drover", true},
		{"drover", "drover/internal/config", false},
		{"drover/internal/config", "drover/internal/format", false},
		{"drover/internal/httpx", "drover/internal/vault", false},
		{"drover/internal/entra", "drover/internal/httpx", true},
		{"drover/internal/entra", "drover/internal/defender", false},
		{"drover/internal/sink/splunk", "drover/internal/sink/file", false},
		{"drover/internal/ledger/sqlite", "drover/internal/ledger", true},
		{"drover/internal/sink/file", "drover/internal/fault", true},
		{"drover/internal/vault", "drover/internal/fault", true},
		{"drover/internal/format", "drover/internal/fault", false},
		{"drover/internal/collect", "drover/internal/ledger", true},
		{"drover/internal/collect", "drover/internal/ledger/sqlite", false},
		{"drover/internal/collect", "drover/internal/defender", false},
		{"drover/internal/collect", "drover/internal/deliver", false},
		{"drover/internal/collect", "drover/internal/format", true},
		{"drover/internal/collect", "drover/internal/lab/estate", false},
		{"drover/internal/lab", "drover/internal/lab/estate", true},
		{"drover/internal/lab", "drover", false},
		{"drover/internal/lab", "drover/internal/oracle", false},
		{"drover/internal/oracle", "drover", false},
		{"drover/internal/fault", "drover", false},
		{"drover/cmd/drover", "drover/internal/lab", true},
		{"drover/cmd/drover", "drover/internal/ledger/ledgertest", false},
		{"drover/cmd/drover", "drover/internal/ledger/sqlite/sqlitetest", false},
		{"drover/cmd/drover", "drover/internal/rig/powercut", false},
		{"drover/cmd/drover", "drover/internal/proof", false},
		{"drover/internal/tools/citest", "drover/internal/proof", false},
		{"drover/internal/collect", "drover/internal/nowhere", false},
	} {
		name, r, ok := room(tt.from)
		if !ok {
			t.Errorf("%s has no room", tt.from)
		}
		if why := forbidden(name, r, tt.to); (why == "") != tt.ok {
			t.Errorf("%s imports %s: %q", tt.from, tt.to, why)
		}
	}
}

// TestLinkedModules keeps docs/decisions/dependencies.md equal to what is in
// the binary.
func TestLinkedModules(t *testing.T) {
	text, err := os.ReadFile("docs/decisions/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n## Linked into the binary\n")
	if !ok {
		t.Fatal("docs/decisions/dependencies.md has no section of linked modules")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	listed := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-Za-z0-9./-]+\.[A-Za-z0-9./-]+) \| (.*) \|$`).FindAllStringSubmatch(table, -1) {
		listed[m[1]] = true
		if cells := strings.Split(m[2], " | "); len(cells) != 3 || slices.Contains(cells, "") {
			t.Errorf("%s: what for, what else was weighed and the licence must all be said", m[1])
		}
	}
	binary := list(t, "-deps", "./cmd/drover")
	if len(binary["drover/cmd/drover"].GoFiles) == 0 {
		t.Skip("there is no cmd/drover yet")
	}
	linked := make(map[string]bool)
	for _, p := range binary {
		if p.Module != nil && p.Module.Path != "drover" {
			linked[p.Module.Path] = true
		}
	}
	for m := range linked {
		if !listed[m] {
			t.Errorf("%s is linked into the binary and not planned: give it a line in docs/decisions/dependencies.md, or do without", m)
		}
	}
	for m := range listed {
		if !linked[m] {
			t.Errorf("%s is in docs/decisions/dependencies.md and not linked into the binary", m)
		}
	}
}

// TestNoTraceOfAWorkshop looks through every tracked file for paths of the
// machine it was written on, and for work that was left for later.
//
//citest:plain one file after the other
func TestNoTraceOfAWorkshop(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("this is no git checkout: %v", err)
	}
	// The words are put together here so that this file does not hold them.
	bad := regexp.MustCompile(`(?:^|[^.\w/])/` + `(?:work|farm|root)/\w|/tmp/` + `(?:bash|brief)|bash_` + `jobs|\b(?:TO` + `DO|FIX` + `ME|X` + `XX)\b`)
	if !bad.MatchString("see /"+"work/main") || !bad.MatchString("// TO"+"DO: later") || bad.MatchString("../shared/testdata") || bad.MatchString("https://x.test/work/1") {
		t.Fatal("the pattern does not do what it is for")
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(name)
		if err != nil || name == "go.sum" || strings.Contains(name, "testdata/fuzz/") || bytes.IndexByte(text, 0) >= 0 {
			continue // gone, or no text
		}
		n := 0
		for line := range bytes.Lines(text) {
			n++
			if m := bad.Find(line); m != nil {
				t.Errorf("%s:%d: %q", name, n, bytes.TrimSpace(m))
			}
		}
	}
}

// TestEveryLinkInTheDocsLeadsSomewhere follows the links between the pages.
func TestEveryLinkInTheDocsLeadsSomewhere(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := filepath.Glob("docs/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	link, links := regexp.MustCompile(`\]\(([^)#]*)(#[^)]*)?\)`), 0
	for _, page := range slices.Concat([]string{"README.md", "CHANGELOG.md"}, pages, decisions) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			to := string(m[1])
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), to)); err != nil {
				t.Errorf("%s links to %s, which is not there", page, to)
			}
		}
	}
	if links < 20 {
		t.Errorf("%d links were found", links)
	}
}
