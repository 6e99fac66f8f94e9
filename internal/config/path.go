package config

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// PathFields are the names that a file's path may hold in braces: IDs and
// short names only, never anything that an alert holds or a person may write
// freely (reference faults U09).
var PathFields = []string{"customer", "tenant", "name", "source", "sink"}

// longest is what stands for a field where the length of a path is judged: a
// tenant's ID, the longest short name, a source with room to spare.
var longest = map[string]string{
	"customer": strings.Repeat("x", 63), "tenant": strings.Repeat("x", 36), "name": strings.Repeat("x", 63), "source": strings.Repeat("x", 30), "sink": strings.Repeat("x", 63),
}

var inBraces = regexp.MustCompile(`\{([^{}]*)\}`)

// Bounds of a path below a root. Names of files that are put away are 30 bytes
// longer than a part, and file systems take 255.
const (
	maxPart = 200
	maxPath = 2000
)

// CheckPath says what is wrong with the path of a file below a root, in which
// fields may stand. Here is the one place with these rules: the sink that
// writes the files asks here, too.
func CheckPath(p string) error {
	for _, m := range inBraces.FindAllStringSubmatch(p, -1) {
		if !slices.Contains(PathFields, m[1]) {
			return fmt.Errorf("{%s} cannot stand in a path%s", clip(m[1]), didYouMean(m[1], PathFields))
		}
	}
	name := inBraces.ReplaceAllStringFunc(p, func(f string) string { return longest[f[1:len(f)-1]] })
	dot := false
	for part := range strings.SplitSeq(name, "/") {
		dot = dot || strings.HasPrefix(part, ".")
		if len(part) > maxPart {
			return fmt.Errorf("%q has a part that can become longer than %d bytes; write fewer fields between two slashes", clip(p), maxPart)
		}
	}
	switch {
	case dot || strings.ContainsAny(name, "{}\\") || !fs.ValidPath(name):
		return fmt.Errorf("%q is no path below root; write names and slashes, no part of which begins with a dot, such as {customer}/{tenant}.ndjson", clip(p))
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q holds a control character; write names and slashes", clip(p))
	case len(name) > maxPath:
		return fmt.Errorf("%q can become longer than %d bytes; write a shorter one", clip(p), maxPath)
	}
	return nil
}
