package defender

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/proof"
)

// once answers request n with a status and a body, and the others as usual.
func once(n int, status int, body string, header ...string) func(*api, int, http.ResponseWriter, *http.Request) bool {
	return func(_ *api, m int, w http.ResponseWriter, _ *http.Request) bool {
		if m != n {
			return false
		}
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
		return true
	}
}

// ops are what the sources say they do.
var ops = map[drover.SourceID]string{drover.GraphAlerts: "read alerts", drover.GraphIncidents: "read incidents", drover.MDEAlerts: "read alerts", drover.SIEMDetections: "read detections"}

func TestAnAnswerThatIsNoPageMovesNothing(t *testing.T) {
	want := entries("a", 25, t0, time.Second)
	dealt, moves, lost := 0, 0, 0
	for name, tt := range map[string]struct {
		status int
		body   string
		header []string
		kind   drover.Kind
	}{
		"200 and an error object":   {200, `{"error":{"code":"UnknownError","message":""}}`, nil, drover.Transient},
		"200 and nothing":           {200, ``, nil, drover.Transient},
		"200 and null":              {200, `null`, nil, drover.Transient},
		"200 without value":         {200, `{}`, nil, drover.Transient},
		"200 and value is null":     {200, `{"value":null}`, nil, drover.Transient},
		"204":                       {204, ``, nil, drover.Transient},
		"200 and a sign-in page":    {200, `<!DOCTYPE html><html>`, []string{"Content-Type", "text/html"}, drover.Transient},
		"a web page called JSON":    {200, "\n<html>", []string{"Content-Type", "application/json"}, drover.Transient},
		"302 to a sign-in page":     {302, ``, []string{"Location", "https://evil.example/"}, drover.Transient},
		"401 from a sign-in page":   {401, `<html>`, []string{"Content-Type", "text/html"}, drover.Transient},
		"407":                       {407, ``, nil, drover.Transient},
		"429 that says how long":    {429, `{"error":{"code":"TooManyRequests"}}`, []string{"Retry-After", "2.128"}, drover.Throttled},
		"500 with an empty message": {500, `{"error":{"code":"UnknownError","message":""}}`, nil, drover.Transient},
		"502 and a web page":        {502, `<html>`, []string{"Content-Type", "text/html"}, drover.Transient},
		"a page that is cut":        {200, `{"value":[{"id":"a"`, nil, drover.Transient},
	} {
		for id := range sources {
			for n := 1; n <= 3; n++ {
				t.Run(fmt.Sprintf("%s, %s, request %d", id, name, n), func(t *testing.T) {
					a := newAPI(want...)
					a.answer = once(n, tt.status, tt.body, tt.header...)
					p := of(id, a, 10).Read(tenant(), open)
					through := open.From
					for {
						page, err := p.Next(t.Context())
						if page.Done {
							if len(a.requests) >= n {
								t.Error("taken for a page")
							}
							return
						}
						if err != nil {
							var e *drover.Error
							if !errors.As(err, &e) || e.Kind != tt.kind || e.Tenant != tenantA || e.Op != ops[id] {
								t.Errorf("got %#v", err)
							}
							if tt.kind == drover.Throttled && e.Wait < 2128*time.Millisecond {
								t.Errorf("wait %s", e.Wait)
							}
							dealt++
							if page.Through > through || len(page.Rows) > 0 || page.Done {
								moves++
							}
							break
						}
						through = page.Through
					}
					page, err := p.Next(t.Context()) // the step that failed is repeated
					if err != nil || page.Through < through {
						t.Fatalf("through %s after %s, %v", page.Through, through, err)
					}
					a2 := newAPI(want...)
					a2.answer = once(n, tt.status, tt.body, tt.header...)
					got := read(t, of(id, a2, 10), open, 100, 1)
					lost += len(got.missing(want))
					if lost := got.missing(want); !got.done || len(lost) > 0 {
						t.Errorf("done %v, lost %v", got.done, lost)
					}
				})
			}
		}
	}
	if moves > 0 {
		t.Errorf("%d answers moved something", moves)
	}
	proof.Ran(t, "P19", "cursor moves %d by %d answers of four sources that are no page; lost %d", moves, dealt, lost)
}

func TestJSONOfAnotherTypeIsStillAPage(t *testing.T) {
	want := entries("a", 5, t0, time.Second)
	a := newAPI(want...)
	a.answer = func(a *api, n int, w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/plain")
		return false
	}
	whole(t, a, read(t, graph(a, 10), open, 100, 0), want)
}

func TestARefusalSaysWhoMustDoWhat(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		body   string
		hint   string
	}{
		"a permission is missing":      {403, `{"error":{"code":"Forbidden","message":"Missing application roles. API required roles: SecurityAlert.Read.All, application roles: ."}}`, "consent to SecurityAlert.Read.All"},
		"no Defender":                  {403, `{"error":{"code":"Forbidden","message":"Unauthorized request - Account is not provisioned."}}`, "no active Defender"},
		"no Defender, by 401":          {401, `{"error":{"code":"","message":"No Tvm license"}}`, "no active Defender"},
		"an inactive account":          {403, `{"error":{"code":"","message":"Account mode is inactive"}}`, "no active Defender"},
		"one of two causes":            {403, `{"error":{"code":"Forbidden","message":""}}`, "or the tenant is not onboarded"},
		"a token nobody accepts":       {401, `{"error":{"code":"InvalidAuthenticationToken","message":"x"}}`, "fresh token"},
		"the host is gone":             {410, ``, "no Graph alerts_v2"},
		"the collection is not there":  {404, `{"error":{"code":"ResourceNotFound"}}`, "no Graph alerts_v2"},
		"the question is not accepted": {400, `{"error":{"code":"BadRequest","message":"Invalid filter"}}`, "needs an update"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI()
			a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
				return true
			}
			got := read(t, graph(a, 10), open, 5, 0)
			if len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied || !strings.Contains(drover.HintOf(got.errs[0]), tt.hint) {
				t.Fatalf("got %v, hint %q", got.errs, drover.HintOf(got.errs[0]))
			}
			if strings.Contains(got.errs[0].Error(), "Missing") || strings.Contains(got.errs[0].Error(), "token-") {
				t.Errorf("the error shows what the API said: %v", got.errs[0])
			}
		})
	}
	for name, tt := range map[string]struct {
		status int
		body   string
		hint   string
	}{
		"a permission is missing":     {403, `{"error":{"code":"Forbidden","message":"Missing application roles. API required roles: Alert.Read.All,Alert.ReadWrite.All, application roles: .","target":"x"}}`, "consent to Alert.Read.All"},
		"the audience, by 401":        {401, `{"error":{"code":"Unauthorized","message":"Invalid Authorization payload."}}`, "host and audience"},
		"the audience, by 403":        {403, `{"error":{"code":"Forbidden","message":"The audience 'x' is invalid"}}`, "host and audience"},
		"not onboarded":               {403, `{"error":{"code":"DisabledFeature","message":"x"}}`, "no active Defender"},
		"no licence, by 401":          {401, `{"error":{"code":"Unauthorized","message":"Unauthorized request - reason of failure: No Tvm license"}}`, "no active Defender"},
		"inactive, by 401":            {401, `{"error":{"code":"Unauthorized","message":"Unauthorized request - reason of failure: Account mode is inactive"}}`, "no active Defender"},
		"it does not say":             {403, `{"error":{"code":"Forbidden","message":""}}`, "mde_resource"},
		"a token that nobody accepts": {401, `{"error":{"code":"Unauthorized","message":""}}`, "fresh token"},
		"it is retired":               {410, ``, "graph.alerts"},
		"it is not there":             {404, `{"error":{"code":"NotFound","message":""}}`, "graph.alerts"},
	} {
		t.Run("Endpoint, "+name, func(t *testing.T) {
			a := newAPI()
			a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
				return true
			}
			got := read(t, mde(a), open, 5, 0)
			if len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied || !strings.Contains(drover.HintOf(got.errs[0]), tt.hint) {
				t.Errorf("got %v, hint %q", got.errs, drover.HintOf(got.errs[0]))
			}
		})
	}
	t.Run("incidents want a permission of their own", func(t *testing.T) {
		a := newAPI()
		a.answer = once(1, 403, `{"error":{"code":"Forbidden","message":"Missing application roles. API required roles: SecurityIncident.Read.All, application roles: ."}}`)
		if got := read(t, of(drover.GraphIncidents, a, 0), open, 5, 0); len(got.errs) != 1 || !strings.Contains(drover.HintOf(got.errs[0]), "consent to SecurityIncident.Read.All") {
			t.Errorf("got %v", got.errs)
		}
	})
	t.Run("the SIEM API is retired", func(t *testing.T) {
		a := newAPI()
		a.answer = once(1, 410, "")
		got := read(t, NewSIEMDetections(options(a)), open, 5, 0)
		if len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied || !strings.Contains(drover.HintOf(got.errs[0]), "alerts_v2") {
			t.Errorf("got %v", got.errs)
		}
	})
}

func TestATokenIsRenewedOnceAndTheSameQuestionAskedAgain(t *testing.T) {
	want := entries("a", 25, t0, time.Second)
	lost := 0
	for id := range sources {
		for n := 1; n <= 4; n++ {
			a := newAPI(want...)
			a.answer = once(n, 401, `{"error":{"code":"InvalidAuthenticationToken"}}`)
			got := read(t, of(id, a, 10), open, 100, 0)
			whole(t, a, got, want)
			if len(a.requests) <= n { // it was all before
				continue
			}
			if a.requests[n-1] != a.requests[n] || a.tokens[n-1] == a.tokens[n] {
				t.Errorf("request %d: asked %q with another token, want the same", n, a.requests[n])
			}
			lost += len(got.missing(want))
		}
	}
	most := 0
	for id := range sources {
		for _, body := range []string{"", `{"error":{"code":"","message":"No Tvm license"}}`} {
			most = max(most, tokensInAnHour(t, id, body))
		}
	}
	if most > 3 {
		t.Errorf("%d tokens in an hour of 401", most)
	}
	proof.Ran(t, "P32", "lost %d with a 401 between two pages, the same question asked again; token calls in an hour of 401s, one without a licence too: %d; four sources", lost, most)
}

// tokensInAnHour counts the tokens that are asked for while every answer is 401
// and a probe is made every minute.
func tokensInAnHour(t *testing.T, id drover.SourceID, body string) int {
	a := newAPI()
	a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(401)
		fmt.Fprint(w, body)
		return true
	}
	o := options(a)
	s := sources[id](o)
	for range 60 {
		if got := read(t, s, open, 1, 0); drover.KindOf(got.errs[0]) != drover.Denied {
			t.Fatal(got.errs)
		}
		a.now = a.now.Add(time.Minute)
	}
	return 1 + o.Tokens.(*purse).renewed // the first one, and those in its place
}

func TestATokenThatIsAcceptedAgainHealsTheFeed(t *testing.T) {
	a := newAPI()
	a.answer = func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(401); return true }
	s := graph(a, 10)
	if got := read(t, s, open, 1, 0); drover.KindOf(got.errs[0]) != drover.Denied {
		t.Fatal(got.errs)
	}
	a.answer = once(len(a.requests)+1, 401, "")
	a.now = a.now.Add(time.Hour)
	if got := read(t, s, open, 10, 0); !got.done {
		t.Errorf("not healed: %v", got.errs)
	}
}

func TestAPartialAnswerLeavesAGapForTheProviderAndMissingLicencesAreCoverage(t *testing.T) {
	want := entries("a", 15, t0, time.Second)
	for id := range sources {
		a := newAPI(want...)
		a.answer = func(_ *api, n int, w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Add("Warning", `199 - "Microsoft/IPC/504/10001", 199 - "Microsoft/MCAS/403/12"`)
			w.Header().Add("Warning", `199 - "Vendor\x00/Odd/nonsense/1"`)
			return false
		}
		got := read(t, of(id, a, 10), open, 100, 0)
		whole(t, a, got, want)
		if !slices.Contains(got.absent, "Microsoft/MCAS") || slices.Contains(got.absent, "Microsoft/IPC") {
			t.Errorf("absent %q", got.absent)
		}
		at := open.From
		for _, s := range got.skipped {
			switch s.Provider {
			case "Microsoft/IPC":
				if s.Span.From != at {
					t.Errorf("a gap from %s, want from %s", s.Span.From, at)
				}
				at = s.Span.To
			case "Microsoft/MCAS":
				t.Error("what is not licensed is no gap")
			}
		}
		if at != got.through {
			t.Errorf("the gaps reach to %s, the pass to %s", at, got.through)
		}
	}
	t.Run("206 that names nobody", func(t *testing.T) {
		a := newAPI()
		a.answer = once(1, 206, `{"value":[]}`)
		got := read(t, graph(a, 10), open, 10, 0)
		if !got.done || len(got.skipped) != 1 || got.skipped[0].Provider == "" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestLinksWithoutEndEndAndNothingIsClaimed(t *testing.T) {
	for name, next := range map[string]func(n int) string{
		"the same link for ever":      func(int) string { return base + graphPath + "?$skiptoken=a" },
		"two links in turn":           func(n int) string { return fmt.Sprintf(base+graphPath+"?$skiptoken=%d", n%2) },
		"always another link":         func(n int) string { return fmt.Sprintf(base+graphPath+"?$skiptoken=%d", n) },
		"a link, and rows in the end": func(n int) string { return fmt.Sprintf(base+graphPath+"?$skiptoken=%d", n) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI()
			a.answer = func(_ *api, n int, w http.ResponseWriter, r *http.Request) bool {
				fmt.Fprintf(w, `{"@odata.nextLink":%q,"value":[]}`, next(n))
				return true
			}
			got := read(t, graph(a, 10), open, 1000, 0)
			if got.done || len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Transient || got.through > open.From {
				t.Errorf("done %v, through %s, errors %v", got.done, got.through, got.errs)
			}
			if len(a.requests) > runEmpty+5 {
				t.Errorf("%d requests", len(a.requests))
			}
		})
	}
	t.Run("an instant of which links show no end", func(t *testing.T) {
		a := newAPI()
		ties := entries("t", 30, t0, 0)
		a.answer = func(a *api, n int, w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.RawQuery, "severity") {
				if len(a.requests) > 2000 {
					t.Fatal("requests without end")
				}
				var rows []string
				for i := range 3 {
					rows = append(rows, ties[(n*3+i)%30].json(drover.GraphAlerts))
				}
				fmt.Fprintf(w, `{"@odata.nextLink":%q,"value":[%s]}`, fmt.Sprintf(base+graphPath+"?$skiptoken=%d", n), strings.Join(rows, ","))
				return true
			}
			return false
		}
		got := read(t, graph(a, 3), open, 3000, 6)
		if lost := got.missing(ties); len(lost) > 0 {
			t.Errorf("lost %d", len(lost))
		}
		if got.done && got.through > t0 && !left(got.skipped, t0) {
			t.Errorf("an instant without end is said to be whole")
		}
	})
}

// paths are the collections.
var paths = map[drover.SourceID]string{drover.GraphAlerts: graphPath, drover.GraphIncidents: incidentPath, drover.MDEAlerts: mdePath, drover.SIEMDetections: siemPath}

// hostile are links that must not be followed with a token.
var hostile = []string{
	"https://evil.example/v1.0/security/alerts_v2", "http://graph.test/v1.0/security/alerts_v2", "https://graph.test:444/v1.0/security/alerts_v2",
	"https://graph.test.evil.example/v1.0/security/alerts_v2", "https://graph.test@evil.example/v1.0/security/alerts_v2", "https://a@graph.test/v1.0/security/alerts_v2",
	"//evil.example/v1.0/security/alerts_v2", "/v1.0/security/alerts_v2?$skip=10", "?$skip=10", "v1.0/security/alerts_v2", "https:\\\\graph.test\\v1.0\\security\\alerts_v2",
	"https://graph.test\\@evil.example/v1.0/security/alerts_v2", "https://evil.example\\graph.test/v1.0/security/alerts_v2", "https://gr\u0430ph.test/v1.0/security/alerts_v2",
	"https://xn--grph-2we.test/v1.0/security/alerts_v2", "https://127.0.0.1/v1.0/security/alerts_v2", "https://[::1]/v1.0/security/alerts_v2", "https://2130706433/v1.0/security/alerts_v2",
	"https://graph.test/v1.0/security/alerts_v2\r\nX: y", "https://graph.test/v1.0/security/alerts_v2 ", " https://graph.test/v1.0/security/alerts_v2", "https://graph.test\t/v1.0/security/alerts_v2",
	"https://graph.microsoft.us/v1.0/security/alerts_v2", "https://microsoftgraph.chinacloudapi.cn/v1.0/security/alerts_v2", "https://graph.test/v1.0/security/incidents",
	"https://graph.test/v1.0/security/alerts_v2/da1", "https://graph.test/v1.0/security/alerts_v2/../../me", "https://graph.test/v1.0/security/alerts_v2/%2e%2e/incidents", "https://graph.test/v1.0/security%2falerts_v2",
	"https://graph.test/beta/security/alerts_v2", "https://graph.test//v1.0/security/alerts_v2", "https://graph.test/v1.0/security/alerts_v2#x", "https://graph.test/v1.0/security/alerts_v2;x=y", "https://graph.test", "https://graph.test/",
	"ftp://graph.test/v1.0/security/alerts_v2", "file:///v1.0/security/alerts_v2", "javascript:alert(1)", "data:text/html,x", "https:graph.test/v1.0/security/alerts_v2", "https:/graph.test/v1.0/security/alerts_v2",
	"https:///graph.test/v1.0/security/alerts_v2", "https://graph.test:/v1.0/security/alerts_v2\x00", "https://graph.test:0443x/v1.0/security/alerts_v2", "HTTPS:\\\\evil.example", "https://graph.test.:443/v1.0/security/alerts_v2",
	"https://graph%2etest/v1.0/security/alerts_v2", "https://evil.example/https://graph.test/v1.0/security/alerts_v2", "https://evil.example?https://graph.test/v1.0/security/alerts_v2", "https://evil.example#https://graph.test/v1.0/security/alerts_v2",
	"https://graph.test:443@evil.example/v1.0/security/alerts_v2", "https://evil.example/v1.0/security/alerts_v2?x=@graph.test", "https://graph.test,evil.example/v1.0/security/alerts_v2", "https://graph.test%00.evil.example/v1.0/security/alerts_v2",
	"https://graph.test\u3002evil.example/v1.0/security/alerts_v2", "https://\u24d6raph.test/v1.0/security/alerts_v2", "https://graph.test/v1.0/security/alerts_v2\u2028", "https://graph.test/v1.0/security/alerts_v2%00", "https://graph.test/v1.0/security/alerts_v2%0d%0ax",
	"https://graph.test/v1.0/./security/alerts_v2", "https://graph.test/v1.0/security/alerts_v2/.", "https://graph.test/v1.0/security/alerts_v2extra",
}

func TestALinkThatLeadsElsewhereGetsNoToken(t *testing.T) {
	want := entries("t", 30, t0, 0)
	if len(hostile) < 60 {
		t.Fatalf("%d spellings", len(hostile))
	}
	foreign, followed := 0, 0 // bytes of tokens that would leave; links that were taken
	for _, id := range paged {
		path := paths[id]
		for _, link := range hostile {
			link := strings.NewReplacer("v1.0/security/alerts_v2", path[1:], "v1.0/security/incidents", "v1.0/security/alerts").Replace(link)
			a := newAPI(want...)
			a.rename = func(string) string { return link }
			o := options(a)
			o.PageSize = map[drover.SourceID]int{drover.MDEAlerts: 20}[id] // less than is asked for, so that the link counts
			a.clamp, a.links = 10, true
			o.HTTP = func(drover.Tenant) (Doer, error) {
				return guard{direct{a}, func(r httpx.Request) {
					if !strings.HasPrefix(r.URL, base+path+"?") || r.Origin != base+path {
						foreign += len(r.Bearer.Reveal())
						t.Errorf("%q: a token goes to %q", link, r.URL)
					}
				}}, nil
			}
			p := sources[id](o).Read(tenant(), open)
			got := result{through: drover.NoInstant}
			for range 100 {
				page, err := p.Next(t.Context())
				if err != nil {
					got.errs = append(got.errs, err)
					break
				}
				got.through, got.done = page.Through, got.done || page.Done
			}
			if len(got.errs) == 0 || got.done {
				followed++
				t.Errorf("%q was taken for a link", link)
				continue
			}
			var e *drover.Error
			if !errors.As(got.errs[0], &e) || e.Kind != drover.Transient || e.Code != "link outside origin" || strings.Contains(e.Error(), "evil") {
				t.Errorf("%q: %v", link, got.errs[0])
			}
			if got.through > t0 {
				t.Errorf("%q: through %s", link, got.through)
			}
		}
	}
	// Spellings put together from pieces of these, and of what a link may be.
	rng := rand.New(rand.NewPCG(3, 3))
	pieces := append([]string{base + graphPath + "?$skip=10", "/", "@", "\\", ":443", ".", "%2e", "#", "?", "//", "https:", "evil.example", graphPath, "\t"}, hostile...)
	made, accepted := 100_000, 0
	for range made {
		link := pieces[rng.IntN(len(pieces))]
		for range 1 + rng.IntN(2) {
			i, p := rng.IntN(len(link)+1), pieces[rng.IntN(len(pieces))]
			if n := rng.IntN(len(p) + 1); rng.IntN(2) == 0 {
				p = p[n:]
			}
			link = link[:i] + p + link[min(i+rng.IntN(3), len(link)):]
		}
		got, err := checkLink(base+graphPath, link)
		if err != nil {
			continue
		}
		accepted++
		if req, err := http.NewRequest(http.MethodGet, got, nil); err != nil || !home(req) {
			foreign += len("token-0")
			t.Errorf("%q leads to %q", link, got)
		}
	}
	if accepted == 0 {
		t.Error("no link was good: nothing was tried")
	}
	proof.Ran(t, "P03", "token bytes seen elsewhere: %d over %d spellings at three sources, and %d made of their pieces, of which %d lead home; links followed %d", foreign, len(hostile), made, accepted, followed)
}

// home reports whether a request goes to the collection and nowhere else.
func home(req *http.Request) bool {
	u := req.URL
	return u.Scheme == "https" && strings.EqualFold(u.Hostname(), "graph.test") && (u.Port() == "" || u.Port() == "443") && u.User == nil && strings.EqualFold(strings.TrimSuffix(u.Path, "/"), graphPath)
}

// guard looks at requests before they are made.
type guard struct {
	d    Doer
	look func(httpx.Request)
}

func (g guard) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	g.look(r)
	return g.d.Do(ctx, r)
}

func FuzzLink(f *testing.F) {
	for _, l := range hostile {
		f.Add(l)
	}
	f.Add(base + graphPath + "?$skip=10")
	f.Fuzz(func(t *testing.T, link string) {
		got, err := checkLink(base+graphPath, link)
		if err != nil {
			return
		}
		req, err := http.NewRequest(http.MethodGet, got, nil)
		if err != nil {
			t.Fatalf("%q cannot be asked for: %v", got, err)
		}
		if !home(req) {
			t.Fatalf("%q leads to %s", link, req.URL)
		}
	})
}

func TestALinkRefusedStartsTheInstantAgain(t *testing.T) {
	want := slices.Concat(entries("t", 30, t0, 0), entries("z", 5, t0.Add(time.Second), time.Second))
	links, lost, rows := 0, 0, 0
	// Refused once, the run is begun again; for ever, the instant is divided.
	for _, id := range paged {
		for _, tt := range []struct{ status, times int }{{400, 1}, {404, 1}, {410, 1}, {400, 1 << 20}, {404, 1 << 20}, {410, 1 << 20}} {
			a := newAPI(want...)
			a.clamp, a.links = 10, true
			refused, status := 0, tt.status
			a.answer = func(_ *api, _ int, w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Query().Has("$skip") && refused < tt.times {
					refused++
					w.WriteHeader(status)
					fmt.Fprint(w, `{"error":{"code":"","message":"Query option 'SkipToken' is not allowed"}}`)
					return true
				}
				return false
			}
			got := read(t, of(id, a, map[drover.SourceID]int{drover.MDEAlerts: 20}[id]), open, 500, 0)
			whole(t, a, got, want)
			if refused == 0 {
				t.Fatal("no link was followed")
			}
			links, lost, rows = links+refused, lost+len(got.missing(want)), rows+len(want)
		}
	}
	// A host that is not there any more is another matter, and so is its name.
	gone, hosts := 0, 0
	for id, of := range sources {
		for what, fail := range map[string]func(o *Options, a *api){
			"404": func(_ *Options, a *api) { a.answer = always(404) },
			"410": func(_ *Options, a *api) { a.answer = always(410) },
			"no such name": func(o *Options, _ *api) {
				o.HTTP = func(drover.Tenant) (Doer, error) { return nameless{}, nil }
			},
		} {
			if what == "no such name" && (id == drover.GraphAlerts || id == drover.GraphIncidents) {
				continue // that host stays: it is the name server
			}
			a := newAPI(want...)
			o := options(a)
			fail(&o, a)
			hosts++
			got := read(t, of(o), open, 5, 3)
			if len(got.errs) != 1 || drover.KindOf(got.errs[0]) != drover.Denied || !strings.Contains(drover.HintOf(got.errs[0]), instead[id]) {
				t.Errorf("%s, %s: %v, hint %q", id, what, got.errs, drover.HintOf(got.errs[0]))
				continue
			}
			gone++
		}
	}
	proof.Ran(t, "P31", "lost %d of %d rows of three sources with %d links refused; %d of %d hosts that are gone denied with what replaces them", lost, rows, links, gone, hosts)
}

// instead is what the hint names when an API is gone.
var instead = map[drover.SourceID]string{drover.GraphAlerts: "mde.alerts", drover.GraphIncidents: "nothing else delivers", drover.MDEAlerts: "graph.alerts", drover.SIEMDetections: "graph.alerts"}

func always(status int) func(*api, int, http.ResponseWriter, *http.Request) bool {
	return func(_ *api, _ int, w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
}

// nameless is a host whose name is not known any more.
type nameless struct{}

func (nameless) Do(context.Context, httpx.Request) (*httpx.Response, error) {
	return nil, fmt.Errorf("connect: %w", &net.DNSError{Err: "no such host", IsNotFound: true})
}

func TestASpanThatIsEmptyIsNoSuccess(t *testing.T) {
	for name, span := range map[string]drover.Span{"both ends equal": {From: t0, To: t0}, "the wrong way round": {From: t0, To: t0 - 1}} {
		a := newAPI()
		for id := range sources {
			s := of(id, a, 10)
			if _, err := s.Read(tenant(), span).Next(t.Context()); drover.KindOf(err) != drover.Broken || len(a.requests) > 0 {
				t.Errorf("%s, %s: %v after %d requests", name, s.ID(), err, len(a.requests))
			}
		}
	}
}

func TestSpansOfAnyKindAreReadWhole(t *testing.T) {
	for name, span := range map[string]drover.Span{"both ends equal": {From: t0, To: t0}, "the wrong way round": {From: t0, To: t0 - 1}} {
		for id := range sources {
			s := of(id, newAPI(), 10)
			if page, err := s.Read(tenant(), span).Next(t.Context()); err == nil || page.Done {
				t.Errorf("%s, %s: taken for a success", name, s.ID())
			}
		}
	}
	spans, lost := 0, 0
	for name, tt := range map[string]struct{ from, at, to string }{
		"one step wide":       {"2026-03-02T08:00:00.0033333Z", "2026-03-02T08:00:00.0033333Z", "2026-03-02T08:00:00.0033334Z"},
		"across the year end": {"2025-12-31T23:59:59Z", "2025-12-31T23:59:59.9999999Z", "2026-01-01T00:00:01Z"},
		"across a clock hour": {"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T03:30:00Z"},
	} {
		for _, coarse := range []time.Duration{0, time.Millisecond} {
			e := entry{id: "x", changed: at(tt.at), severity: "high"}
			a := newAPI(e)
			a.coarse, a.now = coarse, at("2026-06-01T00:00:00Z")
			for id := range sources {
				s := of(id, a, 10)
				got := read(t, s, drover.Span{From: at(tt.from), To: at(tt.to)}, 100, 0)
				whole(t, a, got, []entry{e})
				if got.through != at(tt.to) {
					t.Errorf("%s, %s: through %s", name, s.ID(), got.through)
				}
				spans, lost = spans+1, lost+len(got.missing([]entry{e}))
			}
			for _, q := range a.requests {
				if strings.Contains(q, "%2B") {
					t.Errorf("%s: a time that is not UTC: %s", name, q)
				}
			}
		}
	}
	proof.Ran(t, "P40", "lost %d in %d spans: a step wide, across a year's end, across a change of clocks; empty ones taken for a success 0 of 8; four sources", lost, spans)
}

func TestAbsurdTimesMoveNothing(t *testing.T) {
	good := entries("a", 5, t0, time.Second)
	odd := []entry{
		{id: "future", changed: at("9999-12-31T23:59:59.9999999Z")},
		{id: "tomorrow", changed: t0.Add(30 * time.Hour)},
		{id: "null", changed: t0.Add(10 * time.Second), raw: `{"id":"null","lastUpdateDateTime":null,"lastUpdateTime":null,"FullId":"null","LastProcessedTimeUtc":null}`},
		{id: "junk", changed: t0.Add(11 * time.Second), raw: `{"id":"junk","lastUpdateDateTime":"soon","lastUpdateTime":"soon","FullId":"junk"}`},
		{id: "bad", changed: t0.Add(12 * time.Second), raw: `{"lastUpdateDateTime":"2026-03-02T08:00:12Z","lastUpdateTime":"2026-03-02T08:00:12Z","LastProcessedTimeUtc":"2026-03-02T08:00:12Z"}`},
	}
	jumps, lost, rows := 0, 0, 0
	for id := range sources {
		for _, noDate := range []bool{false, true} {
			a := newAPI(slices.Concat(good, odd)...)
			a.noDate = noDate
			got := read(t, of(id, a, 3), open, 200, 0)
			whole(t, a, got, good)
			ahead := odd[:2]
			if id == drover.MDEAlerts || id == drover.SIEMDetections {
				ahead = nil // nothing is asked for beyond the server's now
			}
			for _, e := range ahead {
				if !got.rows[alert{e.id, e.changed}] {
					t.Errorf("%s was not returned", e.id)
				}
			}
			for _, e := range odd[2:] {
				if got.raw[e.raw] != 1 {
					t.Errorf("%s was returned %d times", e.id, got.raw[e.raw])
				}
			}
			if noDate && got.through > t0.Add(12*time.Second) || !noDate && (got.through > a.now || got.through < a.now.Add(-time.Minute)) {
				t.Errorf("no Date %v: through %s", noDate, got.through)
				jumps++
			}
			lost, rows = lost+len(got.missing(good))+len(got.missing(ahead)), rows+len(good)+len(ahead)+3
			for _, e := range odd[2:] {
				lost += 1 - got.raw[e.raw]
			}
		}
	}
	proof.Ran(t, "P15", "cursor jumps from bad times %d; lost %d of %d rows of four sources, half of them with a time that is none or far ahead", jumps, lost, rows)
}

// A row that is shown at its place and claims a year long gone ends no pass.
func TestATimeBeforeAllAlertsIsNoBoundThatWasNotKept(t *testing.T) {
	for _, size := range []int{1, 3, 10} {
		good := entries("a", 5, t0, time.Second)
		odd := entry{id: "old", changed: t0.Add(time.Minute), raw: `{"id":"old","lastUpdateDateTime":"0001-01-01T00:00:00Z","tenantId":null}`}
		a := newAPI(append(good, odd)...)
		got := read(t, graph(a, size), open, 200, 0)
		if len(got.errs) > 0 || !got.done || len(got.missing(good)) > 0 || got.raw[odd.raw] != 1 {
			t.Errorf("pages of %d: done %v, errors %v, missing %v, the odd one %d times", size, got.done, got.errs, got.missing(good), got.raw[odd.raw])
		}
	}
}

func TestAPersistentFailureAsksForLess(t *testing.T) {
	want := entries("a", 40, t0, time.Second)
	a := newAPI(want...)
	a.answer = func(_ *api, _ int, w http.ResponseWriter, r *http.Request) bool {
		if top := r.URL.Query().Get("$top"); len(top) > 1 || top > "4" {
			w.WriteHeader(500)
			return true
		}
		return false
	}
	got := read(t, graph(a, 32), open, 500, 6)
	if lost := got.missing(want); !got.done || len(lost) > 0 {
		t.Errorf("done %v, lost %d, %d errors", got.done, len(lost), len(got.errs))
	}
}

func TestBytesThatVaryFromReadToReadEndThePassAllTheSame(t *testing.T) {
	a := newAPI(entries("a", 3, t0, 0)...)
	n := 0
	a.rewrite = func(_ int, body []byte) []byte {
		n++
		return []byte(strings.ReplaceAll(string(body), `"status":"new"`, fmt.Sprintf(`"status":"new","live":%d`, n)))
	}
	if got := read(t, graph(a, 10), open, 20, 0); !got.done {
		t.Error("no end")
	}
}

func TestAPageWhoseCheckIsThrottledIsNotReadAgain(t *testing.T) {
	a := newAPI()
	for i := range 20 {
		a.set(entry{id: fmt.Sprintf("da%02d", i), changed: t0.Add(time.Duration(i) * time.Second)})
	}
	late := entry{id: "late", changed: t0.Add(time.Hour + time.Second)}
	a.answer = func(a *api, n int, w http.ResponseWriter, _ *http.Request) bool {
		if n != 2 && n != 3 { // the question that checks the first page
			return false
		}
		a.now = a.now.Add(time.Minute)
		a.set(late)
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	}
	p := graph(a, 100).Read(tenant(), drover.Span{From: t0, To: drover.NoInstant})
	if page, err := p.Next(t.Context()); err != nil || len(page.Rows) != 20 || page.Through != t0 {
		t.Fatalf("%d rows through %s, %v", len(page.Rows), page.Through, err)
	}
	for range 2 {
		if _, err := p.Next(t.Context()); drover.KindOf(err) != drover.Throttled {
			t.Fatalf("got %v", err)
		}
	}
	page, err := p.Next(t.Context())
	if err != nil || len(page.Rows) != 0 || page.Through <= t0 {
		t.Fatalf("%d rows through %s, %v", len(page.Rows), page.Through, err)
	}
	if len(a.requests) != 4 || a.requests[1] != a.requests[2] || a.requests[2] != a.requests[3] {
		t.Errorf("asked %q", a.requests)
	}
	if page.Through > t0.Add(time.Hour) {
		t.Errorf("read through %s, when the page is of %s", page.Through, t0.Add(time.Hour))
	}
}

// A state that an answer has shown may be gone from the next one: it is
// returned even when the question that checks the answer fails.
func TestRowsOfAWholeAnswerAreReturnedThoughItsCheckFails(t *testing.T) {
	for name, tt := range map[string]struct {
		source func(a *api) drover.Source
		rows   []entry
	}{
		"Graph, is it in order": {func(a *api) drover.Source { return graph(a, 100) }, entries("a", 20, t0, time.Second)},
		"Graph, is it all":      {func(a *api) drover.Source { return graph(a, 100) }, entries("a", 5, t0, 0)},
		"incidents, in order":   {func(a *api) drover.Source { return of(drover.GraphIncidents, a, 0) }, entries("a", 20, t0, time.Second)},
		"Endpoint, was it cut":  {func(a *api) drover.Source { return mde(a) }, entries("a", 20, t0, time.Second)},
		"SIEM, was it cut":      {func(a *api) drover.Source { return siem(a) }, entries("a", siemDoubt+10, t0, time.Second)},
	} {
		for kind, status := range map[drover.Kind]int{drover.Transient: 500, drover.Throttled: 429, drover.Denied: 403} {
			t.Run(fmt.Sprintf("%s, %s", name, kind), func(t *testing.T) {
				a := newAPI(tt.rows...)
				a.answer = func(_ *api, n int, w http.ResponseWriter, _ *http.Request) bool {
					if n == 1 {
						return false
					}
					w.WriteHeader(status)
					return true
				}
				p := tt.source(a).Read(tenant(), drover.Span{From: t0.Add(-time.Second), To: t0.Add(10 * time.Minute)})
				page, err := p.Next(t.Context())
				if err != nil || len(page.Rows) != len(tt.rows) || page.Done || page.Through > t0 {
					t.Fatalf("%d of %d rows through %s, done %v, %v", len(page.Rows), len(tt.rows), page.Through, page.Done, err)
				}
				if _, err := p.Next(t.Context()); drover.KindOf(err) != kind {
					t.Errorf("then %v", err)
				}
			})
		}
	}
}

// The outer bounds of a span are widened, so what lies just outside comes with
// an instant at its edge.
func TestANeighbourOfTheSpansEdgeIsNotAskedForAgainAndAgain(t *testing.T) {
	want := entries("a", 3, t0.Add(-200*time.Nanosecond), 100*time.Nanosecond)
	want[0].severity, want[1].severity, want[2].severity = "low", "high", "low"
	a := newAPI(want...)
	got := read(t, graph(a, 10), drover.Span{From: t0, To: t0.Add(700 * time.Millisecond)}, 200, 0)
	if lost := got.missing(want[2:]); !got.done || len(lost) > 0 || len(a.requests) > 60 {
		t.Errorf("done %v, lost %v, %d requests", got.done, lost, len(a.requests))
	}
}
