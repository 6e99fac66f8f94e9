package file

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"drover"
)

// Fields are the names that a path may hold: IDs and slugs only, never
// anything that an alert holds or a person may write freely (reference faults
// U09).
var Fields = []string{"tenant", "customer", "name", "source", "sink"}

var (
	field = regexp.MustCompile(`\{([^{}]*)\}`)
	// clean is what a field's value may look like in a path.
	clean = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)
)

// maxPart bounds a part of a path; names of files that are put away are 30
// bytes longer, and file systems take 255.
const maxPart = 200

// CheckPath says what is wrong with a path template.
func CheckPath(p string) error {
	for _, m := range field.FindAllStringSubmatch(p, -1) {
		if !slices.Contains(Fields, m[1]) {
			return fmt.Errorf("{%s} is not known in a path; known are: {%s}", m[1], strings.Join(Fields, "}, {"))
		}
	}
	// {name} is what every field becomes at least: something not empty.
	return checkName(field.ReplaceAllString(p, "x"), p)
}

// checkName refuses a path that is not plainly below the root.
func checkName(name, shown string) error {
	if strings.ContainsAny(name, "{}\x00\\") || !fs.ValidPath(name) || name == "." || len(name) > 2000 {
		return fmt.Errorf("%.80q is no path below the root: use names, slashes and {%s}", shown, strings.Join(Fields, "}, {"))
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") || len(part) > maxPart {
			return fmt.Errorf("%.80q is no path below the root: a part begins with a dot or is longer than %d", shown, maxPart)
		}
		if strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%.80q is no path below the root: it holds a control character", shown)
		}
	}
	return nil
}

// value makes a field's value fit for a path: as it is if it is a plain word,
// else its hash, so that two values never become one.
func value(v string) string {
	if clean.MatchString(v) {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return "x-" + hex.EncodeToString(sum[:8])
}

// Lane is the path of the tenant's file below the root. If the template names
// the source, it stays in the lane as "{source}": the lane then has one file
// for each.
func (s *Sink) Lane(t drover.Tenant) string {
	return field.ReplaceAllStringFunc(s.opt.Path, func(f string) string {
		switch f {
		case "{tenant}":
			return value(string(t.ID))
		case "{customer}":
			return value(string(t.Customer))
		case "{name}":
			return value(t.Name)
		case "{sink}":
			return value(string(s.opt.Sink))
		}
		return f
	})
}

// fileOf returns the file of a lane that a source's records go to.
func fileOf(lane string, src drover.SourceID) string {
	return strings.ReplaceAll(lane, "{source}", value(string(src)))
}

// awayName is the name under which the n-th file of a path is put away, at
// the given UTC time: a.ndjson becomes a.20260302T080341Z-7.ndjson.
func awayName(name, at string, n int) string {
	ext := path.Ext(name)
	return fmt.Sprintf("%s.%s-%d%s", strings.TrimSuffix(name, ext), at, n, ext)
}

// awayNames returns the pattern of the base names under which files of a path
// are put away; its group is the number.
func awayNames(name string) *regexp.Regexp {
	base, ext := path.Base(name), path.Ext(name)
	return regexp.MustCompile("^" + regexp.QuoteMeta(strings.TrimSuffix(base, ext)) + `\.\d{8}T\d{6}Z-(\d{1,9})` + regexp.QuoteMeta(ext) + "$")
}
