package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"drover"
	"drover/internal/httpx"
)

// bareAPI is all that the reference knows of a source.
type bareAPI struct {
	path, changed string
	top           int                          // rows of a page
	window        func(from, to string) string // the query, where windows are read; nil: page by page in the order of change times
}

var bareAPIs = map[drover.SourceID]bareAPI{
	drover.GraphAlerts:    {path: "/v1.0/security/alerts_v2", changed: "lastUpdateDateTime", top: 500},
	drover.GraphIncidents: {path: "/v1.0/security/incidents", changed: "lastUpdateDateTime", top: 50},
	drover.MDEAlerts: {path: "/api/alerts", changed: "lastUpdateTime", window: func(from, to string) string {
		return "$filter=" + url.PathEscape("lastUpdateTime ge "+from+" and lastUpdateTime lt "+to) + "&$expand=evidence&$top=10000"
	}},
	drover.SIEMDetections: {path: "/api/alerts", changed: "LastProcessedTimeUtc", window: func(from, to string) string {
		return "sinceTimeUtc=" + strings.TrimSuffix(from, "Z") + "&untilTimeUtc=" + strings.TrimSuffix(to, "Z")
	}},
}

// bareWindow is what is asked for at once where windows are read: some hundred
// rows of the default backlog.
const bareWindow = 12 * time.Hour

// bare reads a feed the bare way: the same rows, the same bounds, one file. It
// keeps nothing but the time of the newest row, so that it loses what shows late.
type bare struct {
	a      *app
	tenant drover.Tenant
	source drover.SourceID
	from   string
	last   int // how many rows of the instant from have been read
}

func newBare(a *app, t drover.Tenant, s drover.SourceID) *bare {
	return &bare{a: a, tenant: t, source: s, from: t.Start.String()}
}

// read writes the rows that are new to w and returns how many they were.
func (b *bare) read(ctx context.Context, w io.Writer) (rows int, err error) {
	if bareAPIs[b.source].window != nil {
		return b.windows(ctx, w)
	}
	return b.pages(ctx, w)
}

// get asks the API.
func (b *bare) get(ctx context.Context, query string) (*httpx.Response, error) {
	token, err := b.a.tokens.Token(ctx, b.tenant, b.source)
	if err != nil {
		return nil, err
	}
	cloud, err := b.a.clouds.Of(b.tenant)
	if err != nil {
		return nil, err
	}
	host, err := cloud.Host(b.source, b.tenant.Region)
	if err != nil {
		return nil, err
	}
	base := host + bareAPIs[b.source].path
	res, err := b.a.https[b.tenant.Cloud].Do(ctx, httpx.Request{URL: base + "?" + query, Origin: base, Bearer: token, Header: http.Header{"Prefer": {"include-unknown-enum-members"}}})
	if err == nil && res.Status != http.StatusOK {
		err = fmt.Errorf("%s answers %d", base, res.Status)
		res.Release()
	}
	return res, err
}

// pages reads page by page in the order of change times.
func (b *bare) pages(ctx context.Context, w io.Writer) (rows int, err error) {
	api := bareAPIs[b.source]
	for {
		res, err := b.get(ctx, fmt.Sprintf("$filter=%s&$orderby=lastUpdateDateTime%%20asc&$top=%d", url.PathEscape(api.changed+" ge "+b.from), api.top))
		if err != nil {
			return rows, err
		}
		bounds := rowBounds(res.Body)
		for _, r := range bounds[min(b.last, len(bounds)):] {
			if err := writeRow(w, res.Body[r[0]:r[1]]); err != nil {
				return rows, err
			}
			rows++
		}
		done := true
		if n := len(bounds); n > 0 {
			at := memberOf(res.Body, bounds[n-1], api.changed)
			done = at == b.from
			// The next page begins with the rows of the last instant again.
			b.last, b.from = 0, at
			for b.last < n && memberOf(res.Body, bounds[n-1-b.last], api.changed) == at {
				b.last++
			}
		}
		res.Release()
		if done {
			return rows, nil
		}
	}
}

// windows reads window by window up to now, and goes on from the newest row the
// next time.
func (b *bare) windows(ctx context.Context, w io.Writer) (rows int, err error) {
	api, newest, now := bareAPIs[b.source], b.from, nowInstant()
	for from := b.from; from != ""; {
		at, err := drover.ParseInstant(from)
		if err != nil {
			return rows, err
		}
		to := min(at.Add(bareWindow), now)
		if to <= at {
			break
		}
		res, err := b.get(ctx, api.window(from, to.String()))
		if err != nil {
			return rows, err
		}
		for _, r := range rowBounds(res.Body) {
			changed := memberOf(res.Body, r, api.changed)
			if changed == b.from {
				continue // the newest row of the read before
			}
			if strings.TrimSuffix(changed, "Z") > strings.TrimSuffix(newest, "Z") {
				newest = changed
			}
			if err := writeRow(w, res.Body[r[0]:r[1]]); err != nil {
				return rows, err
			}
			rows++
		}
		res.Release()
		if from = ""; to < now {
			from = to.String()
		}
	}
	b.from = newest
	return rows, nil
}

func writeRow(w io.Writer, row []byte) error {
	if _, err := w.Write(row); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// rowBounds finds the rows of a page by counting braces outside of strings.
func rowBounds(page []byte) (bounds [][2]int) {
	i := 1 // behind the bracket of a bare array
	if len(page) > 0 && page[0] == '{' {
		i = bytes.Index(page[:min(len(page), 4096)], []byte(`"value":[`)) + len(`"value":[`)
	}
	depth, start := 0, 0
	for ; i < len(page); i++ {
		switch page[i] {
		case '"':
			for i++; i < len(page); i++ {
				n := bytes.IndexByte(page[i:], '"')
				if n < 0 {
					return nil
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
	return bounds
}

// memberOf returns the text of a row's member as it is written.
func memberOf(page []byte, bound [2]int, name string) string {
	_, rest, _ := bytes.Cut(page[bound[0]:bound[1]], []byte(`"`+name+`":"`))
	at, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(at)
}
