package httpx

import (
	"errors"
	"net/url"
	"strings"
	"syscall"
)

// syscallConn is what a dialer's Control is given.
type syscallConn = syscall.RawConn

// ErrOrigin: a link or a request leads outside of the origin that its
// credential is for.
var ErrOrigin = errors.New("link outside origin")

// within reports whether u lies in origin: same scheme, host, port, and a path
// below origin's.
func within(origin string, u *url.URL) error {
	o, err := url.Parse(origin)
	if err != nil || o.Host == "" || o.Scheme == "" {
		return ErrOrigin
	}
	if u.Scheme != o.Scheme || u.Host == "" || hostPort(u) != hostPort(o) || u.User != nil || u.Opaque != "" || !below(o.Path, u.Path) {
		return ErrOrigin
	}
	return nil
}

// below compares paths without regard to case, as the APIs do; dot segments
// are not below anything.
func below(prefix, path string) bool {
	path, prefix = strings.ToLower(path), strings.TrimSuffix(strings.ToLower(prefix), "/")
	if strings.Contains(path, "/../") || strings.Contains(path, "/./") || strings.HasSuffix(path, "/..") || strings.HasSuffix(path, "/.") {
		return false
	}
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// CheckLink checks a link that an answer of base brought along: it must be
// absolute, and lead to base's very scheme, host, port and path (in any case
// of letters); only the query may differ. The check is on the parsed URL, and
// what parsers read differently is refused (reference faults P03).
func CheckLink(base, link string) (string, error) {
	for _, c := range []byte(link) {
		if c <= ' ' || c == '\\' || c >= 0x7f {
			return "", ErrOrigin
		}
	}
	b, err := url.Parse(base)
	if err != nil {
		return "", ErrOrigin
	}
	u, err := url.Parse(link)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Fragment != "" || strings.Contains(link, "#") {
		return "", ErrOrigin
	}
	origin := *b
	origin.RawQuery, origin.Fragment = "", ""
	if err := within(origin.String(), u); err != nil || !strings.EqualFold(strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(b.Path, "/")) || u.RawPath != "" {
		return "", ErrOrigin
	}
	return u.String(), nil
}
