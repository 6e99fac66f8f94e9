package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestAPathLiesBelowItsRootOrIsRefused(t *testing.T) {
	long := strings.Repeat("a", maxPart)
	for path, want := range map[string]string{
		"{customer}/{tenant}.ndjson":        "",
		"{name}/{source}/{sink}":            "",
		"all.ndjson":                        "",
		"a/b/c.d":                           "",
		"{tenant}{customer}":                "",
		"é/ü.ndjson":                        "",
		long:                                "",
		"{customer}-{name}-{sink}":          "",
		"":                                  "no path below root",
		"/{tenant}":                         "no path below root",
		"../x":                              "no path below root",
		"a/../b":                            "no path below root",
		"a//b":                              "no path below root",
		"a/./b":                             "no path below root",
		"a/":                                "no path below root",
		".":                                 "no path below root",
		".a":                                "no path below root",
		"a/.b":                              "no path below root",
		"{tenant":                           "no path below root",
		"tenant}":                           "no path below root",
		"a\\b":                              "no path below root",
		"{title}":                           "{title} cannot stand in a path",
		"{Tenant}":                          `did you mean "tenant"?`,
		"{}":                                "{} cannot stand in a path",
		"a\x00b":                            "control character",
		"a\nb":                              "control character",
		"a\x7f":                             "control character",
		long + "a":                          "longer than 200 bytes",
		"{customer}-{name}-{sink}-{tenant}": "longer than 200 bytes",
		strings.Repeat("{customer}/", 32) + "all": "longer than 2000 bytes",
	} {
		err := CheckPath(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", path, err, want)
		}
		if path == "" || strings.ContainsAny(path, "\x00\n\x7f") {
			continue // the file itself is refused
		}
		if _, perr := Parse("drover.yaml", fmt.Appendf(nil, "sinks: {a: {type: file, root: x, path: %q}}", path)); (perr == nil) != (err == nil) {
			t.Errorf("%q in a config: %v", path, perr)
		}
	}
}
