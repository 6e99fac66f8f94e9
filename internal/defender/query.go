package defender

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"drover"
	"drover/internal/httpx"
)

// query is one question to Graph: alerts that changed from an instant on, up
// to but not at another, in the order of their change times.
type query struct {
	from, to drover.Instant // NoInstant: not bounded
	filter   string         // one more condition, "" for none
	top      int
	skip     int // only to find out whether there is more
}

// url renders the question. Blanks are %20: a plus sign means a blank only in
// forms, and not to every gateway.
func (q query) url(collection string, top int) string {
	var terms []string
	if q.from.Known() {
		terms = append(terms, "lastUpdateDateTime ge "+literal(q.from))
	}
	if q.to.Known() && q.to < endOfTime {
		terms = append(terms, "lastUpdateDateTime lt "+literal(q.to))
	}
	if q.filter != "" {
		terms = append(terms, q.filter)
	}
	u := collection + "?"
	if len(terms) > 0 {
		u += "$filter=" + strings.ReplaceAll(url.QueryEscape(strings.Join(terms, " and ")), "+", "%20") + "&"
	}
	u += "$orderby=lastUpdateDateTime%20asc&$top=" + strconv.Itoa(top)
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

// topTries bounds how often $top is lowered for one page: 1,000 halved to 7.
const topTries = 7

// smallerTop returns the page size to try after a 400: the number that the
// message quotes as the limit, else half; 0 if the 400 is not about $top.
// The code of such an error is the empty string (reference graph-security
// §10).
func smallerTop(res *httpx.Response, top int) int {
	if res.Status != http.StatusBadRequest {
		return 0
	}
	_, message := httpx.Explain("", res)
	if message != "" && !strings.Contains(strings.ToLower(message), "top") {
		return 0
	}
	for i, part := range strings.Split(message, "'") {
		if n, err := strconv.Atoi(part); err == nil && i%2 == 1 && n > 0 && n < top {
			return n
		}
	}
	return top / 2
}
