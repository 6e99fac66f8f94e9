package httpx

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzCheckLink looks at every link that is accepted through three pairs of
// eyes: net/url as net/http uses it, a reading by hand of RFC 3986, and one of
// what browsers and lax servers make of a link (WHATWG). None may see another
// origin, or a path outside of the collection. Next to the link as it came, one
// is made of a good link in which junk takes the place of a stretch.
func FuzzCheckLink(f *testing.F) {
	for i, l := range slices.Concat(foreign, home) {
		if len(l) < 1000 {
			f.Add(l, l[:min(len(l), i%9)], byte(i), byte(i*7), byte(i%5))
		}
	}
	for i, junk := range []string{"/..", "/%2e%2E/", "//", "\\", "@", ":443", ":80", "#", "?", ";", "\t", "\x00", "%2f", "%5c", ".", "%", "\u3002", "\uff0f", "https://", "evil.example/"} {
		f.Add(collection+"/x?"+junk, junk, byte(8*i), byte(8*i+i%3), byte(i))
	}
	f.Fuzz(func(t *testing.T, link, junk string, from, to, of byte) {
		staysHome(t, link)
		good := home[int(of)%len(home)]
		i, j := int(from)%(len(good)+1), int(to)%(len(good)+1)
		staysHome(t, good[:min(i, j)]+junk+good[max(i, j):])
	})
}

// staysHome checks one link.
func staysHome(t *testing.T, link string) {
	t.Helper()
	got, err := CheckLink(collection+"?$top=5", link)
	if err != nil {
		if got != "" || err.Error() != ErrOrigin.Error() {
			t.Fatalf("%q: refused with %q, %v", link, got, err)
		}
		return
	}
	req, err := http.NewRequest(http.MethodGet, got, nil)
	if err != nil {
		t.Fatalf("%q: cannot be asked for: %v", got, err)
	}
	u := req.URL
	if u.Scheme != "https" || !strings.EqualFold(u.Hostname(), "graph.microsoft.com") || u.Port() != "" && u.Port() != "443" || u.User != nil || u.Opaque != "" {
		t.Fatalf("%q leads elsewhere", got)
	}
	if req.Host != u.Host || strings.ContainsFunc(u.RequestURI(), func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' || r == '#' }) {
		t.Fatalf("%q says something else on the wire", got)
	}
	if strings.Contains(u.EscapedPath()+"/", "/./") {
		t.Fatalf("%q is spelled in a way that a server may resolve", got)
	}
	if below, err := url.JoinPath(got); err != nil || !inCollection(mustPath(t, below)) || !inCollection(u.EscapedPath()) {
		t.Fatalf("%q is another path", got)
	}
	for _, l := range []string{got, link} { // as it is asked for, and as it came
		for eyes, read := range map[string]func(string) (scheme, host, path string){"RFC 3986": rfc, "WHATWG": whatwg} {
			scheme, host, path := read(l)
			if host = strings.TrimSuffix(host, ":443"); scheme != "https" || host != "graph.microsoft.com" || !inCollection(path) {
				t.Fatalf("%q, from %q, is read as %s at %q, path %q by %s", l, link, scheme, host, path, eyes)
			}
		}
	}
	if again, err := CheckLink(collection, got); err != nil || again != got {
		t.Fatalf("%q is accepted as %q, and that as %q, %v", link, got, again, err)
	}
}

func mustPath(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return u.EscapedPath()
}

// inCollection reports whether a path is the collection's or below it.
func inCollection(path string) bool {
	path = strings.ToLower(path)
	return path == "/v1.0/security/alerts_v2" || strings.HasPrefix(path, "/v1.0/security/alerts_v2/")
}

// rfc reads a link by the generic syntax of RFC 3986 §3: the authority, user
// and all, is what stands between // and the next / ? or #.
func rfc(link string) (scheme, authority, path string) {
	scheme, rest, ok := strings.Cut(link, "://")
	if !ok {
		return "", "", ""
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest = rest[:end], rest[end:]
	if end = strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	return strings.ToLower(scheme), strings.ToLower(authority), resolve(rest)
}

// whatwg reads a link as browsers do, and servers that undo escapes first:
// tabs and line ends are not there, a backslash is a slash, any number of
// slashes leads to the host, what stands before the last @ is a user, dots of
// other scripts are dots.
func whatwg(link string) (scheme, host, path string) {
	link = strings.TrimFunc(link, func(r rune) bool { return r <= ' ' })
	link = strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/", "\u3002", ".", "\uff0e", ".", "\uff61", ".", "\u00ad", "").Replace(link)
	scheme, rest, ok := strings.Cut(link, ":")
	if !ok {
		return "", "", ""
	}
	rest = strings.TrimLeft(rest, "/")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, rest = rest[:end], rest[end:]
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = host[at+1:]
	}
	if end = strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	for range 3 { // undone more than once
		host, rest = unescaped(host), unescaped(rest)
	}
	rest = strings.ReplaceAll(rest, "\\", "/")
	parts := strings.Split(rest, "/")
	for i := range parts {
		parts[i], _, _ = strings.Cut(parts[i], ";") // parameters of a segment
	}
	return strings.ToLower(scheme), strings.ToLower(host), resolve(strings.Join(parts, "/"))
}

// unescaped undoes every escape that is one.
func unescaped(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			const hex = "0123456789abcdef"
			hi, lo := strings.IndexByte(hex, s[i+1]|0x20), strings.IndexByte(hex, s[i+2]|0x20)
			if hi >= 0 && lo >= 0 {
				out.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// resolve walks a path: a dot stays, two dots go up, nothing between two
// slashes is nothing.
func resolve(path string) string {
	var at []string
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "", ".":
		case "..":
			at = at[:max(0, len(at)-1)]
		default:
			at = append(at, part)
		}
	}
	return "/" + strings.Join(at, "/")
}
