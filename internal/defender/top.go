package defender

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"drover"
	"drover/internal/httpx"
)

// tops remembers how many rows the API of a tenant takes at once, if it has
// refused more.
type tops struct {
	mu sync.Mutex
	of map[drover.TenantID]int
}

func newTops() *tops { return &tops{of: make(map[drover.TenantID]int)} }

// most is how many rows to ask a tenant's API for, n at most.
func (t *tops) most(id drover.TenantID, n int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if top := t.of[id]; top > 0 {
		n = min(n, top)
	}
	return n
}

func (t *tops) accepts(id drover.TenantID, top int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[id] = top
}

// page asks for top rows at most, halved as often as shrink says, and for
// fewer if so many are refused; url renders the question. It returns how many
// it asked for in the end.
func (c *client) page(ctx context.Context, f *fields, known *tops, origin string, top, shrink int, url func(top int) string) (res *httpx.Response, page scanned, _ int, err error) {
	top = max(known.most(c.tenant.ID, top)>>shrink, 1)
	for tries, refused := 0, false; ; tries++ {
		res, err = c.get(ctx, origin, url(top))
		if err != nil {
			return nil, page, 0, err
		}
		if res.Status == http.StatusBadRequest && tries < topTries {
			if n := smallerTop(res, top); n > 0 {
				top, refused = n, true
				continue
			}
		}
		if page, err = c.rows(res, f); err == nil && refused {
			known.accepts(c.tenant.ID, top) // it was the number, and this one will do
		}
		return res, page, top, err
	}
}

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
