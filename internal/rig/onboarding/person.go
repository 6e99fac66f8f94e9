package onboarding

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"drover/internal/lab/labtest"
)

// Visitor is who sits at a browser, and the code that a page asks for.
type Visitor struct{ User, Code string }

// Person is somebody at a browser: opens an address, does what the pages ask,
// and says yes, until nothing leads on. It returns the last address, which may
// be of a host that there is not.
type Person interface {
	Visit(ctx context.Context, address string, as Visitor) (last string, err error)
}

// Reader is a person who needs no browser: reads pages as text.
type Reader struct{ CA []byte }

var (
	link   = regexp.MustCompile(`<a [^>]*href="(https://[^"]+/(?:authorize|adminconsent)\?[^"]*)"`)
	form   = regexp.MustCompile(`(?s)<form\b[^>]*method="post"[^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	hidden = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*name="([^"]*)"[^>]*value="([^"]*)"`)
)

// Visit implements Person.
func (r Reader) Visit(ctx context.Context, address string, as Visitor) (string, error) {
	b, err := labtest.New(r.CA)
	if err != nil {
		return "", err
	}
	const pages = 20
	for range pages {
		if Unresolvable(address) {
			return address, nil
		}
		status, page, err := b.Open(ctx, address)
		if err != nil {
			return address, err
		}
		if status >= http.StatusBadRequest {
			return address, fmt.Errorf("%d %s", status, page)
		}
		led := ""
		switch m := form.FindStringSubmatch(page); {
		case strings.Contains(page, `name="canary"`):
			fields := url.Values{"user": {as.User}}
			if as.Code != "" {
				fields.Set("code", as.Code)
			}
			if led, err = b.Answer(ctx, address, "accept", fields); err != nil {
				return address, err
			}
		case m != nil:
			fields := url.Values{}
			for _, f := range hidden.FindAllStringSubmatch(m[2], -1) {
				fields.Set(html.UnescapeString(f[1]), html.UnescapeString(f[2]))
			}
			if led, err = b.Submit(ctx, resolve(address, html.UnescapeString(m[1])), fields); err != nil {
				return address, err
			}
		default:
			if m := link.FindStringSubmatch(page); m != nil {
				led = html.UnescapeString(m[1])
			}
		}
		if led == "" {
			return address, nil
		}
		address = resolve(address, led)
	}
	return address, fmt.Errorf("no end after %d pages", pages)
}

func resolve(base, ref string) string {
	b, err := url.Parse(base)
	if err != nil {
		return ref
	}
	u, err := b.Parse(ref)
	if err != nil {
		return ref
	}
	return u.String()
}

// Unresolvable reports whether an address is the manual's, which leads nowhere.
func Unresolvable(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.EqualFold(u.Host, "siemmsspconnector")
}
