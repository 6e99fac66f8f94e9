package revision

import (
	"crypto/sha256"
	"slices"
	"strings"

	"drover"
)

// Bounds of what is kept with a revision.
const (
	maxPaths = 32
	maxPath  = 128
	maxName  = 64
)

// Diff returns the paths of the members that differ, sorted, at most 32; more
// of them end in "*". A path names members with dots between, and "[]" for an
// element of an array; a name that is no plain word stands as "*", so that no
// text of an alert gets in. touchOnly is true when nothing differs but the
// change time. Volatile members do not count. Bodies that cannot be compared
// differ in "*".
func Diff(src drover.SourceID, before, after []byte) (paths []string, touchOnly bool) {
	x, errX := parse(before)
	y, errY := parse(after)
	if errX != nil || errY != nil {
		if string(before) == string(after) {
			return nil, false
		}
		return []string{"*"}, false
	}
	d := differ{rules: rulesOf(src), found: make(map[string]struct{})}
	d.values(x, y, nil)
	for p := range d.found {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	touchOnly = len(paths) == 1 && paths[0] == d.time && d.time != "" && !d.more
	if d.more {
		paths = append(paths[:maxPaths-1], "*")
	}
	return paths, touchOnly
}

// Unstable names the members in which any of the bodies differs from the
// first, as Diff does.
func Unstable(src drover.SourceID, bodies ...[]byte) []string {
	var all []string
	for i := 1; i < len(bodies); i++ {
		paths, _ := Diff(src, bodies[0], bodies[i])
		all = append(all, paths...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > maxPaths {
		all = append(all[:maxPaths-1:maxPaths-1], "*")
	}
	return all
}

type differ struct {
	*rules
	found map[string]struct{}
	note  func(path string, x, y *node) // nil: paths only
	more  bool                          // than are kept
}

// add notes that x has become y at a path; one of them may be nil.
func (d *differ) add(path []string, x, y *node) {
	p := spell(path)
	if d.note != nil {
		d.note(p, x, y)
		return
	}
	if _, ok := d.found[p]; !ok && len(d.found) >= maxPaths {
		d.more = true
		return
	}
	d.found[p] = struct{}{}
}

// values notes where x and y differ.
func (d *differ) values(x, y *node, path []string) {
	if x.kind != y.kind {
		d.add(path, x, y)
		return
	}
	switch x.kind {
	case '{':
		d.objects(x, y, path)
	case '[':
		d.arrays(x, y, path)
	default:
		if x.text != y.text {
			d.add(path, x, y)
		}
	}
}

func (d *differ) objects(x, y *node, path []string) {
	names := slices.Concat(x.names, y.names)
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		at := append(path[:len(path):len(path)], n)
		a, b := x.member(n), y.member(n)
		out := (a == nil || d.leavesOut(x, n, at)) && (b == nil || d.leavesOut(y, n, at))
		switch {
		case out:
		case a == nil || b == nil || d.leavesOut(x, n, at) != d.leavesOut(y, n, at):
			d.add(at, a, b)
		default:
			d.values(a, b, at)
		}
	}
}

// arrays compares arrays as sets, or as lists where order means something. If
// all but one element of each are equal, these two are taken for two states
// of one.
func (d *differ) arrays(x, y *node, path []string) {
	at := append(path[:len(path):len(path)], "[]")
	if d.isOrdered(path) {
		if d.sum(x, path) != d.sum(y, path) {
			d.add(at, x, y)
		}
		return
	}
	left := make(map[[sha256.Size]byte][]*node)
	n := 0
	for _, e := range x.members {
		s := d.sum(e, at)
		left[s] = append(left[s], e)
		n++
	}
	var right []*node
	for _, e := range y.members {
		s := d.sum(e, at)
		if l := left[s]; len(l) > 0 {
			left[s] = l[1:]
			n--
		} else {
			right = append(right, e)
		}
	}
	switch {
	case n == 0 && len(right) == 0:
	case n == 1 && len(right) == 1:
		for _, l := range left {
			if len(l) > 0 {
				d.values(l[0], right[0], at)
			}
		}
	case d.note == nil:
		d.add(at, nil, nil)
	default:
		for _, e := range x.members { // in their order, for whoever reads it
			if s := d.sum(e, at); len(left[s]) > 0 {
				left[s] = left[s][1:]
				d.add(at, e, nil)
			}
		}
		for _, e := range right {
			d.add(at, nil, e)
		}
	}
}

// spell renders a path within bounds.
func spell(path []string) string {
	var b strings.Builder
	for i, n := range path {
		if i > 0 && n != "[]" {
			b.WriteByte('.')
		}
		if n != "[]" && !isWord(n) {
			n = "*"
		}
		if b.Len()+len(n) > maxPath-2 {
			b.WriteByte('*')
			break
		}
		b.WriteString(n)
	}
	if b.Len() == 0 {
		return "*"
	}
	return b.String()
}

// isWord reports whether a member's name may be shown.
func isWord(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for _, c := range []byte(s) {
		if c-'0' >= 10 && (c|0x20)-'a' >= 26 && c != '_' && c != '.' && c != '@' && c != '-' {
			return false
		}
	}
	return true
}
