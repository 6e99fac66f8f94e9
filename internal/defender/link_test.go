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

// nameless is a host whose name is not known any more.
type nameless struct{}

func (nameless) Do(context.Context, httpx.Request) (*httpx.Response, error) {
	return nil, fmt.Errorf("connect: %w", &net.DNSError{Err: "no such host", IsNotFound: true})
}
