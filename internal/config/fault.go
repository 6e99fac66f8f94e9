package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing wrong in a config file, or worth a warning.
type Fault struct {
	File string
	Line int // from 1; 0: the file as a whole
	Text string
}

// Error is "file:line: text".
func (f Fault) Error() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.Text)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// Faults is everything that is wrong in a config file, in the order of lines.
type Faults []Fault

// maxFaults bounds what is printed: a file of another kind has a fault on
// every line, and the first ones say it.
const maxFaults = 50

// Error lists the faults, one a line.
func (f Faults) Error() string {
	var b strings.Builder
	for i, one := range f {
		if i == maxFaults {
			fmt.Fprintf(&b, "\n%s: and %d more", one.File, len(f)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
	}
	return b.String()
}

// sorted orders by line and drops what was said twice.
func (f Faults) sorted() Faults {
	slices.SortStableFunc(f, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	return slices.Compact(f)
}
