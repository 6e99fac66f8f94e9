package onboarding

import (
	"context"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"time"

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
	const pages = 300
	page := "" // that a form was answered with
	for range pages {
		if Unresolvable(address) {
			return address, nil
		}
		led, next := "", ""
		if page == "" {
			if led, page, err = b.Follow(ctx, address); err != nil {
				return address, err
			}
			if led != "" {
				address, page = resolve(address, led), ""
				continue
			}
		}
		switch m := form.FindStringSubmatch(page); {
		case strings.Contains(page, `name="canary"`):
			fields := url.Values{"user": {as.User}}
			if as.Code != "" {
				fields.Set("code", as.Code)
			}
			led, err = b.Answer(ctx, address, "accept", fields)
		case m != nil:
			fields := url.Values{}
			for _, f := range hidden.FindAllStringSubmatch(m[2], -1) {
				fields.Set(html.UnescapeString(f[1]), html.UnescapeString(f[2]))
			}
			address = resolve(address, html.UnescapeString(m[1]))
			led, next, err = b.Submit(ctx, address, fields)
		case link.MatchString(page):
			led = html.UnescapeString(link.FindStringSubmatch(page)[1])
		case strings.Contains(page, `http-equiv="refresh"`):
			time.Sleep(200 * time.Millisecond) // as a browser does, only sooner
			led = address
		}
		if err != nil || led == "" && next == "" {
			return address, err
		}
		if page = next; led != "" {
			address, page = resolve(address, led), ""
		}
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
