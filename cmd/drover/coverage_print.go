package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"drover"
	"drover/internal/coverage"
)

// textWidth is that of a plain terminal.
const textWidth = 80

// printCoverage prints what is Microsoft's matter first, then tenant by tenant,
// and last what none of it can show.
func printCoverage(w io.Writer, r coverageReport) error {
	p := &paragraphs{w: w}
	for _, o := range r.Everywhere {
		p.say("", o.Name+" is silent everywhere: "+o.Says+". That is Microsoft's: look at the service health of Microsoft 365; at the customers nothing is to be done.")
		p.line("")
	}
	if len(r.Tenants)+len(r.Failed) == 0 {
		p.line("no tenants; add one: drover tenant add TENANT-ID --name …")
	}
	for i := range r.Tenants {
		p.tenant(&r.Tenants[i], r.Days)
		p.line("")
	}
	for _, f := range r.Failed {
		p.say("", f.Tenant+": nothing can be told: "+f.Says)
		p.hint(f.Hint)
		p.line("")
	}
	if len(r.Tenants) > 0 {
		p.line("What none of these APIs shows, covered or not:")
		for _, text := range r.NotShown {
			p.say("- ", text)
		}
	}
	return p.err
}

// paragraphs writes text that is broken at textWidth.
type paragraphs struct {
	w   io.Writer
	err error
}

func (p *paragraphs) line(text string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(text, " "))
	}
}

// say writes text behind a mark; its other lines are set in by as much.
func (p *paragraphs) say(mark, text string) {
	in := strings.Repeat(" ", utf8.RuneCountInString(mark))
	at := mark
	for _, word := range strings.Fields(clean(text)) {
		switch n := utf8.RuneCountInString(at) + utf8.RuneCountInString(word); {
		case at == mark || at == in:
			at += word
		case n+1 > textWidth:
			p.line(at)
			at = in + word
		default:
			at += " " + word
		}
	}
	p.line(at)
}

func (p *paragraphs) hint(text string) {
	if text != "" {
		p.say("      hint: ", text)
	}
}

func (p *paragraphs) tenant(t *coverage.Tenant, days int) {
	title := fmt.Sprintf("%s (%s)", clean(t.Name), t.ID)
	if t.State == drover.Paused {
		title += ": paused, not read now"
	}
	p.line(title)
	if t.Unproven != "" {
		p.say("  ", t.Unproven)
	}
	for i := range t.Sources {
		p.source(&t.Sources[i])
	}
	p.line("")
	var table, quiet []coverage.Line
	for _, l := range t.Products {
		switch {
		case l.Alerts > 0 || l.Verdict == coverage.Unlicensed && sourceOf(t, l.By).Answer == coverage.Open:
			table = append(table, l)
		default:
			quiet = append(quiet, l)
		}
	}
	if len(table) > 0 {
		const row = "%-23s  %6s  %-16s  %-9s  %s"
		p.line(fmt.Sprintf(row, "PRODUCT", "SEEN", "NEWEST (UTC)", "USUAL GAP", "VERDICT"))
		for _, l := range table {
			newest, gap := "-", "-"
			if l.Newest.Known() {
				newest = l.Newest.Time().Format("2006-01-02 15:04")
			}
			if l.UsualGap > 0 {
				gap = coverage.Words(l.UsualGap)
			}
			verdict := string(l.Verdict)
			if l.Everywhere {
				verdict += " everywhere"
			}
			p.line(fmt.Sprintf(row, cut(l.Name, 23), fmt.Sprint(l.Alerts), newest, gap, verdict))
			p.others(t, l, row)
		}
		p.line("")
	}
	for _, l := range table {
		if l.Says != "" && !l.Everywhere && sourceOf(t, l.By).Answer == coverage.Open {
			p.say("", l.Name+": "+l.Says+".")
			p.hint(l.Hint)
		}
	}
	p.quiet(quiet, days)
}

// others are the other sources that brought alerts of a product.
func (p *paragraphs) others(t *coverage.Tenant, l coverage.Line, row string) {
	for _, s := range t.Sources {
		for _, n := range s.Seen {
			if s.ID != l.By && n.Product == l.Product {
				gap := "-"
				if n.UsualGap > 0 {
					gap = coverage.Words(n.UsualGap)
				}
				p.line(fmt.Sprintf(row, "  by "+string(s.ID), fmt.Sprint(n.Alerts), n.Newest.Time().Format("2006-01-02 15:04"), gap, ""))
			}
		}
	}
}

// quiet lists products of which nothing was seen, by what is said of them.
func (p *paragraphs) quiet(lines []coverage.Line, days int) {
	type group struct {
		verdict coverage.Verdict
		says    string
	}
	byGroup := make(map[group][]string)
	var order []group
	for _, l := range lines {
		g := group{l.Verdict, l.Says}
		if byGroup[g] == nil {
			order = append(order, g)
		}
		byGroup[g] = append(byGroup[g], l.Name)
	}
	for _, g := range order {
		names := strings.Join(byGroup[g], ", ")
		if g.verdict == coverage.Undetermined {
			p.say("", fmt.Sprintf("%s: %s: %s.", g.verdict, names, strings.TrimSuffix(g.says, ".")))
			continue
		}
		p.say("", fmt.Sprintf("%s: %s, and nothing seen in %d days.", g.verdict, names, days))
	}
}

// source says how one source is read.
func (p *paragraphs) source(s *coverage.Source) {
	text := string(s.ID) + ": "
	switch s.Answer {
	case coverage.Open:
		text += "the API answers"
	case coverage.NotGranted:
		text += "NOT GRANTED: " + s.Says
	case coverage.NotOnboarded:
		text += "NOT LICENSED OR NOT ONBOARDED, the API does not say which: " + s.Says
	case coverage.Ambiguous:
		text += "REFUSED: not granted, or not onboarded; the API does not say which: " + s.Says
	case coverage.Denied:
		text += "REFUSED: " + s.Says
	case coverage.Unasked:
		text += "could not be asked now: " + s.Says
	}
	text += "; " + readUpTo(s.ReadUpTo)
	if s.Pruned {
		text += "; older bodies have been thrown away, what is kept was counted"
	}
	p.say("  ", text)
	if s.Answer != coverage.Open {
		p.hint(s.Hint)
	}
	switch {
	case len(s.Permissions) > 0 && s.Wants != "": // else they say nothing of this API
		p.say("    ", "granted: "+strings.Join(s.Permissions, ", ")+opens(s.Opens))
	case s.Answer == coverage.NotGranted && s.Wants != "":
		p.say("    ", "its token carries no permission; it needs "+s.Wants)
	}
	if s.Delegated {
		p.say("    ", "read with a person's sign-in: what that person may not see in Defender is not shown")
	}
	for _, name := range s.Absent {
		p.say("    ", "the API leaves out: "+name)
	}
	for _, name := range s.Failed {
		p.say("    ", "did not answer just now: "+name)
	}
}

func opens(list []drover.SourceID) string {
	if len(list) == 0 {
		return ""
	}
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = string(s)
	}
	return " (opens " + strings.Join(words, ", ") + ")"
}

func readUpTo(i drover.Instant) string {
	if !i.Known() {
		return "never read whole yet"
	}
	return "read up to " + i.Time().Format("2006-01-02 15:04Z")
}

func sourceOf(t *coverage.Tenant, id drover.SourceID) *coverage.Source {
	for i := range t.Sources {
		if t.Sources[i].ID == id {
			return &t.Sources[i]
		}
	}
	return &coverage.Source{}
}

// cut shortens a name for a column.
func cut(s string, n int) string {
	if s = clean(s); utf8.RuneCountInString(s) > n {
		return string([]rune(s)[:n-1]) + "…"
	}
	return s
}
