package msclients

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"drover/internal/format"
	"drover/internal/proof"
)

// Nothing of Microsoft's runs KQL here. Their language service, which the
// portals use, reads a query and knows tables, columns, types and functions.
func TestKustosLanguageServiceTakesTheSearchInManifests(t *testing.T) {
	dir := npmInstall(t, "kusto")
	check := func(query string) string {
		t.Helper()
		node := exec.Command("node", filepath.Join(dir, "check.js"))
		node.Dir, node.Stdin = dir, strings.NewReader(query)
		out, err := node.CombinedOutput()
		if err != nil {
			t.Fatalf("node: %v\n%s", err, out)
		}
		return string(out)
	}
	query, err := format.ManifestSearch("kql", format.SearchAt{})
	if err != nil {
		t.Fatal(err)
	}
	if found := check(query); found != "" {
		t.Errorf("the language service has against the search:\n%s", found)
	}
	// It must be able to find something.
	plants := [][2]string{{"mv-expand", "mv-expend"}, {"hash_sha256", "hash_sha257"}, {"project tenant, customer", "project tenant, custmer"}, {"to_seq", "last"}, {"sort by tenant asc", "sort by tenant ascending"}}
	for _, p := range plants {
		if !strings.Contains(query, p[0]) || check(strings.ReplaceAll(query, p[0], p[1])) == "" {
			t.Errorf("with %q for %q nothing is found", p[1], p[0])
		}
	}
	if !t.Failed() {
		proof.Ran(t, "manifest.kql", "Microsoft's language service finds 0 faults in the search in KQL, and each of %d planted ones", len(plants))
	}
}
