package oracle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Fault is the kind of a finding. Each is a broken promise.
type Fault string

// The kinds of findings.
const (
	Lost       Fault = "lost"            // shown, and neither there nor listed as not delivered
	Repeated   Fault = "repeated"        // a second record of one revision, without a cause
	EventID    Fault = "event id"        // differs between records of one revision, is shared by two, or is missing
	Foreign    Fault = "foreign"         // another customer's row, or at another customer's place
	Altered    Fault = "altered"         // bytes that nobody served, or an envelope that says something else
	OutOfOrder Fault = "out of order"    // first sends not in the order of sequence numbers
	WentBack   Fault = "went back"       // an older revision of an alert after a newer one, not marked late
	Torn       Fault = "torn"            // a line that is not one whole record
	Unmarked   Fault = "unmarked"        // a mark that a record should have and does not, or the other way round
	Refusable  Fault = "to be set aside" // a row without usable identity was delivered
	NotShown   Fault = "not shown"       // a foreign or unusable row was dealt, and is not listed as set aside
	NoReason   Fault = "no reason"       // set aside, or a gap, without a reason
	GapClosed  Fault = "gap closed"      // though revisions inside it are missing
	Sequence   Fault = "sequence"        // numbers of a feed in the ledger with a hole or a repeat
	Leak       Fault = "leak"            // a secret in an output
	Unwanted   Fault = "unwanted"        // a record that the sink is not to be given
)

// Example is one case of a finding: IDs and hashes, never a body.
type Example struct {
	Source  string `json:"source,omitempty"`
	AlertID string `json:"alert_id,omitempty"`
	Rev     int    `json:"rev"` // in the truth log; -1 if unknown
	SHA256  string `json:"sha256,omitempty"`
	EventID string `json:"event_id,omitempty"`
	Where   string `json:"where,omitempty"` // file and line
	Detail  string `json:"detail,omitempty"`
}

// Finding is all cases of one kind for one tenant at one place.
type Finding struct {
	Fault    Fault     `json:"fault"`
	Tenant   string    `json:"tenant"` // empty if it cannot be told
	Customer string    `json:"customer"`
	Place    string    `json:"place"`
	Count    int       `json:"count"`
	Examples []Example `json:"examples"`
}

// At is one tenant at one place.
type At struct {
	Place       string `json:"place"`
	Kind        Kind   `json:"kind"`
	Taken       int    `json:"taken"`   // records, repeats included
	Present     int    `json:"present"` // revisions
	Lost        int    `json:"lost"`
	Excused     int    `json:"excused"`     // not there, and whether it should be cannot be told: Excuses, or shown only just before a kill and superseded
	PassedOver  int    `json:"passed_over"` // not there, as the sink is not to be given them
	Unwanted    int    `json:"unwanted"`    // there all the same
	SetAside    int    `json:"set_aside"`   // owed revisions that are listed as refused
	InGap       int    `json:"in_gap"`      // owed revisions inside a gap that is shown
	Repeated    int    `json:"repeated"`    // records beyond the first of a revision
	Explained   int    `json:"explained"`
	Unexplained int    `json:"unexplained"`
	Foreign     int    `json:"foreign"`
	Altered     int    `json:"altered"`
	Disorder    int    `json:"disorder"`  // out of order and went back
	Unnamed     int    `json:"unnamed"`   // records marked as naming no tenant
	Swallowed   int    `json:"swallowed"` // lost revisions that the receiver said it had taken
}

// Customer is one tenant and where its revisions went.
type Customer struct {
	Tenant   string `json:"tenant"`
	Customer string `json:"customer"`
	Shown    int    `json:"shown"` // revisions owed
	Places   []At   `json:"places"`
	SetAside int    `json:"set_aside"` // entries in the ledger export
	OpenGaps int    `json:"open_gaps"`
}

// Totals are what the truth log counts.
type Totals struct {
	Seed         int64          `json:"seed"`
	Issued       int            `json:"issued"`
	Rows         int            `json:"rows"` // in answers that were read whole
	Requests     int            `json:"requests"`
	Early        int            `json:"early"` // requests before a Retry-After had passed
	TokenCalls   int            `json:"token_calls"`
	TokenRefused int            `json:"token_refused"`
	Kills        int            `json:"kills"`
	Unnamed      int            `json:"unnamed"` // rows dealt that name no tenant
	Faults       map[string]int `json:"faults"`

	from, to tick
}

// Span is the time from the first to the last event of the truth log.
func (t *Totals) Span() time.Duration {
	if t.from == noTick {
		return 0
	}
	return t.to.sub(t.from)
}

// Verdict is what Judge found.
type Verdict struct {
	Totals    Totals            `json:"totals"`
	Customers []Customer        `json:"customers"` // by slug
	Findings  []Finding         `json:"findings"`
	Notes     []string          `json:"notes"` // worth knowing, and no fault
	Excuses   []Excuse          `json:"excuses,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	lags      map[string]lag
}

// Excuse counts revisions of which it cannot be told from outside whether a
// sink that filters is to be given them: whatever it did is let pass.
type Excuse struct {
	Place   string `json:"place"`
	Reason  string `json:"reason"`
	Missing int    `json:"missing"` // are not there; also counted as At.Excused
	Present int    `json:"present"` // are there
}

// OK reports whether every promise that can be seen from outside was kept.
func (v *Verdict) OK() bool { return len(v.Findings) == 0 }

// Found returns the findings of one kind.
func (v *Verdict) Found(f Fault) []Finding {
	var list []Finding
	for _, x := range v.Findings {
		if x.Fault == f {
			list = append(list, x)
		}
	}
	return list
}

// Sum adds up all customers at one place; all places if name is empty.
func (v *Verdict) Sum(place string) At {
	s := At{Place: place}
	for _, c := range v.Customers {
		for _, a := range c.Places {
			if place != "" && a.Place != place {
				continue
			}
			s.Kind = a.Kind
			s.Taken += a.Taken
			s.Present += a.Present
			s.Lost += a.Lost
			s.Excused += a.Excused
			s.SetAside += a.SetAside
			s.InGap += a.InGap
			s.Repeated += a.Repeated
			s.Explained += a.Explained
			s.Unexplained += a.Unexplained
			s.Foreign += a.Foreign
			s.Altered += a.Altered
			s.Disorder += a.Disorder
			s.Unnamed += a.Unnamed
			s.Swallowed += a.Swallowed
			s.PassedOver += a.PassedOver
			s.Unwanted += a.Unwanted
		}
	}
	return s
}

// Shown is the number of revisions owed, of all customers.
func (v *Verdict) Shown() int {
	n := 0
	for _, c := range v.Customers {
		n += c.Shown
	}
	return n
}

// WriteJSON writes the whole verdict, indented.
func (v *Verdict) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(struct {
		OK bool `json:"ok"`
		*Verdict
	}{v.OK(), v}); err != nil {
		return fmt.Errorf("write verdict: %w", err)
	}
	return nil
}

// findingKey is what findings are gathered by.
type findingKey struct {
	fault  Fault
	tenant string
	place  string
}

// find books one case.
func (j *judge) find(f Fault, tenant, place string, ex Example) {
	key := findingKey{f, tenant, place}
	x := j.findings[key]
	if x == nil {
		x = &Finding{Fault: f, Tenant: tenant, Place: place}
		j.findings[key] = x
	}
	x.Count++
	if len(x.Examples) < j.in.Examples {
		x.Examples = append(x.Examples, ex)
	}
}

// note says something that is no fault.
func (j *judge) note(format string, args ...any) {
	if len(j.notes) < 100 {
		j.notes = append(j.notes, fmt.Sprintf(format, args...))
	}
}

// sorted returns the findings in a fixed order: the gravest kind first.
func (j *judge) sorted() []Finding {
	order := []Fault{Leak, Foreign, Lost, GapClosed, Unwanted, Altered, Repeated, EventID, WentBack, OutOfOrder, Torn, Refusable, Unmarked, NotShown, NoReason, Sequence}
	list := make([]Finding, 0, len(j.findings))
	for _, f := range j.findings {
		if t, ok := j.m.tenantOf[f.Tenant]; ok {
			f.Customer = j.m.tenants[t].slug
		}
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Fault), slices.Index(order, b.Fault)), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Place, b.Place))
	})
	return list
}
