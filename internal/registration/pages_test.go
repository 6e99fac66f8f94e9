package registration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"drover"
	"drover/internal/httpx"
)

// graphPages answers as Graph does, a hundred a page; link is where the first page
// leads, where it is not the next.
type graphPages struct {
	owners int
	link   string
	asked  []string
}

func (g *graphPages) Do(_ context.Context, r httpx.Request) (*httpx.Response, error) {
	g.asked = append(g.asked, r.URL)
	answer := func(body string) (*httpx.Response, error) {
		return &httpx.Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(body)}, nil
	}
	from, owners := 0, strings.Contains(r.URL, "/owners")
	if _, after, ok := strings.Cut(r.URL, "$skiptoken="); ok {
		_, _ = fmt.Sscan(after, &from)
	}
	switch {
	case !owners && strings.Contains(r.URL, "/federated"):
		return answer(`{"value":[]}`)
	case !owners:
		return answer(`{"id":"o","appId":"3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"}`)
	}
	var list []string
	for i := from; i < min(from+100, g.owners); i++ {
		list = append(list, fmt.Sprintf(`{"id":"%d"}`, i))
	}
	next := ""
	if from+100 < g.owners {
		next = fmt.Sprintf("https://graph.example/v1.0/applications(appId='x')/owners?$skiptoken=%d", from+100)
		if g.link != "" {
			next = g.link
		}
		next = `,"@odata.nextLink":"` + next + `"`
	}
	return answer(`{"value":[` + strings.Join(list, ",") + `]` + next + `}`)
}

func TestEveryOwnerIsReadAndNoLinkLeadsElsewhere(t *testing.T) {
	find := func(g *graphPages) (*Application, error) {
		c := New(Options{HTTP: g, Graph: "https://graph.example", Token: drover.NewSecret("token")})
		return c.Find(t.Context(), "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
	}
	for _, n := range []int{0, 1, 100, 101, 350} {
		a, err := find(&graphPages{owners: n})
		if err != nil || len(a.Owners) != n || n > 0 && a.Owners[n-1].ID != fmt.Sprint(n-1) {
			t.Errorf("of %d owners %+v, %v", n, a, err)
		}
	}
	for _, link := range []string{"https://graph.example.evil.example/v1.0/owners", "https://evil.example/v1.0/owners", "http://graph.example/v1.0/owners", "https://graph.example/v1.0.evil/owners", "/v1.0/owners"} {
		g := &graphPages{owners: 200, link: link}
		if a, err := find(g); err == nil {
			t.Errorf("%s: %d owners", link, len(a.Owners))
		}
		for _, u := range g.asked {
			if !strings.HasPrefix(u, "https://graph.example/v1.0/") {
				t.Errorf("%s was asked", u)
			}
		}
	}
	// One that leads on for ever ends.
	if _, err := find(&graphPages{owners: 1 << 30, link: "https://graph.example/v1.0/applications(appId='x')/owners?$skiptoken=0"}); err == nil {
		t.Error("a list without end is taken")
	}
}
