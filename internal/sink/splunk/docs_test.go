package splunk

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"drover"
)

func TestTheDocumentListsEveryCode(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/sinks.md")
	if err != nil {
		t.Fatal(err)
	}
	does := map[drover.Kind]string{0: "sets the one event aside", drover.Denied: "parks", drover.Transient: "tries again", drover.Throttled: "waits, and tries again"}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		c := codes[code]
		if row := fmt.Sprintf("| %d | %s | %s | %s |\n", code, c.text, does[c.kind], c.hint); !strings.Contains(string(doc), row) {
			t.Errorf("docs/sinks.md lacks the row\n%s", row)
		}
	}
}
