package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/lab/truth"
)

// shown is what a source shows of its rows now, as faults have it.
func (q *request) shown(rows []*estate.Row) []*estate.Row {
	now := q.a.opt.Clock()
	if f, ok := q.has(fault.Rewind); ok {
		rows = estate.AsOf(rows, now.Add(-time.Duration(f.Param)*time.Second))
	}
	if f, ok := q.has(fault.Forgets); ok {
		rows = since(rows, now.Add(-time.Duration(f.Param)*time.Hour))
	}
	if _, ok := q.has(fault.NoRows); ok {
		rows = nil
	}
	if q.caller.Scoped {
		rows = slices.DeleteFunc(slices.Clone(rows), func(r *estate.Row) bool { return sha256.Sum256([]byte(r.ID))[0]%2 == 1 })
	}
	return rows
}

// since returns the rows that changed at t or later.
func since(rows []*estate.Row, t time.Time) []*estate.Row {
	i, _ := slices.BinarySearchFunc(rows, t, func(r *estate.Row, t time.Time) int { return r.Changed.Compare(t) })
	return rows[i:]
}

// list renders the page; only: of these rows.
func (q *request) list(l listing, only func(estate.View) []*estate.Row) {
	missing, provider := q.has(fault.Provider)
	poison, poisoned := q.has(fault.PoisonAt)
	match := func(r *estate.Row) bool { return l.match(r) && !(provider && r.Service() == missing.Value) }
	scheme := "https"
	if q.r.TLS == nil {
		scheme = "http"
	}
	body := append([]byte(nil), `{"@odata.context":"`+scheme+`://`+q.r.Host+q.feed.context...)
	if l.names != nil {
		body = append(body, "("+strings.Join(l.names, ",")+")"...)
	}
	body = append(body, '"')
	hit, crowded := false, false
	q.a.opt.Estate.See(q.caller.Tenant, q.source, q.a.opt.Clock(), func(v estate.View) {
		if only != nil {
			v.Rows = only(v)
		}
		rows := q.shown(v.Rows)
		if !l.from.IsZero() {
			rows = since(rows, l.from)
		}
		page, total, more := l.page(rows, match, q.feed)
		if _, ok := q.has(fault.Unordered); ok {
			page = slices.Clone(page)
			for i := range page {
				j := (i*7 + v.Read) % len(page)
				page[i], page[j] = page[j], page[i]
			}
		}
		if poisoned {
			hit = slices.ContainsFunc(page, func(r *estate.Row) bool { return r.ID == poison.Value })
		}
		next := l.skip + l.top
		if f, ok := q.has(fault.EmptyPage); ok && (f.Param == 1 || !q.r.URL.Query().Has("$skiptoken")) {
			page, more, next = nil, true, l.skip
		}
		if l.count && l.skip == 0 {
			body = fmt.Appendf(body, `,"@odata.count":%d`, total)
		}
		body = q.nextLink(body, more, l, next)
		body = append(body, `,"value":[`...)
		var with crowds
		with, crowded = q.crowds(v, page)
		for i, r := range page {
			if i > 0 {
				body = append(body, ',')
			}
			start := len(body)
			body = q.mangled(q.render(body, r, v, l.names, with), start, i, r)
			if i == 0 { // the rest is about as large
				body = slices.Grow(body, (len(page)-1)*(len(body)-start)*5/4)
			}
		}
	})
	body = append(body, `]}`...)
	if hit {
		q.rows = nil
		q.fail(http.StatusInternalServerError, "InternalServerError", "")
		return
	}
	if crowded {
		q.tooCrowded()
		return
	}
	if provider {
		status := missing.Param
		if status == 0 {
			status = http.StatusGatewayTimeout
		}
		q.w.Header().Set("Warning", fmt.Sprintf(`199 - "Microsoft/%s/%d/1500"`, missing.Value, status))
		if missing.Body != "200" {
			q.send(http.StatusPartialContent, body)
			return
		}
	}
	q.send(http.StatusOK, body)
}

// page cuts a page out of rows, which are in the order of change times. total
// is right only if somebody counts.
func (l *listing) page(rows []*estate.Row, match test, f *feed) (page []*estate.Row, total int, more bool) {
	if l.natural(f) && !l.count {
		// In the list's own order: no need to look at all of it.
		for _, r := range rows {
			if match(r) {
				if total++; total > l.skip {
					page = append(page, r)
				}
				if len(page) > l.top {
					break
				}
			}
		}
	} else {
		var all []*estate.Row
		for _, r := range rows {
			if match(r) {
				all = append(all, r)
			}
		}
		l.sorted(all)
		total = len(all)
		page = all[min(l.skip, len(all)):]
		page = page[:min(l.top+1, len(page))]
	}
	more = len(page) > l.top && l.top > 0
	return page[:min(l.top, len(page))], total, more
}

// render appends a row as this request shall see it, and remembers it. with
// has the alerts of an incident that is asked for with them.
func (q *request) render(dst []byte, r *estate.Row, v estate.View, names []string, with crowds) []byte {
	start := len(dst)
	newer := evolvable
	switch e := q.a.opt.Estate; q.source {
	case estate.SIEM:
		dst, newer = e.RenderDetection(dst, r, q.sw.shape()), nil
	case estate.MDE:
		dst, newer = e.RenderEndpoint(dst, r, v.Read, v.Opt, q.expand), nil
	case estate.Incidents:
		alerts := with[r.ID]
		if with != nil && alerts == nil {
			alerts = []*estate.Row{} // a redirected one has none left
		}
		dst, newer = e.RenderIncident(dst, r, alerts, v), evolvableIncident
	default:
		dst = e.Render(dst, r, v.Read, v.Opt)
	}
	if r.Raw == nil && newer != nil && !q.prefers("include-unknown-enum-members") {
		dst = hideMembers(dst, start, newer)
	}
	if names != nil {
		dst = selected(dst, start, names)
	}
	if q.a.opt.Truth.On() {
		q.rows = append(q.rows, truth.Row{ID: r.ID, Changed: r.Text, Rev: r.Rev, Sum: sha256.Sum256(dst[start:]), Kind: r.Kind, Claims: r.Claims})
	}
	return dst
}

// prefers reports whether the client sends a preference.
func (q *request) prefers(name string) bool {
	for _, line := range q.r.Header.Values("Prefer") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(p), name) {
				return true
			}
		}
	}
	return false
}

// evolving is an enumeration that has grown.
type evolving struct {
	member []byte
	newer  []string
}

// evolvableIncident are those of an incident and of the alerts in it.
var evolvableIncident = append([]evolving{{[]byte(`"status":"`), []string{"awaitingAction"}}}, evolvable...)

// evolvable are the members whose newer values only clients see that ask for
// them, with those values (reference graph-security §6).
var evolvable = []evolving{
	{[]byte(`"serviceSource":"`), []string{"microsoftDefenderForCloud", "microsoftSentinel", "microsoftInsiderRiskManagement", "microsoftThreatIntelligence", "microsoftSecurityForAI"}},
	{[]byte(`"detectionSource":"`), []string{"microsoftDefenderForCloud", "microsoftDefenderForIoT", "microsoftDefenderForServers", "microsoftDefenderForStorage", "microsoftDefenderForDNS",
		"microsoftDefenderForDatabases", "microsoftDefenderForContainers", "microsoftDefenderForNetwork", "microsoftDefenderForAppService", "microsoftDefenderForKeyVault",
		"microsoftDefenderForResourceManager", "microsoftDefenderForApiManagement", "nrtAlerts", "scheduledAlerts", "microsoftDefenderThreatIntelligenceAnalytics", "builtInMl",
		"microsoftInsiderRiskManagement", "microsoftThreatIntelligence", "microsoftDefenderForAIServices", "securityCopilot", "microsoftSentinel"}},
	{[]byte(`"remediationStatus":"`), []string{"active", "pendingApproval", "declined", "unremediated", "running", "partiallyRemediated"}},
}

// hideMembers writes unknownFutureValue over newer values in a row from start
// on.
func hideMembers(dst []byte, start int, list []evolving) []byte {
	for _, e := range list {
		for at := start; ; {
			i := bytes.Index(dst[at:], e.member)
			if i < 0 {
				break
			}
			from := at + i + len(e.member)
			to := from + bytes.IndexByte(dst[from:], '"')
			at = to
			if slices.Contains(e.newer, string(dst[from:to])) {
				dst = slices.Replace(dst, from, to, []byte("unknownFutureValue")...)
				at = from
			}
		}
	}
	return dst
}

// selected keeps the named members of a row, and what is about it.
func selected(dst []byte, start int, names []string) []byte {
	row := bytes.Clone(dst[start:])
	dst = append(dst[:start], '{')
	for _, m := range members(row) {
		if slices.Contains(names, m.name) || strings.HasPrefix(m.name, "@") {
			if len(dst) > start+1 {
				dst = append(dst, ',')
			}
			dst = append(dst, row[m.key:m.end]...)
		}
	}
	return append(dst, '}')
}

// nextLink adds the link, or the one that a fault wants. It is an offset into
// a list that lives, as far as anybody has seen (reference graph-security §2).
func (q *request) nextLink(body []byte, more bool, l listing, next int) []byte {
	link := ""
	if more && q.links() && (q.sw.LastOffset == 0 || next <= q.sw.LastOffset) {
		link = q.link(next)
	}
	if f, ok := q.has(fault.Overlap); ok && more && q.links() && !q.r.URL.Query().Has("overlapped") {
		if link = q.link(l.skip) + "&overlapped=1"; f.Param > 0 {
			link = q.link(max(0, next-f.Param)) + "&overlapped=1"
		}
	}
	if _, ok := q.has(fault.EmptyPage); ok && more && next == l.skip {
		link = q.token(next)
	}
	if f, ok := q.has(fault.ForeignLink); ok {
		link = f.Value
	}
	if f, ok := q.has(fault.LoopLink); ok {
		if link = q.link(l.skip); f.Param == 1 {
			link = q.link(map[bool]int{true: l.top, false: 0}[l.skip == 0])
		}
	}
	if _, ok := q.has(fault.EndlessLinks); ok {
		link = q.link(l.skip) + "&page=" + strconv.FormatUint(q.n, 10)
	}
	if f, ok := q.has(fault.NoLink); ok && next >= f.Param {
		link = ""
	}
	if link == "" {
		return body
	}
	b, _ := json.Marshal(link)
	return append(append(body, `,"@odata.nextLink":`...), b...)
}

// links reports whether pages carry links at all.
func (q *request) links() bool { return q.api != "mde" || q.sw.MDELinks }

// link is the whole URL of the page at an offset; deep ones hide the offset in
// a token, since $skip ends at 500.
func (q *request) link(skip int) string {
	if skip > q.feed.skipMax || q.sw.SkipToken {
		return q.token(skip)
	}
	return q.linkWith("$skip", skip)
}

func (q *request) token(skip int) string { return q.linkWith("$skiptoken", skip) }

func (q *request) linkWith(name string, skip int) string {
	v := url.Values{}
	for k, list := range q.r.URL.Query() {
		v[k] = list
	}
	v.Del("$skip")
	v.Del("$skiptoken")
	v.Set(name, strconv.Itoa(skip))
	scheme := "https"
	if q.r.TLS == nil {
		scheme = "http"
	}
	return scheme + "://" + q.r.Host + q.r.URL.Path + "?" + strings.ReplaceAll(v.Encode(), "%24", "$")
}
