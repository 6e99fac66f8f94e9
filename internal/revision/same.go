// Package revision tells states of one alert apart: whether two bodies mean
// the same although their bytes differ, and what changed from one to the next.
//
// Bytes vary without meaning: members and evidence come in any order, and some
// members of a device are looked up live when the alert is read (reference
// faults-and-invariants P11). What is compared decides sameness only, never an
// identity: a longer list of volatile members re-keys nothing.
package revision

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"drover"
)

// volatile lists members, by path, that a source fills in when the row is
// read, not when the alert changes. "[]" stands for any element.
var volatile = map[drover.SourceID][]string{
	drover.GraphAlerts: {
		// The state of the device now, not at the time of the alert.
		"evidence[].healthStatus", "evidence[].riskScore", "evidence[].defenderAvStatus", "evidence[].onboardingStatus", "evidence[].lastIpAddress",
		"evidence[].lastExternalIpAddress", "evidence[].ipInterfaces", "evidence[].loggedOnUsers", "evidence[].osBuild", "evidence[].version",
		"evidence[].rbacGroupId", "evidence[].rbacGroupName", "evidence[].firstSeenDateTime", "evidence[].resourceAccessEvents",
		"@odata.etag", "@odata.context",
	},
	drover.SIEMDetections: {"LogOnUsers", "InternalIPv4List", "InternalIPv6List", "MachineGroup"},
}

// ordered lists arrays, by path, whose order means something; all others are
// sets.
var ordered = map[drover.SourceID][]string{
	drover.GraphAlerts: {"comments"},
}

// times lists the members that carry a row's change time.
var times = map[drover.SourceID]string{drover.GraphAlerts: "lastUpdateDateTime", drover.SIEMDetections: "LastProcessedTimeUtc"}

// Comparer is the comparison that collect uses.
type Comparer struct{}

// Same reports whether a and b mean the same for the source. Bodies that
// cannot be read as JSON are the same only byte by byte.
func (Comparer) Same(src drover.SourceID, a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, err := parse(a)
	if err != nil {
		return false
	}
	y, err := parse(b)
	if err != nil {
		return false
	}
	return canonical(src, x) == canonical(src, y)
}

// Diff returns the paths of the members that differ, at most maxPaths, without
// regard to volatile ones; touch is true when only the change time does.
func (Comparer) Diff(src drover.SourceID, before, after []byte) (paths []string, touch bool) {
	x, err := parse(before)
	if err != nil {
		return nil, false
	}
	y, err := parse(after)
	if err != nil {
		return nil, false
	}
	a, ok1 := x.(map[string]any)
	b, ok2 := y.(map[string]any)
	if !ok1 || !ok2 {
		return nil, false
	}
	touch = true
	names := make(map[string]bool)
	for n := range a {
		names[n] = true
	}
	for n := range b {
		names[n] = true
	}
	for n := range names {
		_, inA := a[n]
		_, inB := b[n]
		if inA == inB && render(src, n, a[n]) == render(src, n, b[n]) {
			continue
		}
		if slices.Contains(volatile[src], n) {
			continue
		}
		if n != times[src] {
			touch = false
		}
		paths = append(paths, safeName(n))
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if len(paths) > maxPaths {
		paths = append(paths[:maxPaths-1], "*")
	}
	return paths, touch && len(paths) > 0
}

// maxPaths bounds how many paths are kept with a revision.
const maxPaths = 32

// safeName lets a member's name through that is a plain word.
func safeName(s string) string {
	if len(s) > 64 || s == "" {
		return "*"
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '@') {
			return "*"
		}
	}
	return s
}

// maxDepth bounds nesting; deeper bodies are compared byte by byte.
const maxDepth = 200

var (
	errDepth = errors.New("nested too deeply")
	errJSON  = errors.New("not one JSON value")
)

// parse reads a body. A name that stands twice, text that is not UTF-8 and
// anything behind the value make it unreadable. Numbers stay as written.
func parse(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, errJSON
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err == nil {
		return nil, errJSON
	}
	return v, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		m := make(map[string]any)
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, ok := k.(string)
			if !ok {
				return nil, errJSON
			}
			if _, twice := m[name]; twice {
				return nil, errJSON
			}
			if m[name], err = parseValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err = d.Token()
		return m, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return t, nil
}

// canonical renders a body so that equal texts mean equal alerts.
func canonical(src drover.SourceID, v any) string { return render(src, "", v) }

func render(src drover.SourceID, path string, v any) string {
	var b strings.Builder
	appendValue(&b, src, path, v)
	return b.String()
}

func appendValue(b *strings.Builder, src drover.SourceID, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for n := range v {
			names = append(names, n)
		}
		slices.Sort(names)
		b.WriteByte('{')
		for _, n := range names {
			p := join(path, n)
			if slices.Contains(volatile[src], p) {
				continue
			}
			quote(b, n)
			b.WriteByte(':')
			appendValue(b, src, p, v[n])
			b.WriteByte(',')
		}
		b.WriteByte('}')
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = render(src, path+"[]", e)
		}
		if !slices.Contains(ordered[src], path) {
			slices.Sort(parts)
		}
		b.WriteByte('[')
		for _, p := range parts {
			b.WriteString(p)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case string:
		quote(b, v)
	case json.Number:
		b.WriteString(v.String()) // as written: no number passes through a float
	case bool:
		if v {
			b.WriteString("true")
		} else {
			b.WriteString("false")
		}
	default:
		b.WriteString("null")
	}
}

func quote(b *strings.Builder, s string) {
	q, err := json.Marshal(s)
	if err != nil {
		q = []byte(`""`)
	}
	b.Write(q)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
