package audit

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"drover"
)

//go:embed report.html
var pageText string

// shownDifferences bounds how many differences of a feed stand on the page; the
// JSON has all.
const shownDifferences = 500

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"when":    when,
	"verdict": func(v Verdict) string { return verdicts[v] },
	"class":   func(v Verdict) string { return strings.ReplaceAll(string(v), " ", "-") },
	"why":     func(s string) string { return whys[s] },
	"what":    func(d Difference) string { return whatSentence(d) },
	"first": func(d []Difference) []Difference {
		return d[:min(len(d), shownDifferences)]
	},
	"more":    func(d []Difference) int { return max(0, len(d)-shownDifferences) },
	"grouped": grouped,
	"num":     number,
	"total":   func(f *ReportFeed) Day { return total(f) },
	"by":      func(s string) string { return bys[s] },
}).Parse(pageText))

// HTML writes the report as one page that needs nothing else, to be read by
// people who do not know drover.
func (r *Report) HTML(w io.Writer) error { return reportPage.Execute(w, r) }

var verdicts = map[Verdict]string{
	Agree:      "Every row is accounted for.",
	Differ:     "Something is missing or wrong, and nothing explains it.",
	CannotTell: "Something could not be read, so completeness cannot be told.",
}

var bys = map[string]string{string(byCreated): "created", string(byChanged): "last changed"}

// whys says each explanation in plain words.
var whys = map[string]string{
	WhyLate:       "became visible late, and was taken while the audit waited",
	WhySuperseded: "has changed since; the newer state is there",
	WhyRetention:  "older than what is kept",
	WhyNotRouted:  "no route leads there, by configuration",
	WhyPending:    "its turn had not come yet",
	WhySetAside:   "listed as set aside, with its reason",
	WhyGap:        "a gap that is known and listed covers it",
	WhyForeign:    "names another tenant, and was kept apart for that",
	WhyNotOwed:    "from before this tenant, or this sink, began",
	WhyVanished:   "the API shows it no more",
	WhyUnstable:   "shows more contents under one change time than are taken",
	WhyMoved:      "files were taken away since; it may lie there",
	Unexplained:   "UNEXPLAINED",
}

func whatSentence(d Difference) string {
	where := map[string]string{"ledger": "the ledger", "api": "the API", "sink": "sink " + string(d.Sink)}[d.Where]
	switch {
	case d.What == Missing:
		return "not in " + where
	case d.What == Altered:
		return "another content in " + where
	case d.What == Twice:
		return "twice in " + where
	case d.What == Foreign && d.Where == "ledger" && d.Why == WhyForeign:
		return "shown by the API, of another tenant"
	case d.What == Foreign:
		return "of another tenant, in " + where
	case d.What == Extra && d.Where == "api":
		return "in the ledger, not in the API"
	case d.What == Extra:
		return "in " + where + ", not in the ledger"
	case d.What == Place:
		return "the place and the counts of " + where + " do not fit"
	}
	return d.What
}

// when shows a time for people.
func when(i drover.Instant) string {
	if !i.Known() {
		return "–"
	}
	return i.Time().Format("2006-01-02 15:04:05") + " UTC"
}

// number groups digits by thousands.
func number(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Group is differences of one kind, counted.
type Group struct {
	What, Why string
	N         int
	Bad       bool
}

func grouped(list []Difference) (out []Group) {
	at := make(map[string]int)
	for _, d := range list {
		what := whatSentence(d)
		i, ok := at[what+d.Why]
		if !ok {
			i = len(out)
			at[what+d.Why] = i
			out = append(out, Group{What: what, Why: whys[d.Why], Bad: d.Why == Unexplained})
		}
		out[i].N += d.N
	}
	return out
}

// Explained counts all explained differences, at the sinks too.
func (f *ReportFeed) Explained() int { return f.sumOf(false) }

// Unexplained counts the others.
func (f *ReportFeed) Unexplained() int { return f.sumOf(true) }

func (f *ReportFeed) sumOf(bad bool) (n int) {
	for _, d := range f.Differences {
		if (d.Why == Unexplained) == bad {
			n += d.N
		}
	}
	return n
}

func total(f *ReportFeed) (sum Day) {
	for _, d := range f.Days {
		sum.API += d.API
		sum.Ledger += d.Ledger
		sum.Agreed += d.Agreed
		sum.Explained += d.Explained
		sum.Unexplained += d.Unexplained
	}
	return sum
}
