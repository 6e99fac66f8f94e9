package httpx

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

const collection = "https://graph.microsoft.com/v1.0/security/alerts_v2"

// foreign are links that must never be asked for with a token.
var foreign = []string{
	"",
	" ",
	"/",
	"?",
	"#",
	"/v1.0/security/alerts_v2?$skip=2", // relative
	"alerts_v2?$skip=2",                // relative
	"?$skip=2",                         // relative
	"//graph.microsoft.com/v1.0/security/alerts_v2",                                     // no scheme
	"//evil.example/v1.0/security/alerts_v2",                                            // no scheme
	"///graph.microsoft.com/v1.0/security/alerts_v2",                                    // no host
	"https:graph.microsoft.com/v1.0/security/alerts_v2",                                 // opaque
	"https:/graph.microsoft.com/v1.0/security/alerts_v2",                                // no host
	"https:///graph.microsoft.com/v1.0/security/alerts_v2",                              // no host
	"http://graph.microsoft.com/v1.0/security/alerts_v2",                                // plaintext
	"http://graph.microsoft.com:443/v1.0/security/alerts_v2",                            // plaintext
	"ws://graph.microsoft.com/v1.0/security/alerts_v2",                                  // another scheme
	"wss://graph.microsoft.com/v1.0/security/alerts_v2",                                 // another scheme
	"ftp://graph.microsoft.com/v1.0/security/alerts_v2",                                 // another scheme
	"file:///v1.0/security/alerts_v2",                                                   // another scheme
	"javascript:https://graph.microsoft.com/v1.0/security/alerts_v2",                    // another scheme
	"https://evil.example/v1.0/security/alerts_v2",                                      // another host
	"https://evil.example/https://graph.microsoft.com/v1.0/security/alerts_v2",          // another host
	"https://graph.microsoft.com.evil.example/v1.0/security/alerts_v2",                  // longer host
	"https://evil-graph.microsoft.com/v1.0/security/alerts_v2",                          // another host
	"https://agraph.microsoft.com/v1.0/security/alerts_v2",                              // another host
	"https://a.graph.microsoft.com/v1.0/security/alerts_v2",                             // below the host
	"https://microsoft.com/v1.0/security/alerts_v2",                                     // above the host
	"https://graph.microsoft.com./v1.0/security/alerts_v2",                              // trailing dot
	"https://.graph.microsoft.com/v1.0/security/alerts_v2",                              // leading dot
	"https://graph..microsoft.com/v1.0/security/alerts_v2",                              // empty label
	"https://graph.microsoft.us/v1.0/security/alerts_v2",                                // another national cloud
	"https://dod-graph.microsoft.us/v1.0/security/alerts_v2",                            // another national cloud
	"https://microsoftgraph.chinacloudapi.cn/v1.0/security/alerts_v2",                   // another national cloud
	"https://login.microsoftonline.com/v1.0/security/alerts_v2",                         // another service
	"https://graph.microsoft.com@evil.example/v1.0/security/alerts_v2",                  // user
	"https://graph.microsoft.com:443@evil.example/v1.0/security/alerts_v2",              // user and password
	"https://evil.example@graph.microsoft.com/v1.0/security/alerts_v2",                  // user
	"https://user:secret@graph.microsoft.com/v1.0/security/alerts_v2",                   // user and password
	"https://@graph.microsoft.com/v1.0/security/alerts_v2",                              // empty user
	"https://graph.microsoft.com%40evil.example/v1.0/security/alerts_v2",                // escaped @
	"https://graph.microsoft.com%2eevil.example/v1.0/security/alerts_v2",                // escaped dot
	"https://graph%2emicrosoft%2ecom/v1.0/security/alerts_v2",                           // escaped host
	"https://graph.microsoft.com%00.evil.example/v1.0/security/alerts_v2",               // escaped NUL
	"https://graph.microsoft.com%2f@evil.example/v1.0/security/alerts_v2",               // escaped slash
	"https://graph.microsoft.com#@evil.example/v1.0/security/alerts_v2",                 // fragment
	"https://graph.microsoft.com/v1.0/security/alerts_v2#x",                             // fragment
	"https://graph.microsoft.com/v1.0/security/alerts_v2#",                              // empty fragment
	"https://graph.microsoft.com?@evil.example/v1.0/security/alerts_v2",                 // query for a path
	`https://graph.microsoft.com\@evil.example/v1.0/security/alerts_v2`,                 // backslash
	`https://evil.example\@graph.microsoft.com/v1.0/security/alerts_v2`,                 // backslash
	`https:\\graph.microsoft.com\v1.0\security\alerts_v2`,                               // backslashes
	`https:/\evil.example/v1.0/security/alerts_v2`,                                      // backslash
	`https://graph.microsoft.com/v1.0/security/alerts_v2?x=\..\evil.example`,            // backslash in the query
	`\\evil.example\v1.0\security\alerts_v2`,                                            // UNC
	`https://graph.microsoft.com/v1.0/security/alerts_v2\..\..`,                         // backslash
	"https://graph.microsoft.com:8443/v1.0/security/alerts_v2",                          // another port
	"https://graph.microsoft.com:80/v1.0/security/alerts_v2",                            // another port
	"https://graph.microsoft.com:0443/v1.0/security/alerts_v2",                          // odd port
	"https://graph.microsoft.com:/v1.0/security/alerts_v2",                              // empty port
	"https://graph.microsoft.com:x/v1.0/security/alerts_v2",                             // no port
	"https://graph.microsoft.com:443:443/v1.0/security/alerts_v2",                       // two ports
	"https://graph.microsoft.com:99999999/v1.0/security/alerts_v2",                      // no port
	"https://127.0.0.1/v1.0/security/alerts_v2",                                         // address
	"https://2130706433/v1.0/security/alerts_v2",                                        // address as a number
	"https://0x7f.1/v1.0/security/alerts_v2",                                            // address in hex
	"https://[::1]/v1.0/security/alerts_v2",                                             // address
	"https://[::ffff:127.0.0.1]/v1.0/security/alerts_v2",                                // address
	"https://[graph.microsoft.com]/v1.0/security/alerts_v2",                             // brackets
	"https://169.254.169.254/v1.0/security/alerts_v2",                                   // metadata service
	"https://gr\u0430ph.microsoft.com/v1.0/security/alerts_v2",                          // Cyrillic a
	"https://graph\u3002microsoft\u3002com/v1.0/security/alerts_v2",                     // ideographic dots
	"https://graph.micro\u017foft.com/v1.0/security/alerts_v2",                          // long s
	"https://graph.microsoft\uff0ecom/v1.0/security/alerts_v2",                          // full-width dot
	"https://graph.microsoft.com\u2044v1.0/security/alerts_v2",                          // fraction slash
	"https://xn--grph-53d.microsoft.com/v1.0/security/alerts_v2",                        // punycode
	"https://gra\u00adph.microsoft.com/v1.0/security/alerts_v2",                         // soft hyphen
	"https://graph.microsoft.com/v1.0/security/alerts_v2?x=\u0430",                      // not ASCII
	"https://graph.microsoft.com/v1.0/security/alerts_v2\r\nX: y",                       // header injection
	"https://graph.microsoft.com/v1.0/security/alerts_v2?x=1\r\nHost: evil.example",     // header injection
	"https://graph.microsoft.com/v1.0/security/alerts_v2\x00",                           // NUL
	"https://graph.microsoft.com/v1.0/security/alerts_v2?x=1\t",                         // tab
	"https://gra\tph.microsoft.com/v1.0/security/alerts_v2",                             // tab
	" https://graph.microsoft.com/v1.0/security/alerts_v2",                              // leading blank
	"https://graph.microsoft.com/v1.0/security/alerts_v2 ",                              // trailing blank
	"https://graph.microsoft.com/v1.0/security/alerts_v2?x=a b",                         // blank
	"https://graph.microsoft.com/",                                                      // another path
	"https://graph.microsoft.com/v1.0/users",                                            // another path
	"https://graph.microsoft.com/beta/security/alerts_v2",                               // another version
	"https://graph.microsoft.com/v1.0/security/incidents",                               // another collection
	"https://graph.microsoft.com/v1.0/security/alerts_v22",                              // longer name
	"https://graph.microsoft.com/v1.0/security/alerts",                                  // the older one
	"https://graph.microsoft.com/v1.0/security/alerts_v2/../incidents",                  // dot segments
	"https://graph.microsoft.com/v1.0/security/alerts_v2/..",                            // dot segments
	"https://graph.microsoft.com/v1.0/security/alerts_v2/.",                             // dot segment
	"https://graph.microsoft.com/v1.0/./security/alerts_v2",                             // dot segment
	"https://graph.microsoft.com/v1.0/security/alerts_v2/%2e%2e/incidents",              // escaped dot segments
	"https://graph.microsoft.com/v1.0/security/alerts_v2/..%2fincidents",                // escaped slash
	"https://graph.microsoft.com/v1.0/security/alerts_v2%2f..%2fincidents",              // escaped slashes
	"https://graph.microsoft.com/v1.0/security/alerts_v2/%252e%252e/x",                  // escaped twice: named, not followed
	"https://graph.microsoft.com//v1.0/security/alerts_v2",                              // empty segment
	"https://graph.microsoft.com/v1.0//security/alerts_v2",                              // empty segment
	"https://graph.microsoft.com/v1.0/security/alerts_v2//evil.example",                 // empty segment
	"https://graph.microsoft.com/v1.0/security/alerts_v2;x=1",                           // path parameter
	"https://graph.microsoft.com/v1.0/security/alerts_v2/;/../x",                        // path parameter
	"https://graph.microsoft.com/v1.0/security/alerts%5fv2",                             // escaped letter
	"https://graph.microsoft.com/%76%31.0/security/alerts_v2",                           // escaped letters
	"https://graph.microsoft.com/v1.0/security/alerts_v2?" + strings.Repeat("x", 40000), // too long
	"%68ttps://graph.microsoft.com/v1.0/security/alerts_v2",                             // escaped scheme
	"https://graph.microsoft.com/v1.0/security/alerts_v2%",                              // broken escape
	"https://%/v1.0/security/alerts_v2",                                                 // broken escape
}

// home are links that a correct API may give.
var home = []string{
	collection,
	collection + "?",
	collection + "?$skiptoken=abc%2Fdef%3D%3D",
	collection + "?%24filter=lastUpdateDateTime%20ge%202026-03-02T08%3A15%3A04Z&$top=100&$skip=200",
	collection + "?next=https://evil.example/",
	collection + "?a=b?c=d&e=@evil.example",
	collection + "/",
	"https://graph.microsoft.com:443/v1.0/security/alerts_v2?$skip=2",
	"https://GRAPH.microsoft.com/v1.0/security/alerts_V2?$skip=2",
	"HTTPS://graph.microsoft.com/V1.0/Security/Alerts_v2?$skip=2",
}

func TestALinkIsFollowedOnlyToWhereItCameFrom(t *testing.T) {
	if len(foreign) < 60 {
		t.Fatalf("%d spellings", len(foreign))
	}
	for _, link := range foreign {
		got, err := CheckLink(collection+"?$top=5", link)
		if !errors.Is(err, ErrOrigin) || got != "" {
			t.Errorf("%.100q: got %q, %v", link, got, err)
		}
		if err != nil && err.Error() != ErrOrigin.Error() {
			t.Errorf("%.100q: the error says more than it should: %v", link, err)
		}
	}
	for _, link := range home {
		got, err := CheckLink(collection+"?$top=5", link)
		if err != nil {
			t.Errorf("%q: got %v", link, err)
		}
		if u, err := url.Parse(got); err != nil || !strings.EqualFold(u.Hostname(), "graph.microsoft.com") {
			t.Errorf("%q: leads to %q", link, got)
		}
	}
}

func TestALinkIsCheckedAgainstAnOddBase(t *testing.T) {
	for _, base := range []string{"", "/", "https://", "graph.microsoft.com", "https://u:p@graph.microsoft.com/v1.0", "mailto:a@b", "%"} {
		if _, err := CheckLink(base, collection); !errors.Is(err, ErrOrigin) {
			t.Errorf("%q: got %v", base, err)
		}
	}
	if _, err := CheckLink("https://127.0.0.1:8443/api/alerts", "https://127.0.0.1:8443/api/alerts?$skip=1"); err != nil {
		t.Error(err)
	}
	if _, err := CheckLink("https://127.0.0.1:8443/api/alerts", "https://127.0.0.1:8444/api/alerts?$skip=1"); !errors.Is(err, ErrOrigin) {
		t.Errorf("another port: got %v", err)
	}
}
