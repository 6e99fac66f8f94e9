package defender

import (
	"cmp"
	"net/url"
	"strconv"
	"strings"

	"drover"
)

// query is one question by OData: alerts that changed from an instant on, up to
// but not at another.
type query struct {
	from, to drover.Instant // NoInstant: not bounded
	filter   string         // one more condition, "" for none
	top      int
	skip     int    // only to find out whether there is more
	changed  string // the member that carries the change time, Graph's if empty
	rest     string // what else is asked for; if empty, the order of change times
}

// url renders the question. Blanks are %20: a plus sign means a blank only in
// forms, and not to every gateway.
func (q query) url(collection string, top int) string {
	changed, rest := cmp.Or(q.changed, graphFields.changed), cmp.Or(q.rest, "$orderby=lastUpdateDateTime%20asc")
	var terms []string
	if q.from.Known() {
		terms = append(terms, changed+" ge "+literal(q.from))
	}
	if q.to.Known() && q.to < endOfTime {
		terms = append(terms, changed+" lt "+literal(q.to))
	}
	if q.filter != "" {
		terms = append(terms, q.filter)
	}
	u := collection + "?"
	if len(terms) > 0 {
		u += "$filter=" + strings.ReplaceAll(url.QueryEscape(strings.Join(terms, " and ")), "+", "%20") + "&"
	}
	u += rest + "&$top=" + strconv.Itoa(top)
	if q.skip > 0 {
		u += "&$skip=" + strconv.Itoa(q.skip)
	}
	return u
}

// Bounds of the time literals that exist.
var (
	beginOfTime = mustInstant("0001-01-01T00:00:00Z")
	endOfTime   = mustInstant("9999-12-31T23:59:59.9999999Z")
)

func mustInstant(s string) drover.Instant {
	i, err := drover.ParseInstant(s)
	if err != nil {
		panic(err)
	}
	return i
}

// literal renders a time as a literal: UTC, seven digits.
func literal(i drover.Instant) string { return min(max(i, beginOfTime), endOfTime).String() }
