package file

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strings"

	"drover"
)

// plain is what a field's value may look like in a path.
var plain = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

// value makes a field's value fit for a path: as it is if it is a plain word,
// else its hash, so that two values never become one.
func value(v string) string {
	if plain.MatchString(v) {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return "x-" + hex.EncodeToString(sum[:8])
}

// Lane is the path of the tenant's file below the root. If the template names
// the source, it stays in the lane as "{source}": the lane then has one file
// for each.
func (s *Sink) Lane(t drover.Tenant) string {
	return strings.NewReplacer("{tenant}", value(string(t.ID)), "{customer}", value(string(t.Customer)), "{name}", value(t.Name), "{sink}", value(string(s.opt.Sink))).Replace(s.opt.Path)
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
