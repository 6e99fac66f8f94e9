// Package api serves what Defender serves: Graph's security/alerts_v2 and
// security/incidents, the alerts of Defender for Endpoint's own API, and the SIEM
// detections API, over an estate, with the faults that a dealer deals. It checks
// tokens as the real ones do, and writes what it showed to the truth log
// (reference graph-security, mde-api, siem-api). What no document settles is a
// switch.
package api

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/lab/truth"
)

// Caller is who a token says is calling.
type Caller struct {
	Tenant, App, Audience string
	Roles, Scopes         []string
	Scoped                bool // an account that is shown some of the rows alone, without an error
}

// Options of an API. All are required but Authorised and Region.
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
	// Region is where a tenant's data lies: eu, us, uk. Nil: nobody knows.
	Region func(tenant string) string
	// GraphAudience and SIEMAudience accept a token's audience at a host.
	GraphAudience, SIEMAudience func(host, audience string) bool
	// MDEAudience does so for Defender for Endpoint; strict leaves open only what
	// is documented. Nil: none is accepted.
	MDEAudience func(host, audience string, strict bool) bool
	Switches    Switches
}

// API serves all of them. Safe for concurrent use.
type API struct {
	opt Options

	mu       sync.Mutex
	switches Switches
	buckets  map[string]*bucket // by API, tenant, app and span
	refused  int                // by a bucket that has two spellings for it
}

// New returns the API.
func New(opt Options) *API {
	return &API{opt: opt, switches: opt.Switches, buckets: make(map[string]*bucket)}
}

// request is one call on its way.
type request struct {
	a      *API
	sw     Switches
	w      http.ResponseWriter
	r      *http.Request
	n      uint64
	api    string // whose faults and limits count
	source string // of the rows
	feed   *feed  // what the rows are
	expand bool   // with evidence, or with alerts
	caller Caller
	faults map[string]fault.Rule
	status int
	rows   []truth.Row
	told   bool
	fail   func(status int, code, message string) // in the API's own form
}

// begin numbers a request and sets what every answer carries.
func (a *API) begin(w http.ResponseWriter, r *http.Request, f feed) *request {
	q := &request{a: a, sw: a.Switches(), w: w, r: r, n: a.opt.Truth.Request(), api: f.api, source: f.source}
	q.feed = q.adapt(f)
	h := w.Header()
	h.Set("Date", a.opt.Clock().UTC().Format(http.TimeFormat))
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", q.n)
	h.Set("request-id", id)
	if theirs := r.Header.Get("client-request-id"); theirs != "" {
		id = theirs
	}
	h.Set("client-request-id", id)
	h.Set("x-ms-ags-diagnostic", `{"ServerInfo":{"DataCenter":"Lab","Slice":"E","Ring":"1","ScaleUnit":"001","RoleInstance":"LAB00000001"}}`)
	return q
}

func (q *request) has(kind string) (fault.Rule, bool) {
	f, ok := q.faults[kind]
	return f, ok
}

// authenticate checks the bearer token, and deals the request its faults.
func (q *request) authenticate(audience func(host, audience string) bool) bool {
	scheme, raw, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	err := errors.New("Access token is empty.")
	if strings.EqualFold(scheme, "Bearer") && raw != "" {
		if q.caller, err = q.a.opt.Verify(raw); err == nil && !audience(q.r.Host, q.caller.Audience) {
			q.caller = Caller{}
			if q.api == "mde" && !q.sw.MDEAudience401 {
				q.fail(http.StatusForbidden, "Forbidden", "The token is not for this resource.")
				return false
			}
			err = errors.New("Access token validation failure. Invalid audience.")
			if q.api == "mde" {
				err = errors.New("Invalid Authorization payload.")
			}
		}
	}
	if err != nil {
		q.caller = Caller{}
		q.w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
		q.fail(http.StatusUnauthorized, q.feed.codes[http.StatusUnauthorized], err.Error())
		return false
	}
	q.faults = q.a.opt.Faults.Deal(q.api, q.caller.Tenant)
	if f, ok := q.has(fault.SlowSkew); ok {
		q.w.Header().Set("Date", q.a.opt.Clock().Add(time.Duration(f.Param)*time.Second).UTC().Format(http.TimeFormat))
	}
	if f, ok := q.has(fault.BigHeader); ok {
		size := f.Param
		if size <= 0 {
			size = 1 << 20
		}
		q.w.Header().Set("x-lab-padding", strings.Repeat("x", size))
	}
	if _, ok := q.has(fault.GoAway); ok {
		q.w.Header().Set("Connection", "close")
	}
	return true
}

// end notes the request; it is deferred, since some faults end by a panic.
func (q *request) end() {
	if len(q.rows) > 0 && q.told {
		q.a.opt.Truth.Served(q.caller.Tenant, q.source, q.n, q.rows)
	}
	rows := 0
	if q.told {
		rows = len(q.rows)
	}
	kinds := slices.Sorted(maps.Keys(q.faults))
	q.a.opt.Truth.Event("request", "n", q.n, "tenant", q.caller.Tenant, "app", q.caller.App, "source", q.source, "status", q.status, "rows", rows, "fault", strings.Join(kinds, ","), "query", q.r.URL.RawQuery)
}

// spoilt are answers that need no rows.
var spoilt = []struct{ kind, contentType, body string }{
	{fault.HTML200, "text/html", "<html><form>sign in</form></html>"},
	{fault.NoValue, "application/json", `{"@odata.context":"x"}`},
	{fault.NullBody, "application/json", "null"},
	{fault.EmptyBody, "application/json", ""},
	{fault.NotArray, "application/json", `{"value":{}}`},
	{fault.ErrorObject, "application/json", `{"error":{"code":"","message":"something"}}`},
}

// before deals the faults that need no rows; true when one was dealt.
func (q *request) before() bool {
	if f, ok := q.has(fault.Reset); ok {
		q.reset(f.Param == 1)
	}
	if f, ok := q.has(fault.Hang); ok && f.Param < 2 {
		if f.Param == 1 {
			q.w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(q.w).Flush()
		}
		q.hang()
	}
	if f, ok := q.has(fault.Redirect); ok {
		if f.Param == 0 {
			f.Param = http.StatusFound
		}
		q.w.Header().Set("Location", f.Value)
		q.plain(f.Param, "text/plain", "")
		return true
	}
	if f, ok := q.has(fault.Status); ok {
		q.refuse(f)
		return true
	}
	for _, s := range spoilt {
		if _, ok := q.has(s.kind); ok {
			q.plain(http.StatusOK, s.contentType, s.body)
			return true
		}
	}
	if _, ok := q.has(fault.LinkRefused); ok && (q.r.URL.Query().Has("$skip") || q.r.URL.Query().Has("$skiptoken")) {
		q.fail(http.StatusBadRequest, "BadRequest", "Query option 'SkipToken' is not allowed. To allow it, set the 'AllowedQueryOptions' property on EnableQueryAttribute or QueryValidationSettings.")
		return true
	}
	return false
}

// troubles are the bodies of a status that say what is wrong with an account
// whose token is good, seen with 401 and 403 (reference graph-security §10,
// mde-api §7), and of a quota.
var troubles = map[string]struct{ code, message string }{
	"inactive":      {"", "Unauthorized request - reason of failure: Account mode is inactive"},
	"licence":       {"", "Unauthorized request - reason of failure: No Tvm license"},
	"unprovisioned": {"", "Unauthorized request - Account is not provisioned."},
	"disabled":      {"DisabledFeature", "This feature is switched off for the tenant."},
	"quota":         {"429", "API calls quota exceeded! maximum allowed 1500 per 01:00:00"},
}

// refuse answers with a status, in one of many forms.
func (q *request) refuse(f fault.Rule) {
	if wait := f.Wait(q.a.opt.Clock()); wait != "" {
		q.w.Header().Set("Retry-After", wait)
	}
	switch f.Param {
	case http.StatusUnauthorized:
		q.w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusProxyAuthRequired:
		q.w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
	}
	switch {
	case f.Param == http.StatusNoContent || f.Param == http.StatusNotModified || f.Body == "empty":
		q.plain(f.Param, "", "")
	case f.Body == "html":
		q.plain(f.Param, "text/html", "<html><body>Service Unavailable</body></html>")
	case f.Body == "text":
		q.plain(f.Param, "text/plain", "Too Many Requests")
	case f.Body == "null":
		q.plain(f.Param, "application/json", "null")
	case f.Body == "nocode":
		q.fail(f.Param, "", f.Value)
	case f.Body == "roles":
		q.missingRoles(nil)
	case troubles[f.Body].message != "":
		x := troubles[f.Body]
		q.fail(f.Param, cmp.Or(x.code, q.feed.codes[f.Param]), x.message)
	default:
		q.fail(f.Param, q.feed.codes[f.Param], f.Value)
	}
}

// hang keeps the connection until the client gives up, and ends it without an
// end of the answer.
func (q *request) hang() {
	q.status = -1
	<-q.r.Context().Done()
	panic(http.ErrAbortHandler)
}

// reset ends the connection; inside the header where that can be done.
func (q *request) reset(inHeader bool) {
	q.status = -1
	if inHeader {
		if c, _, err := http.NewResponseController(q.w).Hijack(); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: appl")
			_ = c.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// plain answers without rows.
func (q *request) plain(status int, contentType, body string) {
	if contentType != "" {
		q.w.Header().Set("Content-Type", contentType)
	}
	q.status = status
	q.w.WriteHeader(status)
	_, _ = io.WriteString(q.w, body)
}
