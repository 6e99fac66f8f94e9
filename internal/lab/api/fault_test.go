package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"drover/internal/lab/api"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

// answer is what a client sees: a whole answer, or how it ended.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
	proto  string
}

func (a answer) String() string {
	return fmt.Sprintf("%d %v %.200q %v", a.status, a.header, a.body, a.err)
}

// wire serves the cloud over real connections and returns a client for one
// protocol.
func (c *cloud) wire(http2 bool) (client *http.Client, url string) {
	c.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/v1.0/"):
			c.api.MDE(w, r)
		case strings.HasPrefix(r.URL.Path, "/api/"):
			c.api.SIEM(w, r)
		default:
			c.api.Graph(w, r)
		}
	}))
	srv.EnableHTTP2 = http2
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.conns.Add(1)
		}
	}
	srv.StartTLS()
	c.Cleanup(srv.Close)
	client = srv.Client()
	client.Transport.(*http.Transport).DisableCompression = true
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, srv.URL
}

func (c *cloud) get(ctx context.Context, client *http.Client, target string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+reader)
	return client.Do(req)
}

func (c *cloud) fetch(client *http.Client, target string) (a answer) {
	resp, err := c.get(c.Context(), client, target)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	a = answer{status: resp.StatusCode, header: resp.Header, proto: resp.Proto}
	a.body, a.err = io.ReadAll(resp.Body)
	return a
}

const (
	list         = "/v1.0/security/alerts_v2?$top=10&$orderby=lastUpdateDateTime&$filter=createdDateTime%20ge%202020-01-01T00:00:00Z"
	incidentList = "/v1.0/security/incidents?$top=10&$orderby=lastUpdateDateTime&$filter=createdDateTime%20ge%202020-01-01T00:00:00Z"
	mdeList      = "/api/v1.0/alerts?$top=10&$orderby=lastUpdateTime&$filter=alertCreationTime%20ge%202020-01-01T00:00:00Z"
)

func (a answer) rows() (rows []json.RawMessage, next string, ok bool) {
	var p page
	if a.err != nil || a.status != 200 || json.Unmarshal(a.body, &p) != nil || p.Value == nil {
		return nil, "", false
	}
	return p.Value, p.Next, true
}

// Each kind of fault that the APIs deal does to an answer what its line says,
// at HTTP/1.1 and HTTP/2, and nothing spoilt is said to have been shown.
func TestEveryKindOfFaultBites(t *testing.T) {
	broken := func(a answer) bool { return a.err != nil }
	is := func(status int, part string) func(answer) bool {
		return func(a answer) bool { return a.err == nil && a.status == status && bytes.Contains(a.body, []byte(part)) }
	}
	noJSON := func(a answer) bool { return a.err == nil && a.status == 200 && !json.Valid(a.body) }
	rows := func(n int) func(answer) bool {
		return func(a answer) bool { list, _, ok := a.rows(); return ok && len(list) == n }
	}
	next := func(has string) func(answer) bool {
		return func(a answer) bool { _, link, ok := a.rows(); return ok && strings.Contains(link, has) }
	}
	header := func(name, want string) func(answer) bool {
		return func(a answer) bool { return a.err == nil && a.header.Get(name) == want }
	}
	type try struct {
		rule fault.Rule
		want func(answer) bool
		path string // list if empty
	}
	const siem = "/api/alerts?ago=P30D"
	table := map[string][]try{
		fault.Status: {
			{rule: fault.Rule{Param: 503, RetryAfter: "2.128"}, want: func(a answer) bool {
				return is(503, `"serviceNotAvailable"`)(a) && a.header.Get("Retry-After") == "2.128"
			}},
			{rule: fault.Rule{Param: 429, RetryAfter: "+30s"}, want: header("Retry-After", noon.Add(30*time.Second).Format(http.TimeFormat))},
			{rule: fault.Rule{Param: 500, Body: "nocode", Value: "x"}, want: is(500, `"code":"","message":"x","details":[]`)},
			{rule: fault.Rule{Param: 403, Body: "roles"}, want: is(403, "Missing application roles")},
			{rule: fault.Rule{Param: 403, Value: "Unauthorized request - Account is not provisioned."}, want: is(403, "not provisioned")},
			{rule: fault.Rule{Param: 502, Body: "html"}, want: is(502, "<html>")},
			{rule: fault.Rule{Param: 429, Body: "text"}, want: is(429, "Too Many Requests")},
			{rule: fault.Rule{Param: 500, Body: "empty"}, want: func(a answer) bool { return is(500, "")(a) && len(a.body) == 0 }},
			{rule: fault.Rule{Param: 500, Body: "null"}, want: is(500, "null")},
			{rule: fault.Rule{Param: 204}, want: func(a answer) bool { return is(204, "")(a) && len(a.body) == 0 }},
			{rule: fault.Rule{Param: 407}, want: func(a answer) bool { return is(407, "")(a) && a.header.Get("Proxy-Authenticate") != "" }},
			{rule: fault.Rule{Param: 410}, want: is(410, "ResourceNotFound")},
			{rule: fault.Rule{Param: 500, Value: "x"}, want: is(500, `{"Message":"x"}`), path: siem},
		},
		fault.Reset:       {{want: broken}, {rule: fault.Rule{Param: 1}, want: broken}},
		fault.Cut:         {{rule: fault.Rule{Param: 500}, want: broken}, {rule: fault.Rule{Param: 1000}, want: broken}, {rule: fault.Rule{Param: 5, Value: "bytes"}, want: func(a answer) bool { return broken(a) && len(a.body) == 5 }}},
		fault.Truncated:   {{rule: fault.Rule{Param: 500}, want: noJSON}, {rule: fault.Rule{Param: 33, Value: "bytes"}, want: func(a answer) bool { return noJSON(a) && len(a.body) == 33 }}},
		fault.Chunked:     {{want: func(a answer) bool { return broken(a) && a.header.Get("Content-Length") == "" && json.Valid(a.body) }}},
		fault.GoAway:      {{want: func(a answer) bool { _, _, ok := a.rows(); return ok }}},
		fault.Trailing:    {{want: noJSON}},
		fault.TwoValues:   {{want: noJSON}},
		fault.BOM:         {{want: func(a answer) bool { return noJSON(a) && bytes.HasPrefix(a.body, []byte("\xef\xbb\xbf{")) }}},
		fault.HTML200:     {{want: func(a answer) bool { return is(200, "<form>")(a) && a.header.Get("Content-Type") == "text/html" }}},
		fault.NoValue:     {{want: func(a answer) bool { _, _, ok := a.rows(); return is(200, "@odata.context")(a) && !ok }}},
		fault.NullBody:    {{want: is(200, "null")}},
		fault.EmptyBody:   {{want: func(a answer) bool { return is(200, "")(a) && len(a.body) == 0 }}},
		fault.NotArray:    {{want: is(200, `{"value":{}}`)}},
		fault.ErrorObject: {{want: is(200, `{"error":`)}},
		fault.ContentType: {{rule: fault.Rule{Value: "text/plain"}, want: func(a answer) bool { _, _, ok := a.rows(); return ok && a.header.Get("Content-Type") == "text/plain" }}},
		fault.Encoding: {
			{want: header("Content-Encoding", "br")},
			{rule: fault.Rule{Value: "nested"}, want: func(a answer) bool { return bytes.HasPrefix(gunzip(a.body), []byte("\x1f\x8b")) }},
			{rule: fault.Rule{Value: "junk"}, want: func(a answer) bool { return bytes.HasSuffix(a.body, []byte("junk")) }},
			{rule: fault.Rule{Value: "plain"}, want: func(a answer) bool { return header("Content-Encoding", "gzip")(a) && json.Valid(a.body) }},
		},
		fault.GzipBomb:  {{want: func(a answer) bool { return header("Content-Encoding", "gzip")(a) && len(a.body) < 1<<20 }}},
		fault.BigHeader: {{rule: fault.Rule{Param: 300_000}, want: func(a answer) bool { return len(a.header.Get("x-lab-padding")) == 300_000 }}},
		fault.BigPage: {{rule: fault.Rule{Param: 1}, want: func(a answer) bool { return rows(10)(a) && len(a.body) >= 1<<20 }},
			{rule: fault.Rule{Param: 1, Value: "rows"}, want: func(a answer) bool { list, _, ok := a.rows(); return ok && len(list) > 100 && len(a.body) >= 1<<20 }},
			{rule: fault.Rule{Param: 1}, path: siem, want: func(a answer) bool { return len(a.body) >= 1<<20 && json.Valid(a.body) }}},
		fault.BadRow: {{rule: fault.Rule{Value: "no_id"}, want: func(a answer) bool {
			list, _, ok := a.rows()
			return ok && !bytes.Contains(list[0], []byte(`{"id":"`)) && bytes.Contains(list[0], []byte(`"noid":`))
		}}},
		fault.Redirect:     {{rule: fault.Rule{Param: 301, Value: "https://evil.example/"}, want: func(a answer) bool { return is(301, "")(a) && a.header.Get("Location") == "https://evil.example/" }}, {rule: fault.Rule{Value: "/"}, want: is(302, "")}},
		fault.ForeignLink:  {{rule: fault.Rule{Value: "https://evil.example/x"}, want: next("https://evil.example/x")}},
		fault.LoopLink:     {{want: next("$skip=0")}, {rule: fault.Rule{Param: 1}, want: next("$skip=10")}, {rule: fault.Rule{Param: 1}, path: list + "&$skip=10", want: next("$skip=0")}},
		fault.EndlessLinks: {{want: next("&page=")}},
		fault.EmptyPage:    {{want: func(a answer) bool { return rows(0)(a) && next("$skiptoken=0")(a) }}, {path: list + "&$skiptoken=0", want: rows(10)}, {rule: fault.Rule{Param: 1}, path: list + "&$skiptoken=0", want: rows(0)}},
		fault.Overlap:      {{rule: fault.Rule{Param: 3}, want: next("$skip=7&$top=10&overlapped=1")}, {want: next("$skip=0&$top=10&overlapped=1")}, {path: list + "&overlapped=1", want: next("$skip=10")}},
		fault.NoLink:       {{want: func(a answer) bool { _, link, ok := a.rows(); return ok && link == "" }}, {rule: fault.Rule{Param: 20}, want: next("$skip=10")}},
		fault.LinkRefused:  {{path: list + "&$skip=10", want: is(400, "SkipToken")}, {want: rows(10)}},
		fault.Clamp:        {{rule: fault.Rule{Param: 4}, want: func(a answer) bool { return rows(4)(a) && next("$skip=4")(a) }}},
		fault.TopIgnored:   {{rule: fault.Rule{Param: 25}, want: rows(25)}, {want: rows(100)}},
		fault.TopRefused:   {{rule: fault.Rule{Param: 5}, want: is(400, `"code":"","message":"The query specified in the URI is not valid. The limit of '5' for Top query has been exceeded. The value from the incoming request is '10'."`)}},
		fault.Unordered:    {{want: func(a answer) bool { list, _, _ := a.rows(); return len(list) == 10 && !ascending(list) }}},
		fault.PoisonAt:     {{rule: fault.Rule{Value: "first"}, want: is(500, "InternalServerError")}, {rule: fault.Rule{Value: "first"}, path: list + "&$skip=1", want: rows(10)}},
		fault.Provider: {
			{rule: fault.Rule{Value: "microsoftDefenderForEndpoint"}, want: func(a answer) bool {
				return is(206, "value")(a) && a.header.Get("Warning") == `199 - "Microsoft/microsoftDefenderForEndpoint/504/1500"` && !bytes.Contains(a.body, []byte(`"serviceSource":"microsoftDefenderForEndpoint"`))
			}},
			{rule: fault.Rule{Value: "x", Param: 403, Body: "200"}, want: func(a answer) bool { return rows(10)(a) && a.header.Get("Warning") == `199 - "Microsoft/x/403/1500"` }},
		},
		fault.NoRows:  {{want: rows(0)}, {path: siem, want: is(200, "[]")}},
		fault.Forgets: {{rule: fault.Rule{Param: 24}, want: func(a answer) bool { return newer(a, noon.Add(-24*time.Hour)) }}},
		fault.Rewind: {{rule: fault.Rule{Param: 3600}, path: "/v1.0/security/alerts_v2?$top=1", want: func(a answer) bool {
			list, _, ok := a.rows()
			return ok && bytes.Contains(list[0], []byte(`"comments":[]`))
		}}},
		fault.SlowSkew: {{rule: fault.Rule{Param: -86400}, want: header("Date", noon.Add(time.Hour-24*time.Hour).Format(http.TimeFormat))}},
		fault.NewestOnly: {{rule: fault.Rule{Param: 3, API: "siem"}, path: siem, want: func(a answer) bool {
			var list []json.RawMessage
			return json.Unmarshal(a.body, &list) == nil && len(list) == 3
		}}},
	}
	for _, k := range fault.Kinds() {
		elsewhere := k.Name == fault.Hang || k.Name == fault.Drip || !slices.Contains(k.APIs, "graph") && !slices.Contains(k.APIs, "siem")
		if table[k.Name] == nil && !elsewhere {
			t.Errorf("nobody tries %s", k.Name)
		}
	}
	// At incidents and Defender for Endpoint the same, but for what their answers
	// say in other words.
	other := map[string]map[string][]try{
		"graph.incidents": {
			fault.TopIgnored: {{rule: fault.Rule{Param: 25}, want: rows(25)}, {want: rows(50)}},
		},
		"mde": {
			fault.Status: {
				{rule: fault.Rule{Param: 503, RetryAfter: "2.128"}, want: func(a answer) bool {
					return is(503, `{"error":{"code":"ServiceUnavailable",`)(a) && a.header.Get("Retry-After") == "2.128"
				}},
				{rule: fault.Rule{Param: 500, Body: "nocode", Value: "x"}, want: is(500, `"code":"","message":"x","target":"`)},
				{rule: fault.Rule{Param: 403, Body: "roles"}, want: is(403, "API required roles: Alert.Read.All,Alert.ReadWrite.All, application roles: .")},
				{rule: fault.Rule{Param: 401, Body: "inactive"}, want: is(401, `"code":"Unauthorized","message":"Unauthorized request - reason of failure: Account mode is inactive"`)},
				{rule: fault.Rule{Param: 403, Body: "licence"}, want: is(403, "No Tvm license")},
				{rule: fault.Rule{Param: 401, Body: "unprovisioned"}, want: is(401, "Account is not provisioned.")},
				{rule: fault.Rule{Param: 403, Body: "disabled"}, want: is(403, `"code":"DisabledFeature"`)},
				{rule: fault.Rule{Param: 429, Body: "quota", RetryAfter: "7"}, want: is(429, `"code":"429","message":"API calls quota exceeded! maximum allowed 1500 per 01:00:00"`)},
			},
			fault.TopIgnored: {{rule: fault.Rule{Param: 25}, want: rows(25)}},
			fault.TopRefused: {{rule: fault.Rule{Param: 5}, want: is(400, `"code":"BadRequest","message":"The query specified in the URI is not valid. The limit of '5' for Top query`)}},
		},
	}
	at := map[string]string{"graph.incidents": incidentList, "mde": mdeList}
	source := map[string]string{"graph.incidents": estate.Incidents, "mde": estate.MDE}
	for _, k := range fault.Kinds() {
		for name, path := range at {
			if slices.Contains(k.APIs, "graph") && !slices.Contains(k.APIs, name) && k.Name != fault.Provider { // which names products
				t.Errorf("%s is not dealt at %s", k.Name, name)
			}
			if !slices.Contains(k.APIs, name) || k.Name == fault.Hang || k.Name == fault.Drip {
				continue
			}
			tries := other[name][k.Name]
			if tries == nil {
				tries = table[k.Name]
			}
			for i, tt := range tries {
				if strings.HasPrefix(tt.path, "/api/") {
					continue
				}
				t.Run(fmt.Sprintf("%s %d %s", k.Name, i, name), func(t *testing.T) {
					t.Parallel()
					c := newCloud(t, api.Switches{MDELinks: true}, estate.Options{ID: contoso, Backlog: 300, BacklogSpan: 72 * time.Hour, Incidents: true, MDE: true})
					if k.Name != fault.Status {
						c.now = c.now.Add(time.Hour)
					}
					first, last := "", ""
					c.estate.See(contoso, source[name], c.now, func(v estate.View) { first, last = v.Rows[0].ID, v.Rows[len(v.Rows)-1].ID })
					c.estate.ChangeIncident(contoso, last, c.now, false)
					for _, prefix := range []string{"da", "ed"} {
						c.estate.Change(contoso, prefix+last, c.now, false)
					}
					rule := tt.rule
					rule.Kind = k.Name
					if rule.Value == "first" {
						rule.Value = first
					}
					c.faults.Set(rule)
					client, url := c.wire(false)
					target := path
					if more, ok := strings.CutPrefix(tt.path, list); ok {
						target += more
					} else if _, options, ok := strings.Cut(tt.path, "?"); ok {
						target = path[:strings.IndexByte(path, '?')+1] + options
					}
					if a := c.fetch(client, url+target); !tt.want(a) {
						t.Errorf("%s: %v", target, a)
					}
					if c.faults.Hits()[k.Name] == 0 {
						t.Error("not counted")
					}
				})
			}
		}
	}
	for kind, tries := range table {
		for i, tt := range tries {
			for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
				t.Run(fmt.Sprintf("%s %d %s", kind, i, proto), func(t *testing.T) {
					t.Parallel()
					c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 130, BacklogSpan: 72 * time.Hour, SIEM: true})
					if kind != fault.Status {
						c.now = c.now.Add(time.Hour)
					}
					first, last := "", ""
					c.estate.See(contoso, estate.Graph, c.now, func(v estate.View) { first, last = v.Rows[0].ID, v.Rows[len(v.Rows)-1].ID })
					c.estate.Change(contoso, last, c.now, false)
					rule := tt.rule
					rule.Kind = kind
					if rule.Value == "first" {
						rule.Value = first
					}
					c.faults.Set(rule)
					client, at := c.wire(proto == "HTTP/2.0")
					path := tt.path
					if path == "" {
						path = list
					}
					a := c.fetch(client, at+path)
					if !tt.want(a) {
						t.Errorf("%v", a)
					}
					if a.proto != "" && a.proto != proto {
						t.Errorf("spoken: %s", a.proto)
					}
					if c.faults.Hits()[kind] == 0 {
						t.Error("not counted")
					}
				})
			}
		}
	}
}

// The bomb that is put together from one piece is what it says.
func TestTheGzipBombIsGzip(t *testing.T) {
	for _, mb := range []int{1, 2, 5} {
		if out := gunzip(api.Zeros(mb)); len(out) != mb<<20 || len(bytes.Trim(out, "\x00")) != 0 {
			t.Errorf("%d MB: %d bytes", mb, len(out))
		}
	}
}

func gunzip(b []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil
	}
	out, err := io.ReadAll(z)
	if err != nil {
		return []byte(err.Error())
	}
	return out
}

func ascending(rows []json.RawMessage) bool {
	var last time.Time
	for _, raw := range rows {
		var a alert
		if json.Unmarshal(raw, &a) != nil || a.changed().Before(last) {
			return false
		}
		last = a.changed()
	}
	return true
}

func newer(a answer, t time.Time) bool {
	rows, _, ok := a.rows()
	for _, raw := range rows {
		var x alert
		ok = ok && json.Unmarshal(raw, &x) == nil && !x.changed().Before(t)
	}
	return ok && len(rows) > 0
}

// A connection that is closed behind the answer is dialled anew: in HTTP/2
// that is a GOAWAY.
func TestGoAwayEndsTheConnectionBehindTheAnswer(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		for _, goaway := range []bool{false, true} {
			c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 10})
			if goaway {
				c.faults.Set(fault.Rule{Kind: fault.GoAway})
			}
			client, at := c.wire(http2)
			for range 3 {
				if a := c.fetch(client, at+list); a.err != nil || a.status != 200 {
					t.Fatal(a)
				}
			}
			if n := c.conns.Load(); n != map[bool]int64{false: 1, true: 3}[goaway] {
				t.Errorf("HTTP/2 %v, goaway %v: %d connections", http2, goaway, n)
			}
		}
	}
}

// What hangs hangs until the client gives up, and the server notices that.
func TestAnAnswerThatHangsWaitsForTheClient(t *testing.T) {
	for name, tt := range map[string]struct {
		rule   fault.Rule
		header bool // comes
		body   int  // bytes of it that come at least
	}{
		"before the header":     {fault.Rule{Kind: fault.Hang}, false, 0},
		"behind the header":     {fault.Rule{Kind: fault.Hang, Param: 1}, true, 0},
		"inside the body":       {fault.Rule{Kind: fault.Hang, Param: 2}, true, 100},
		"a byte an hour":        {fault.Rule{Kind: fault.Drip, Param: 3600_000}, true, 1},
		"a header byte an hour": {fault.Rule{Kind: fault.Drip, Param: 3600_000, Value: "header"}, false, 0},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", name, http2), func(t *testing.T) {
				c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 30})
				c.faults.Set(tt.rule)
				client, at := c.wire(http2)
				ctx, cancel := context.WithCancel(t.Context())
				if !tt.header {
					go func() { // as soon as the request is there
						for c.faults.Hits()[tt.rule.Kind] == 0 {
							runtime.Gosched()
						}
						cancel()
					}()
				}
				resp, err := c.get(ctx, client, at+list)
				if (err == nil) != tt.header {
					t.Fatal(err)
				}
				if err == nil {
					buf := make([]byte, tt.body)
					if _, err := io.ReadFull(resp.Body, buf); err != nil {
						t.Fatal(err)
					}
					cancel()
					if rest, err := io.ReadAll(resp.Body); err == nil {
						t.Errorf("the answer ended by itself, %d bytes on", len(rest))
					}
					_ = resp.Body.Close()
				}
				cancel()
			})
		}
	}
}

func TestABadRowIsBadAsItsNameSays(t *testing.T) {
	for _, b := range fault.BadRows {
		name := b[0]
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, api.Switches{}, estate.Options{ID: contoso, Backlog: 20, SIEM: true})
			clean := c.page(c.query("$orderby", "lastUpdateDateTime", "$top", "3")).Value
			c.log.Reset()
			value := name
			if name == "large" {
				value = "large 40000"
			}
			c.faults.Set(fault.Rule{Kind: fault.BadRow, Value: value, Param: 1})
			body := []byte(text(c.query("$orderby", "lastUpdateDateTime", "$top", "3")))
			served, special := c.events("served"), c.events("row")
			if name == "raw_nul" {
				if json.Valid(body) || !bytes.Contains(body, []byte("a\x00b")) || len(served) != 3 {
					t.Fatalf("valid %v, %d rows in the log", json.Valid(body), len(served))
				}
				return
			}
			if name == "deep" { // too deep for encoding/json
				if json.Valid(body) || !bytes.Contains(body, bytes.Repeat([]byte("["), 100_000)) || len(served) != 3 {
					t.Fatalf("%d rows in the log", len(served))
				}
				return
			}
			var p page
			if err := json.Unmarshal(body, &p); err != nil || len(p.Value) != 3 {
				t.Fatal(err, len(p.Value))
			}
			if !bytes.Equal(p.Value[0], clean[0]) || !bytes.Equal(p.Value[2], clean[2]) || bytes.Equal(p.Value[1], clean[1]) {
				t.Fatal("not the one row was changed")
			}
			bad := p.Value[1]
			want := map[string]string{"no_id": `"noid":"`, "null_id": `"id":null`, "number_id": `"id":7`, "dup_id": `{"id":"twice","id":"`, "foreign": `"tenantId":"0f0f0f0f-`, "no_tenant": `"noTenantId":`,
				"null_tenant": `"tenantId":null`, "text_tenant": `"tenantId":"contoso"`, "no_time": `"nolastUpdateDateTime":`, "null_time": `"lastUpdateDateTime":null`, "junk_time": `"lastUpdateDateTime":"yesterday"`,
				"second_60": `:60Z","comments"`, "year_1": `"lastUpdateDateTime":"0001-01-01T00:00:00Z"`, "year_9999": `"lastUpdateDateTime":"9999-12-31T23:59:59.9999999Z"`, "offset_time": `+02:00","comments"`,
				"escaped_nul": `"a\u0000b"`, "surrogate": `"a\ud800b"`, "huge_number": `"huge":1e999`, "big_integer": `18446744073709551617`, "large": strings.Repeat("x", 40_000)}[name]
			if !bytes.Contains(bad, []byte(want)) {
				t.Errorf("no %.40s in %.300s", want, bad)
			}
			if name == "bad_utf8" == utf8.Valid(bad) {
				t.Error("UTF-8")
			}
			kind := map[string]string{"no_id": "bad", "null_id": "bad", "number_id": "bad", "dup_id": "bad", "foreign": "foreign"}[name]
			if kind == "" && (len(served) != 3 || len(special) != 0 || served[1]["sha256"] != sum(bad)) {
				t.Errorf("%d served, %d special", len(served), len(special))
			}
			if kind != "" && (len(served) != 2 || len(special) != 1 || special[0]["kind"] != kind || special[0]["sha256"] != sum(bad)) {
				t.Errorf("%d served, special %v", len(served), special)
			}
			if name == "foreign" && special[0]["claims"] != "0f0f0f0f-0000-4000-8000-00000000f0f0" {
				t.Errorf("claims %v", special[0]["claims"])
			}
			c.faults.Clear()
			c.faults.Set(fault.Rule{Kind: fault.BadRow, Value: value, Param: -1, API: "siem"})
			var rows []json.RawMessage
			if err := json.Unmarshal([]byte(text(c.ask(detections+"?ago=P40D"))), &rows); err != nil || len(rows) < 20 {
				t.Fatal(err, len(rows))
			}
		})
	}
}
