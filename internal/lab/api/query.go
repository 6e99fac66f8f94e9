package api

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

// refusal is a 400.
type refusal struct{ code, message string }

// listing is a list request, understood.
type listing struct {
	match     test
	from      time.Time // all matches change then or later
	top, skip int
	order     []sortKey
	count     bool
	names     []string // $select; nil: every member
}

type sortKey struct {
	property   string
	descending bool
}

// natural reports that the listing is in the order of change times, as the
// estate keeps them.
func (l *listing) natural(f *feed) bool {
	return len(l.order) == 1 && l.order[0] == sortKey{property: f.changed}
}

// understand reads the query options. Names are taken as they are written in
// the documents; options without a $ are no business of OData and are ignored.
func (q *request) understand() (l listing, bad *refusal) {
	no := func(code, format string, args ...any) (listing, *refusal) {
		return listing{}, &refusal{code, fmt.Sprintf(format, args...)}
	}
	v, err := url.ParseQuery(q.r.URL.RawQuery)
	if err != nil {
		return no("BadRequest", "The query string cannot be read: %v", err)
	}
	for name, list := range v {
		if strings.HasPrefix(name, "$") && !slices.Contains(q.feed.options, name) {
			return no("BadRequest", "The query option '%s' is not supported.", name)
		}
		if strings.HasPrefix(name, "$") && len(list) > 1 {
			return no("BadRequest", "Query option '%s' was specified more than once, but it must be specified at most once.", name)
		}
	}
	if l.match, l.from, err = parseFilter(v.Get("$filter"), q.feed); err != nil {
		return no("BadRequest", "Invalid filter clause: %v", err)
	}
	if l.order, err = parseOrder(v.Get("$orderby"), q.feed); err != nil {
		return no("BadRequest", "%v", err)
	}
	if len(l.order) == 0 {
		l.order = []sortKey{{property: q.feed.changed, descending: true}}
		if q.sw.NewestByCreated {
			l.order[0].property = map[bool]string{false: "createdDateTime", true: "alertCreationTime"}[q.api == "mde"]
		}
	}
	if v.Has("$select") {
		for name := range strings.SplitSeq(v.Get("$select"), ",") {
			if name = strings.TrimSpace(name); name == "*" {
				l.names = nil
				break
			}
			if !slices.Contains(q.feed.properties, name) {
				return no("BadRequest", "Could not find a property named '%s' on type '%s'.", name, q.feed.typeName)
			}
			l.names = append(l.names, name)
		}
	}
	if v.Has("$expand") {
		if q.expand = v.Get("$expand") == q.expandable(); !q.expand {
			return no("BadRequest", "Could not find a property named '%s' to expand on type '%s'.", v.Get("$expand"), q.feed.typeName)
		}
	}
	switch c := v.Get("$count"); c {
	case "", "false":
	case "true":
		l.count = true
	default:
		return no("BadRequest", "Invalid value '%s' for $count query option found.", c)
	}
	return q.understandPage(l, v)
}

// understandPage reads $top, $skip and $skiptoken.
func (q *request) understandPage(l listing, v url.Values) (listing, *refusal) {
	no := func(format string, args ...any) (listing, *refusal) {
		return listing{}, &refusal{q.feed.pageCode, "The query specified in the URI is not valid. " + fmt.Sprintf(format, args...)}
	}
	var err error
	if l.top, err = number(v, "$top", q.feed.top); err != nil {
		return no("Invalid value '%s' for $top query option found.", v.Get("$top"))
	}
	limit := q.feed.topMax
	f, refused := q.has(fault.TopRefused)
	if refused {
		limit = f.Param
	}
	if l.top > limit && (refused || q.refusesTop()) {
		return no("The limit of '%d' for Top query has been exceeded. The value from the incoming request is '%d'.", limit, l.top)
	}
	l.top = min(l.top, q.feed.topMax)
	if f, ok := q.has(fault.TopIgnored); ok {
		if l.top = f.Param; l.top <= 0 {
			l.top = q.feed.top
		}
	}
	if f, ok := q.has(fault.Clamp); ok {
		l.top = min(l.top, max(f.Param, 1))
	}
	if v.Has("$skiptoken") {
		if l.skip, err = number(v, "$skiptoken", 0); err != nil || v.Has("$skip") {
			return no("Skip token is not valid.")
		}
		return l, nil
	}
	if l.skip, err = number(v, "$skip", 0); err != nil {
		return no("Invalid value '%s' for $skip query option found.", v.Get("$skip"))
	}
	if l.skip > q.feed.skipMax {
		return no("The limit of '%d' for Skip query has been exceeded. The value from the incoming request is '%d'.", q.feed.skipMax, l.skip)
	}
	return l, nil
}

// refusesTop reports whether a $top above the limit is refused; else it is
// clamped.
func (q *request) refusesTop() bool {
	switch q.feed.api {
	case "graph.incidents":
		return true
	case "mde":
		return q.sw.MDETopRefused
	}
	return q.sw.TopRefused
}

// expandable is what $expand can name.
func (q *request) expandable() string {
	return map[string]string{"graph.incidents": "alerts", "mde": "evidence"}[q.feed.api]
}

// number reads an option that is a number of rows.
func number(v url.Values, name string, def int) (int, error) {
	if !v.Has(name) {
		return def, nil
	}
	n, err := strconv.ParseUint(v.Get(name), 10, 31)
	return int(n), err
}

// parseOrder reads $orderby over the properties that can be filtered by.
func parseOrder(s string, f *feed) (keys []sortKey, err error) {
	if s == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || !slices.Contains(f.filters, words[0]) || len(words) == 2 && words[1] != "asc" && words[1] != "desc" {
			return nil, fmt.Errorf("Invalid $orderby clause: %q", part)
		}
		keys = append(keys, sortKey{words[0], len(words) == 2 && words[1] == "desc"})
	}
	return keys, nil
}

// sorted puts rows, which are in the order of change times, in another order.
func (l *listing) sorted(rows []*estate.Row) {
	slices.SortStableFunc(rows, func(a, b *estate.Row) int {
		for _, k := range l.order {
			c := 0
			if timely(k.property) {
				c = instant(a, k.property).Compare(instant(b, k.property))
			} else {
				c = strings.Compare(a.Word(k.property), b.Word(k.property))
			}
			if k.descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
}
