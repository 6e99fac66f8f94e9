package oracle

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// tableWidth is the width of a terminal that the table is laid out for.
const tableWidth = 100

// maxRows is how many customers the table lists when there are more; those with
// findings come before those without.
const maxRows = 50

// headers of the table; the first two columns are for words.
var headers = []string{"customer", "place", "shown", "taken", "lost", "repeated", "no cause", "foreign", "altered", "order", "aside", "gaps"}

// WriteTable writes the verdict for people: a line for each customer and place,
// then what was found, then a line of totals. It is 100 columns wide.
func (v *Verdict) WriteTable(w io.Writer) error {
	b := bufio.NewWriter(w)
	rows, left := v.rows()
	widths := columnWidths(rows)
	writeRow(b, headers, widths)
	for _, r := range rows {
		writeRow(b, r, widths)
	}
	if left > 0 {
		fmt.Fprintf(b, "… and %s more customers without findings\n", thousands(left))
	}
	v.writeFindings(b)
	for _, n := range v.Notes {
		fmt.Fprintln(b, clip("note: "+printable(n), tableWidth))
	}
	v.writeTotals(b)
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// rows lays out the customers that are listed, and counts those left out.
func (v *Verdict) rows() (rows [][]string, left int) {
	bad := make(map[string]bool)
	for _, f := range v.Findings {
		bad[f.Tenant] = true
	}
	listed := 0
	for pass := range 2 {
		for i := range v.Customers {
			c := &v.Customers[i]
			all := len(v.Customers) <= maxRows
			if all && pass == 1 || !all && bad[c.Tenant] != (pass == 0) {
				continue
			}
			if listed >= maxRows && pass == 1 {
				left++
				continue
			}
			listed++
			rows = append(rows, c.rows()...)
		}
	}
	return rows, left
}

// rows is one line for each place; the ledger comes first.
func (c *Customer) rows() [][]string {
	name := c.Customer
	if name == "" {
		name = c.Tenant
	}
	name = printable(name)
	var rows [][]string
	for _, ledger := range []bool{true, false} {
		for _, a := range c.Places {
			if (a.Kind == KindLedger) != ledger {
				continue
			}
			r := []string{"", printable(a.Place), "", thousands(a.Present), thousands(a.Lost), thousands(a.Repeated), thousands(a.Unexplained),
				thousands(a.Foreign), thousands(a.Altered), thousands(a.Disorder), "", ""}
			if len(rows) == 0 {
				r[0], r[2], r[10], r[11] = name, thousands(c.Shown), thousands(c.SetAside), thousands(c.OpenGaps)
			}
			rows = append(rows, r)
		}
	}
	if rows == nil {
		rows = append(rows, []string{name, "-", thousands(c.Shown), "", "", "", "", "", "", "", thousands(c.SetAside), thousands(c.OpenGaps)})
	}
	return rows
}

// columnWidths fits the table into tableWidth at the cost of names.
func columnWidths(rows [][]string) []int {
	widths := make([]int, len(headers))
	for i, h := range headers {
		widths[i] = len(h)
		for _, r := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	for _, i := range []int{0, 1} {
		over := -tableWidth + 2*(len(widths)-1)
		for _, n := range widths {
			over += n
		}
		widths[i] = max(min(widths[i], 8), widths[i]-max(over, 0))
	}
	return widths
}

func writeRow(b *bufio.Writer, cells []string, widths []int) {
	var line strings.Builder
	for i, c := range cells {
		if i > 0 {
			line.WriteString("  ")
		}
		c = clip(c, widths[i])
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
		if i < 2 {
			line.WriteString(c + pad)
		} else {
			line.WriteString(pad + c)
		}
	}
	fmt.Fprintln(b, strings.TrimRight(line.String(), " "))
}

// writeFindings says each finding in a line, with its first example.
func (v *Verdict) writeFindings(b *bufio.Writer) {
	for _, f := range v.Findings {
		who := f.Customer
		if who == "" {
			who = f.Tenant
		}
		line := fmt.Sprintf("%s: %s", f.Fault, thousands(f.Count))
		if f.Place != "" {
			line += " at " + f.Place
		}
		if who != "" {
			line += ", " + who
		}
		if len(f.Examples) > 0 {
			ex := f.Examples[0]
			for _, s := range []string{ex.AlertID, ex.Detail, ex.Where} {
				if s != "" {
					line += " · " + s
				}
			}
		}
		fmt.Fprintln(b, clip(printable(line), tableWidth))
	}
}

func (v *Verdict) writeTotals(b *bufio.Writer) {
	s := v.Sum("")
	gaps := 0
	for _, c := range v.Customers {
		gaps += c.OpenGaps
	}
	word := "kept"
	if !v.OK() {
		word = "BROKEN"
	}
	parts := []string{"shown " + thousands(v.Shown())}
	for _, x := range []struct {
		name  string
		n     int
		quiet bool // not worth a word when 0
	}{
		{"lost", s.Lost, false}, {"repeated", s.Repeated, false}, {"no cause", s.Unexplained, true}, {"foreign", s.Foreign, false}, {"altered", s.Altered, true}, {"unwanted", s.Unwanted, true},
		{"excused", s.Excused, true}, {"passed over", s.PassedOver, true}, {"aside", s.SetAside, true}, {"in gaps", s.InGap, true}, {"open gaps", gaps, true}, {"early", v.Totals.Early, true},
	} {
		if x.n > 0 || !x.quiet {
			parts = append(parts, x.name+" "+thousands(x.n))
		}
	}
	fmt.Fprintf(b, "total: %s: %s\n", strings.Join(parts, ", "), word)
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// clip cuts s to n characters.
func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// printable replaces what a terminal would obey. Names come from files.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
