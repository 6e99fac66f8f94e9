package httpx

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// ErrOrigin: a link or a request leads outside of the origin that its
// credential is for. Nothing was sent.
var ErrOrigin = errors.New("link outside origin")

// ErrPlaintext: a credential would have travelled without TLS. Nothing was
// sent.
var ErrPlaintext = errors.New("a credential is sent over https only")

// maxLink bounds the length of a URL; real ones stay below 8 KiB.
const maxLink = 32 << 10

// CheckLink checks a link that an answer of base brought along, and returns
// it as it may be asked for: absolute, with base's scheme, host and port, its
// path base's or below it. The check is on the parsed URL; what two parsers
// might read differently (backslashes, control and non-ASCII characters,
// escapes in the path, dot segments, a user, a fragment) is refused (reference
// faults P03). The error is ErrOrigin and holds nothing of the link.
func CheckLink(base, link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || u.RawPath != "" || strings.Contains(link, "#") {
		return "", ErrOrigin
	}
	b, err := url.Parse(base)
	if err != nil {
		return "", ErrOrigin
	}
	b.RawQuery, b.ForceQuery, b.Fragment = "", false, ""
	if err := within(b.String(), link, u); err != nil {
		return "", err
	}
	return u.String(), nil
}

// within reports whether raw, parsed as u, lies in origin: same scheme, host
// and port, and a path below origin's.
func within(origin, raw string, u *url.URL) error {
	if len(raw) > maxLink {
		return ErrOrigin
	}
	for _, c := range []byte(raw) {
		if c <= ' ' || c == '\\' || c >= 0x7f {
			return ErrOrigin
		}
	}
	o, err := url.Parse(origin)
	if err != nil || o.Host == "" || o.User != nil || o.RawQuery != "" || o.Fragment != "" {
		return ErrOrigin
	}
	if u.Scheme != o.Scheme || u.User != nil || u.Opaque != "" || !below(o.Path, u.Path) || ambiguous(u.EscapedPath()) {
		return ErrOrigin
	}
	if have, want := hostPort(u), hostPort(o); have == "" || have != want {
		return ErrOrigin
	}
	return nil
}

// below compares paths without regard to case, as the APIs do; what has dot
// segments, empty segments or path parameters is below nothing.
func below(prefix, path string) bool {
	path, prefix = strings.ToLower(path), strings.TrimSuffix(strings.ToLower(prefix), "/")
	if strings.ContainsAny(path, "\\;") || strings.Contains(path, "//") {
		return false
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "." || part == ".." {
			return false
		}
	}
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// ambiguous reports whether a path hides what separates its segments behind
// escapes, which the other side may undo once more than we do.
func ambiguous(escaped string) bool {
	escaped = strings.ToLower(escaped)
	for _, hidden := range []string{"%2e", "%2f", "%5c", "%25", "%3b", "%00"} {
		if strings.Contains(escaped, hidden) {
			return true
		}
	}
	return false
}

// hostPort is the host in lower case with its port, "" if there is no scheme
// that drover speaks or the port is written oddly.
func hostPort(u *url.URL) string {
	standard := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	port := u.Port()
	switch {
	case standard == "" || u.Hostname() == "" || strings.HasSuffix(u.Host, ":") || strings.HasPrefix(port, "0"):
		return ""
	case port == "":
		port = standard
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}
