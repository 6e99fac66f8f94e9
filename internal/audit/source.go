package audit

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"drover"
)

// source is how one kind of API is read here. A further one is one of these, in
// a file of its own, and a line in sources.
type source struct {
	id drover.SourceID
	// path of the collection, below the host.
	path string
	// by says which time of a row the window bounds.
	by by
	// says tells a reader of the report how the window is read.
	says string
	// names of the members by which a row is known. Of id and tenants the first
	// that is there counts.
	names  names
	header http.Header
	// ask is the query for the rows of a span; top is how many at once, and
	// count whether their number is wanted.
	ask func(span drover.Span, top int, count bool) string
	// one is what follows path to get a single row; nil: there is no such call,
	// and a narrow window is read in its place.
	one func(id string) string
	top int // rows asked for at once
	// newest: the answer comes in the order of the window's time, the newest
	// first, in pages that are linked. Else in no order, whole or cut somewhere,
	// and windows are read and checked by their parts.
	newest bool
	// cannotSee adds to what no audit of this source can see.
	cannotSee []string
}

// names of members.
type names struct {
	id, changed, created, severity, provider string
	tenant                                   []string
}

// by is the time of a row that a window bounds.
type by string

const (
	byCreated by = "created"
	byChanged by = "changed"
)

// sources are the APIs that can be audited.
var sources = map[drover.SourceID]*source{
	drover.GraphAlerts:    &graphAlerts,
	drover.GraphIncidents: &graphIncidents,
	drover.MDEAlerts:      &mdeAlerts,
	drover.SIEMDetections: &siemDetections,
}

// grain widens what is asked for on both sides, since an API may compare times
// more coarsely than it shows them. What lies outside is left out again.
const grain = time.Millisecond

// odata renders a query of OData. Blanks are %20.
func odata(filter, order string, top int, count bool, more string) string {
	q := "?$filter=" + escape(filter)
	if order != "" {
		q += "&$orderby=" + escape(order)
	}
	q += "&$top=" + strconv.Itoa(top)
	if count {
		q += "&$count=true"
	}
	return q + more
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// between is a filter for the rows of a span, by a member.
func between(member string, span drover.Span) string {
	return member + " ge " + span.From.Add(-grain).String() + " and " + member + " lt " + span.To.Add(grain).String()
}
