// Package api serves what Defender serves: Graph's security/alerts_v2 and the
// SIEM detections API, over an estate, with the faults that a dealer deals. It
// checks tokens as the real ones do, and writes what it showed to the truth
// log (reference graph-security, siem-api).
package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
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

// Caller is who a token says is calling.
type Caller struct {
	Tenant, App, Audience string
	Roles, Scopes         []string
}

// Options of an API. All are required but Authorised.
type Options struct {
	Estate *estate.Estate
	Faults *fault.Dealer
	Truth  *truth.Log
	Clock  func() time.Time
	// Verify checks an access token.
	Verify func(raw string) (Caller, error)
	// Authorised reports whether an app may read a tenant's detections: the
	// portal's MSSP list. Nil: every one may.
	Authorised func(tenant, app string) bool
	// GraphAudience and SIEMAudience accept a token's audience.
	GraphAudience, SIEMAudience func(string) bool
}

// API serves both.
type API struct{ opt Options }

// New returns the API.
func New(opt Options) *API { return &API{opt} }

// Page sizes of alerts_v2 (reference graph-security §2, emulator choice).
const (
	topDefault = 100
	topMax     = 1000
	skipMax    = 500
)

// request is one call on its way.
type request struct {
	a      *API
	w      http.ResponseWriter
	r      *http.Request
	n      uint64
	api    string
	source string
	caller Caller
	faults map[string]fault.Rule
	status int
	rows   []truth.Row
	told   bool
}

func (q *request) has(kind string) (fault.Rule, bool) {
	f, ok := q.faults[kind]
	return f, ok
}

// Graph serves /v1.0/security/alerts_v2.
func (a *API) Graph(w http.ResponseWriter, r *http.Request) {
	q := &request{a: a, w: w, r: r, n: a.opt.Truth.Request(), api: "graph", source: estate.Graph}
	q.headers()
	path := strings.ToLower(strings.TrimSuffix(r.URL.Path, "/"))
	switch {
	case !q.authenticate(a.opt.GraphAudience, q.graphError):
	case path != "/v1.0/security/alerts_v2" && !strings.HasPrefix(path, "/v1.0/security/alerts_v2/"):
		q.graphError(http.StatusNotFound, "ResourceNotFound", "Resource not found for the segment.")
	case !slices.ContainsFunc(q.caller.Roles, func(s string) bool {
		return strings.HasPrefix(s, "SecurityAlert.Read") || strings.HasPrefix(s, "SecurityIncident.Read")
	}) && len(q.caller.Scopes) == 0:
		q.graphError(http.StatusForbidden, "Forbidden", "Missing application roles. API required roles: SecurityAlert.Read.All,SecurityAlert.ReadWrite.All,SecurityIncident.Read.All,SecurityIncident.ReadWrite.All, application roles: "+strings.Join(q.caller.Roles, ",")+".")
	case q.before():
	case path != "/v1.0/security/alerts_v2":
		q.oneAlert(path[strings.LastIndexByte(path, '/')+1:])
	default:
		q.alerts()
	}
	q.end()
}

// headers sets what every answer carries.
func (q *request) headers() {
	h := q.w.Header()
	h.Set("Date", q.a.opt.Clock().UTC().Format(http.TimeFormat))
	h.Set("request-id", fmt.Sprintf("00000000-0000-4000-8000-%012d", q.n))
	if id := q.r.Header.Get("client-request-id"); id != "" {
		h.Set("client-request-id", id)
	}
}

// authenticate checks the bearer token.
func (q *request) authenticate(audience func(string) bool, fail func(int, string, string)) bool {
	raw, ok := strings.CutPrefix(q.r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		q.w.Header().Set("WWW-Authenticate", "Bearer")
		fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty.")
		return false
	}
	c, err := q.a.opt.Verify(raw)
	if err == nil && !audience(c.Audience) {
		err = fmt.Errorf("Access token validation failure. Invalid audience.")
	}
	if err != nil {
		q.w.Header().Set("WWW-Authenticate", "Bearer")
		fail(http.StatusUnauthorized, "InvalidAuthenticationToken", err.Error())
		return false
	}
	q.caller = c
	q.faults = q.a.opt.Faults.Deal(q.api, c.Tenant)
	if f, ok := q.has(fault.SlowSkew); ok {
		q.w.Header().Set("Date", q.a.opt.Clock().Add(time.Duration(f.Param)*time.Second).UTC().Format(http.TimeFormat))
	}
	return true
}

// end notes the request.
func (q *request) end() {
	if len(q.rows) > 0 && q.told {
		q.a.opt.Truth.Served(q.caller.Tenant, q.source, q.n, q.rows)
	}
	kinds := make([]string, 0, len(q.faults))
	for k := range q.faults {
		kinds = append(kinds, k)
	}
	q.a.opt.Truth.Event("request", "n", q.n, "tenant", q.caller.Tenant, "source", q.source, "status", q.status, "rows", len(q.rows), "fault", strings.Join(kinds, ","), "query", q.r.URL.RawQuery)
}

// before deals the faults that need no rows; true when one was dealt.
func (q *request) before() bool {
	if _, ok := q.has(fault.Reset); ok {
		q.status = -1
		panic(http.ErrAbortHandler)
	}
	if f, ok := q.has(fault.Hang); ok {
		if f.Param == 1 {
			q.w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(q.w).Flush()
		}
		<-q.r.Context().Done()
		q.status = -1
		return true
	}
	if f, ok := q.has(fault.Redirect); ok {
		q.w.Header().Set("Location", f.Value)
		q.plain(max(f.Param, 302), "text/plain", "")
		return true
	}
	if f, ok := q.has(fault.Status); ok {
		if f.RetryAfter != "" {
			q.w.Header().Set("Retry-After", f.RetryAfter)
		}
		code := map[int]string{401: "InvalidAuthenticationToken", 403: "Forbidden", 429: "TooManyRequests", 500: "InternalServerError", 503: "serviceNotAvailable"}[f.Param]
		switch f.Body {
		case "empty":
			q.plain(f.Param, "", "")
		case "html":
			q.plain(f.Param, "text/html", "<html><body>Service Unavailable</body></html>")
		case "text":
			q.plain(f.Param, "text/plain", "Too Many Requests")
		default:
			q.graphError(f.Param, code, f.Value)
		}
		return true
	}
	for kind, body := range map[string]string{fault.HTML200: "<html><form>sign in</form></html>", fault.NoValue: `{"@odata.context":"x"}`, fault.NullBody: "null", fault.EmptyBody: "",
		fault.NotArray: `{"value":{}}`, fault.ErrorObject: `{"error":{"code":"","message":"something"}}`} {
		if _, ok := q.has(kind); ok {
			ct := "application/json"
			if kind == fault.HTML200 {
				ct = "text/html"
			}
			q.plain(http.StatusOK, ct, body)
			return true
		}
	}
	if _, ok := q.has(fault.LinkRefused); ok && (q.r.URL.Query().Has("$skip") || q.r.URL.Query().Has("$skiptoken")) {
		q.graphError(http.StatusBadRequest, "BadRequest", "Query option 'SkipToken' is not allowed. To allow it, set the 'AllowedQueryOptions' property.")
		return true
	}
	return false
}

func (q *request) plain(status int, contentType, body string) {
	if contentType != "" {
		q.w.Header().Set("Content-Type", contentType)
	}
	q.status = status
	q.w.WriteHeader(status)
	_, _ = io.WriteString(q.w, body)
}

// graphError answers in Graph's error form.
func (q *request) graphError(status int, code, message string) {
	var body struct {
		Error struct {
			Code       string            `json:"code"`
			Message    string            `json:"message"`
			InnerError map[string]string `json:"innerError"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = code, message
	body.Error.InnerError = map[string]string{"date": q.a.opt.Clock().UTC().Format("2006-01-02T15:04:05"), "request-id": q.w.Header().Get("request-id"), "client-request-id": q.w.Header().Get("client-request-id")}
	b, _ := json.Marshal(body)
	q.plain(status, "application/json", string(b))
}

// alerts answers the list.
func (q *request) alerts() {
	v := q.r.URL.Query()
	for name := range v {
		if strings.HasPrefix(name, "$") && !slices.Contains([]string{"$filter", "$top", "$skip", "$orderby", "$count", "$select", "$skiptoken"}, name) {
			q.graphError(http.StatusBadRequest, "BadRequest", "The query option '"+name+"' is not supported.")
			return
		}
	}
	match, from, err := parseFilter(v.Get("$filter"))
	if err != nil {
		q.graphError(http.StatusBadRequest, "", "Invalid filter clause: "+err.Error())
		return
	}
	top, err := number(v.Get("$top"), topDefault)
	if err != nil {
		q.graphError(http.StatusBadRequest, "", "Invalid $top.")
		return
	}
	if f, ok := q.has(fault.TopRefused); ok && top > f.Param {
		q.graphError(http.StatusBadRequest, "", fmt.Sprintf("The query specified in the URI is not valid. The limit of '%d' for Top query has been exceeded. The value from the incoming request is '%d'.", f.Param, top))
		return
	}
	top = min(max(top, 1), topMax)
	if f, ok := q.has(fault.Clamp); ok {
		top = min(top, f.Param)
	}
	skip, err := number(v.Get("$skip"), 0)
	if token := v.Get("$skiptoken"); token != "" {
		skip, err = number(token, 0)
	} else if skip > skipMax {
		err = fmt.Errorf("too deep")
	}
	if err != nil || skip < 0 {
		q.graphError(http.StatusBadRequest, "", fmt.Sprintf("The limit of '%d' for Skip query has been exceeded.", skipMax))
		return
	}
	ascending := strings.HasSuffix(v.Get("$orderby"), "asc") || v.Get("$orderby") != "" && !strings.HasSuffix(v.Get("$orderby"), "desc")
	q.list(listing{match: match, from: from, top: top, skip: skip, ascending: ascending, byCreated: strings.HasPrefix(v.Get("$orderby"), "createdDateTime"), count: v.Get("$count") == "true"})
}

func number(s string, def int) (int, error) {
	if s == "" {
		return def, nil
	}
	return strconv.Atoi(s)
}

// listing is a list request, understood.
type listing struct {
	match                       test
	from                        time.Time
	top, skip                   int
	ascending, byCreated, count bool
}

// list renders the page.
func (q *request) list(l listing) {
	missing, provider := q.has(fault.Provider)
	poison, poisoned := q.has(fault.PoisonAt)
	body := make([]byte, 0, 64<<10)
	body = append(body, `{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#security/alerts_v2"`...)
	hit := false
	q.a.opt.Estate.See(q.caller.Tenant, estate.Graph, q.a.opt.Clock(), func(v estate.View) {
		rows := v.Rows
		if !l.from.IsZero() {
			i, _ := slices.BinarySearchFunc(rows, l.from, func(r *estate.Row, t time.Time) int { return r.Changed.Compare(t) })
			rows = rows[i:]
		}
		var page []*estate.Row
		total := 0
		plain := l.ascending && !l.byCreated && !l.count
		if plain {
			// In the list's own order: no need to look at all of it.
			for _, r := range rows {
				if l.match(r) && !(provider && r.Service() == missing.Value) {
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
				if l.match(r) && !(provider && r.Service() == missing.Value) {
					all = append(all, r)
				}
			}
			if l.byCreated {
				slices.SortStableFunc(all, func(a, b *estate.Row) int { return a.Created.Compare(b.Created) })
			}
			if !l.ascending {
				slices.Reverse(all)
			}
			total = len(all)
			page = all[min(l.skip, len(all)):]
			page = page[:min(l.top+1, len(page))]
		}
		more := len(page) > l.top
		page = page[:min(l.top, len(page))]
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
		if _, ok := q.has(fault.EmptyPage); ok && !q.r.URL.Query().Has("$skiptoken") {
			page, more = nil, true
			l.top = 0
		}
		if l.count {
			body = fmt.Appendf(body, `,"@odata.count":%d`, total)
		}
		body = q.nextLink(body, more, l)
		body = append(body, `,"value":[`...)
		for i, r := range page {
			if i > 0 {
				body = append(body, ',')
			}
			start := len(body)
			body = q.a.opt.Estate.Render(body, r, v.Read, v.Opt)
			q.row(r, body[start:])
			if i == 0 { // the rest is about as large
				body = slices.Grow(body, (len(page)-1)*(len(body)-start)*5/4)
			}
		}
	})
	body = append(body, `]}`...)
	if hit {
		q.rows = nil
		q.graphError(http.StatusInternalServerError, "InternalServerError", "")
		return
	}
	if provider {
		status := missing.Param
		if status == 0 {
			status = 504
		}
		q.w.Header().Set("Warning", fmt.Sprintf(`199 - "Microsoft/%s/%d/1500"`, missing.Value, status))
		q.send(http.StatusPartialContent, body)
		return
	}
	q.send(http.StatusOK, body)
}

// row remembers what is about to be shown.
func (q *request) row(r *estate.Row, raw []byte) {
	if q.a.opt.Truth.On() {
		q.rows = append(q.rows, truth.Row{ID: r.ID, Changed: r.Text, Rev: r.Rev, Sum: sha256.Sum256(raw), Kind: r.Kind, Claims: r.Claims})
	}
}

// nextLink adds the link, or the one that a fault wants. It is an offset into
// a list that lives, as far as anybody has seen (reference graph-security §2).
func (q *request) nextLink(body []byte, more bool, l listing) []byte {
	link := ""
	if more {
		link = q.link(l.skip + l.top)
	}
	if f, ok := q.has(fault.ForeignLink); ok {
		link = f.Value
	}
	if _, ok := q.has(fault.LoopLink); ok {
		link = q.link(l.skip)
	}
	if _, ok := q.has(fault.EndlessLinks); ok {
		link = q.link(l.skip) + "&page=" + strconv.FormatUint(q.n, 10)
	}
	if _, ok := q.has(fault.NoLink); ok {
		link = ""
	}
	if link == "" {
		return body
	}
	b, _ := json.Marshal(link)
	return append(append(body, `,"@odata.nextLink":`...), b...)
}

func (q *request) link(skip int) string {
	v := url.Values{}
	for k, list := range q.r.URL.Query() {
		v[k] = list
	}
	v.Del("$skip")
	v.Del("$skiptoken")
	if skip > skipMax {
		v.Set("$skiptoken", strconv.Itoa(skip))
	} else {
		v.Set("$skip", strconv.Itoa(skip))
	}
	scheme := "https"
	if q.r.TLS == nil {
		scheme = "http"
	}
	return scheme + "://" + q.r.Host + q.r.URL.Path + "?" + strings.ReplaceAll(v.Encode(), "%24", "$")
}

// send writes a whole body, or what a fault makes of it. Rows count as shown
// only when the write went through.
func (q *request) send(status int, body []byte) {
	h := q.w.Header()
	h.Set("Content-Type", "application/json; odata.metadata=minimal; charset=utf-8")
	if _, ok := q.has(fault.Trailing); ok {
		body = append(body, " junk"...)
		q.rows = nil
	}
	if _, ok := q.has(fault.TwoValues); ok {
		body = append(body, body...)
		q.rows = nil
	}
	if _, ok := q.has(fault.Encoding); ok {
		h.Set("Content-Encoding", "br")
		q.rows = nil
	}
	if _, ok := q.has(fault.GzipBomb); ok {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		zero := make([]byte, 1<<20)
		for range 512 {
			_, _ = w.Write(zero)
		}
		_ = w.Close()
		h.Set("Content-Encoding", "gzip")
		body = z.Bytes()
		q.rows = nil
	} else if strings.Contains(q.r.Header.Get("Accept-Encoding"), "gzip") {
		var z bytes.Buffer
		w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
		_, _ = w.Write(body)
		_ = w.Close()
		h.Set("Content-Encoding", "gzip")
		body = z.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.status = status
	q.w.WriteHeader(status)
	if f, ok := q.has(fault.Cut); ok {
		_, _ = q.w.Write(body[:len(body)*f.Param/1000])
		_ = http.NewResponseController(q.w).Flush()
		q.rows = nil
		q.end()
		panic(http.ErrAbortHandler)
	}
	_, err := q.w.Write(body)
	q.told = err == nil
}

// oneAlert answers one alert by ID.
func (q *request) oneAlert(id string) {
	var body []byte
	q.a.opt.Estate.See(q.caller.Tenant, estate.Graph, q.a.opt.Clock(), func(v estate.View) {
		for _, r := range v.Rows {
			if strings.EqualFold(r.ID, id) {
				body = q.a.opt.Estate.Render(nil, r, v.Read, v.Opt)
				q.row(r, body)
				return
			}
		}
	})
	if body == nil {
		q.graphError(http.StatusNotFound, "itemNotFound", "")
		return
	}
	q.send(http.StatusOK, body)
}
