package audit

import (
	"cmp"
	"slices"
	"strings"

	"drover"
)

// Format names the form of a report. A change that a reader of the old form
// would misread gets another name.
const Format = "drover.audit.1"

// Verdict is what an audit comes to.
type Verdict string

// The verdicts.
const (
	Agree      Verdict = "agree"       // every row is accounted for
	Differ     Verdict = "differ"      // something is unexplained
	CannotTell Verdict = "cannot tell" // something could not be read
)

// Report is the whole. Its JSON form is described in docs/audit.md.
type Report struct {
	Format    string         `json:"format"`
	Made      drover.Instant `json:"made"` // by the local clock
	Version   string         `json:"version"`
	Ledger    Ledger         `json:"ledger"`
	Window    Window         `json:"window"`
	Verdict   Verdict        `json:"verdict"`
	Feeds     []*ReportFeed  `json:"feeds"`
	CannotSee []string       `json:"cannot_see"`
	// SHA256 is over the canonical form of everything else; see Sign.
	SHA256 string `json:"sha256"`
}

// Ledger names the ledger that was compared with.
type Ledger struct {
	ID          string `json:"id"`
	Incarnation string `json:"incarnation"`
}

// Window is the time that was audited, From included, To not.
type Window struct {
	From drover.Instant `json:"from"`
	To   drover.Instant `json:"to"`
}

// ReportFeed is one tenant read through one source.
type ReportFeed struct {
	Tenant     drover.TenantID   `json:"tenant"`
	Name       string            `json:"name"`
	Customer   drover.CustomerID `json:"customer"`
	Source     drover.SourceID   `json:"source"`
	Verdict    Verdict           `json:"verdict"`
	CannotTell []string          `json:"cannot_tell,omitempty"` // why
	Route      string            `json:"route"`                 // how the window was read
	By         string            `json:"window_by"`             // created or changed
	Through    drover.Instant    `json:"read_through"`          // how far the feed had been read, when it was compared last
	Requests   int               `json:"requests"`
	Polls      int               `json:"polls"` // how often the ledger was looked at
	Counts     Counts            `json:"counts"`
	Days       []*Day            `json:"days"`
	Sinks      []*ReportSink     `json:"sinks"`
	// Differences in the order of what they are, alert and sink. Superseded
	// states are counted and not listed.
	Differences []Difference `json:"differences"`
}

// Counts of rows of the window.
type Counts struct {
	API         int `json:"api"`          // rows that the API shows now
	Ledger      int `json:"ledger"`       // revisions in the ledger
	Same        int `json:"same"`         // rows of the API that the ledger has, byte for byte
	SameMeaning int `json:"same_meaning"` // or with other bytes that mean the same
	KeyOnly     int `json:"key_only"`     // or by key alone: the retention has taken the bytes
	Superseded  int `json:"superseded"`   // revisions of the ledger that the API has overwritten since
	Late        int `json:"late"`         // revisions that became visible late and were taken
	Checked     int `json:"checked"`      // revisions whose bytes were compared with their hash
	Explained   int `json:"explained"`    // differences of reading that the ledger accounts for
	Unexplained int `json:"unexplained"`
}

// Day counts a day (UTC) and severity of the window.
type Day struct {
	Day         string `json:"day"`
	Severity    string `json:"severity"`
	API         int    `json:"api"`
	Ledger      int    `json:"ledger"`
	Agreed      int    `json:"agreed"`
	Explained   int    `json:"explained"`
	Unexplained int    `json:"unexplained"`
}

// ReportSink is what became of the ledger's revisions of the window at a sink.
type ReportSink struct {
	Sink      drover.SinkID `json:"sink"`
	ReadBack  bool          `json:"read_back"` // its records were read and compared; else the ledger's word counts
	Note      string        `json:"note,omitempty"`
	Rows      int           `json:"rows"`
	Delivered int           `json:"delivered"` // the sink's place is past them
	Found     int           `json:"found"`     // and they were found there, byte for byte
	Pending   int           `json:"pending"`
	NotRouted int           `json:"not_routed"`
	SetAside  int           `json:"set_aside"`
	Gap       int           `json:"gap"`
	NotOwed   int           `json:"not_owed"`
	Lost      int           `json:"unexplained"`
}

// What a difference is.
const (
	Missing = "missing" // where it should be, it is not
	Altered = "altered" // another content under the same key
	Twice   = "twice"
	Foreign = "foreign" // it names, or is, another tenant's
	Extra   = "extra"   // it is there, and the one before it in the chain has none such
	Place   = "place"   // a sink's place and what is counted do not fit
)

// Why it is so.
const (
	WhyLate       = "late"        // it became visible late, and was taken while the audit waited
	WhySuperseded = "superseded"  // it has changed since
	WhyRetention  = "retention"   // it is older than what is kept
	WhyNotRouted  = "not_routed"  // no route leads there
	WhyPending    = "pending"     // its turn has not come yet
	WhySetAside   = "set_aside"   // it is listed as set aside
	WhyGap        = "gap"         // a gap covers it
	WhyForeign    = "foreign"     // it names another tenant and was set aside
	WhyNotOwed    = "not_owed"    // it is from before the tenant, or the sink, began
	WhyVanished   = "vanished"    // the API shows it no more
	WhyUnstable   = "unstable"    // it shows more contents under one change time than are taken
	WhyMoved      = "moved_away"  // files were taken away since; it may lie there
	Unexplained   = "unexplained" // nothing accounts for it
)

// Difference is one, or several of one kind where N says so.
type Difference struct {
	What     string         `json:"what"`
	Where    string         `json:"where"` // ledger, api, sink
	Sink     drover.SinkID  `json:"sink,omitempty"`
	Why      string         `json:"why"`
	AlertID  string         `json:"alert_id,omitempty"` // "" where only its hash is left
	Changed  drover.Instant `json:"changed"`
	Created  drover.Instant `json:"created"`
	Severity string         `json:"severity,omitempty"`
	Seq      uint64         `json:"seq,omitempty"`
	EventID  string         `json:"event_id,omitempty"`
	Detail   string         `json:"detail,omitempty"`
	N        int            `json:"n"`
}

// add books a difference.
func (f *ReportFeed) add(d Difference) {
	if d.N == 0 {
		d.N = 1
	}
	d.Detail, d.AlertID = plain(d.Detail), plain(d.AlertID)
	f.Differences = append(f.Differences, d)
	if d.Where == "sink" {
		return
	}
	at := d.Created
	if f.By == string(byChanged) || !at.Known() {
		at = d.Changed
	}
	day := f.day(at, d.Severity)
	if d.Why == Unexplained {
		f.Counts.Unexplained += d.N
		day.Unexplained += d.N
	} else {
		f.Counts.Explained += d.N
		day.Explained += d.N
	}
}

// day returns the counts of a day and severity.
func (f *ReportFeed) day(at drover.Instant, severity string) *Day {
	name := "unknown"
	if at.Known() {
		name = at.String()[:len("2006-01-02")]
	}
	if severity = plain(severity); severity == "" {
		severity = "unknown"
	}
	for _, d := range f.Days {
		if d.Day == name && d.Severity == severity {
			return d
		}
	}
	d := &Day{Day: name, Severity: severity}
	f.Days = append(f.Days, d)
	return d
}

// unexplained reports whether something is.
func (f *ReportFeed) unexplained() bool {
	return slices.ContainsFunc(f.Differences, func(d Difference) bool { return d.Why == Unexplained })
}

// close sorts, gives the verdicts and signs.
func (r *Report) close() {
	r.Verdict = Agree
	if len(r.Feeds) == 0 {
		r.Verdict = CannotTell
	}
	for _, f := range r.Feeds {
		slices.SortFunc(f.Days, func(a, b *Day) int {
			return cmp.Or(strings.Compare(a.Day, b.Day), strings.Compare(a.Severity, b.Severity))
		})
		slices.SortStableFunc(f.Differences, func(a, b Difference) int {
			return cmp.Or(cmp.Compare(order(a), order(b)), strings.Compare(a.What, b.What), strings.Compare(string(a.Sink), string(b.Sink)), cmp.Compare(a.Changed, b.Changed), strings.Compare(a.AlertID, b.AlertID))
		})
		f.Verdict = Agree
		switch {
		case f.unexplained():
			f.Verdict = Differ
		case len(f.CannotTell) > 0:
			f.Verdict = CannotTell
		}
		switch {
		case f.Verdict == Differ:
			r.Verdict = Differ
		case f.Verdict == CannotTell && r.Verdict == Agree:
			r.Verdict = CannotTell
		}
		if f.Days == nil {
			f.Days = []*Day{}
		}
		if f.Sinks == nil {
			f.Sinks = []*ReportSink{}
		}
		if f.Differences == nil {
			f.Differences = []Difference{}
		}
	}
	r.SHA256 = r.Sign()
}

// order puts what is unexplained first.
func order(d Difference) int {
	if d.Why == Unexplained {
		return 0
	}
	return 1
}

// plain keeps to printable characters of one line, so that a report reads the
// same wherever it is written, and not to too many.
func plain(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return s
}
