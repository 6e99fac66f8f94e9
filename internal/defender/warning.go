package defender

import (
	"net/http"
	"strconv"
	"strings"

	"drover"
	"drover/internal/httpx"
)

// Bounds of what a header may say about providers.
const (
	maxProviders = 32
	maxProvider  = 80
)

// warnings reads what the Warning headers of an answer say about single
// providers: `199 - "{Vendor}/{Provider}/{status}/{ms}"` (reference
// graph-security §8). Those that answered 401 or 403 are not licensed or not
// granted, which is coverage; any other has left a hole.
func warnings(h http.Header) (absent, failed []string) {
	for _, v := range h.Values("Warning") {
		for n := 0; n < maxProviders; n++ {
			_, rest, ok := strings.Cut(v, `"`)
			if !ok {
				break
			}
			said, rest, ok := strings.Cut(rest, `"`)
			v = rest
			fields := strings.Split(said, "/")
			if !ok || len(fields) < 3 {
				continue
			}
			name := provider(fields[0] + "/" + fields[1])
			if status, err := strconv.Atoi(strings.TrimSpace(fields[2])); err == nil {
				switch {
				case status == http.StatusUnauthorized || status == http.StatusForbidden:
					absent = append(absent, name)
				case status >= 300:
					failed = append(failed, name)
				}
			} else {
				failed = append(failed, name)
			}
		}
	}
	return absent, failed
}

// provider bounds a name that is shown.
func provider(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxProvider)]
}

// partly adds to a page what an answer said of providers that are not in it:
// the stretch that was asked for is open for those that failed. A 206 that
// names nobody is as good as one that names a provider that nobody knows.
func partly(out *drover.Page, res *httpx.Response, span drover.Span) {
	absent, failed := warnings(res.Header)
	out.Absent = append(out.Absent, absent...)
	if res.Status == http.StatusPartialContent && len(absent)+len(failed) == 0 {
		failed = []string{"unnamed"}
	}
	if span.From >= span.To {
		return
	}
	for _, name := range failed {
		out.Skipped = append(out.Skipped, drover.Skipped{Span: span, Provider: name, Cause: "the provider did not answer"})
	}
}
