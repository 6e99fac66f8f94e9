package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"

	"drover"
	"drover/internal/httpx"
)

// bare reads a tenant the bare way: the same pages, the same bounds, one file.
// It keeps nothing but the time of the newest row.
type bare struct {
	a      *app
	tenant drover.Tenant
	from   string
	last   int // how many rows of the instant from have been read
}

func newBare(a *app, t drover.Tenant) *bare { return &bare{a: a, tenant: t, from: t.Start.String()} }

// read writes the rows that are new to w and returns how many they were.
func (b *bare) read(ctx context.Context, w io.Writer) (rows int, err error) {
	token, err := b.a.tokens.Token(ctx, b.tenant, drover.GraphAlerts)
	if err != nil {
		return 0, err
	}
	base := b.a.cfg.Clouds["lab"].Graph + "/v1.0/security/alerts_v2"
	for {
		q := "?$filter=" + url.PathEscape("lastUpdateDateTime ge "+b.from) + "&$orderby=lastUpdateDateTime%20asc&$top=500"
		res, err := b.a.https["lab"].Do(ctx, httpx.Request{URL: base + q, Origin: base, Bearer: token, Header: http.Header{"Prefer": {"include-unknown-enum-members"}}})
		if err != nil {
			return rows, err
		}
		bounds, at := rowBounds(res.Body)
		for _, r := range bounds[min(b.last, len(bounds)):] {
			if _, err := w.Write(res.Body[r[0]:r[1]]); err != nil {
				return rows, err
			}
			if _, err := io.WriteString(w, "\n"); err != nil {
				return rows, err
			}
			rows++
		}
		done := at == "" || at == b.from
		if at != "" {
			// The next page begins with the rows of the last instant again.
			b.last, b.from = 0, at
			for b.last < len(bounds) && changeOf(res.Body, bounds[len(bounds)-1-b.last]) == at {
				b.last++
			}
		}
		res.Release()
		if done {
			return rows, nil
		}
	}
}

// rowBounds finds the rows of a page by counting braces outside of strings,
// and the last row's change time.
func rowBounds(page []byte) (bounds [][2]int, last string) {
	i := bytes.Index(page[:min(len(page), 4096)], []byte(`"value":[`)) + len(`"value":[`)
	depth, start := 0, 0
	for ; i < len(page); i++ {
		switch page[i] {
		case '"':
			for i++; i < len(page); i++ {
				n := bytes.IndexByte(page[i:], '"')
				if n < 0 {
					return nil, ""
				}
				i += n
				back := i - 1
				for page[back] == '\\' {
					back--
				}
				if (i-back)%2 == 1 {
					break // not escaped
				}
			}
		case '{', '[':
			if depth == 0 {
				start = i
			}
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				bounds = append(bounds, [2]int{start, i + 1})
			}
			if depth < 0 {
				i = len(page)
			}
		}
	}
	if n := len(bounds); n > 0 {
		last = changeOf(page, bounds[n-1])
	}
	return bounds, last
}

// changeOf returns a row's change time as it is written.
func changeOf(page []byte, bound [2]int) string {
	_, rest, _ := bytes.Cut(page[bound[0]:bound[1]], []byte(`"lastUpdateDateTime":"`))
	at, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(at)
}
