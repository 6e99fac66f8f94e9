package fault

import (
	"fmt"
	"slices"
	"strings"
)

// Kinds of faults; kinds says what each one does.
const (
	Status       = "status"
	Cut          = "cut"
	Truncated    = "truncated"
	Chunked      = "chunked"
	Reset        = "reset"
	Hang         = "hang"
	Drip         = "drip"
	GoAway       = "goaway"
	TLS          = "tls"
	Trailing     = "trailing"
	TwoValues    = "two_values"
	BOM          = "bom"
	HTML200      = "html200"
	NoValue      = "no_value"
	NullBody     = "null"
	EmptyBody    = "empty"
	NotArray     = "not_array"
	ErrorObject  = "error_object"
	ContentType  = "content_type"
	Encoding     = "encoding"
	GzipBomb     = "gzip_bomb"
	BigHeader    = "big_header"
	BigPage      = "big_page"
	BadRow       = "bad_row"
	Redirect     = "redirect"
	ForeignLink  = "foreign_link"
	LoopLink     = "loop_link"
	EndlessLinks = "endless_links"
	EmptyPage    = "empty_page"
	Overlap      = "overlap"
	NoLink       = "no_link"
	LinkRefused  = "link_refused"
	Clamp        = "clamp"
	TopIgnored   = "top_ignored"
	TopRefused   = "top_refused"
	Unordered    = "unordered"
	PoisonAt     = "poison"
	Provider     = "provider"
	NoRows       = "no_rows"
	Forgets      = "forgets"
	Rewind       = "rewind"
	SlowSkew     = "date_skew"
	NewestOnly   = "newest_only"

	TokenWrongTID = "token_wrong_tid"
	TokenNoRoles  = "token_no_roles"
	TokenOpaque   = "token_opaque"
	AADSTS        = "aadsts"
)

// Kind describes a kind of fault: for the desk, and for docs/lab.md, whose
// table a test holds to this one.
type Kind struct {
	Name string `json:"name"`
	// APIs at which it can be dealt: graph (its alerts), graph.incidents, mde,
	// siem, token, conn.
	APIs  []string `json:"apis"`
	Param string   `json:"param,omitempty"`
	Value string   `json:"value,omitempty"`
	What  string   `json:"what"`
	Rows  string   `json:"rows"` // of the project's table of faults
}

var (
	// data are the APIs that show rows; lists those of them whose answers are
	// pages.
	data  = []string{"graph", "graph.incidents", "mde", "siem"}
	lists = []string{"graph", "graph.incidents", "mde"}
	graph = []string{"graph"}
	token = []string{"token"}
	web   = append(slices.Clone(data), "token")
	all   = append(slices.Clone(web), "conn")
)

var kinds = []Kind{
	{Status, web, "HTTP status", "message", "an answer with that status; `body` and `retry_after` say more", "P01 P19 P24–P26 P31–P33 T09"},
	{Reset, all, "1: inside the header", "at conn: `tls` = behind the client's first bytes", "the connection ends before the answer; at `conn` it is reset when accepted", "P01 P28"},
	{Hang, all, "0: before the header, 1: behind it, 2: inside the body", "", "nothing more comes until the client gives up", "P27 P28"},
	{Drip, data, "milliseconds between two bytes", "`header` (HTTP/1.1), else the body", "the answer comes a byte at a time", "P27"},
	{Cut, data, "per mille of the body that is sent", "`bytes`: param counts bytes", "the body ends short of its Content-Length, and the connection with it", "P01 P20 P28"},
	{Truncated, data, "per mille of the body that is sent", "`bytes`: param counts bytes", "a whole answer whose JSON is cut off", "P20"},
	{Chunked, data, "", "", "chunked, all of the body, and no end", "P20"},
	{GoAway, data, "", "", "the server closes the connection behind the answer (HTTP/2: GOAWAY)", "P28"},
	{TLS, []string{"conn"}, "", "`expired`, `name`, `issuer` or `old` (TLS 1.1)", "the handshake shows a certificate that does not hold", "P30"},
	{Trailing, data, "", "", "junk behind the body", "P20"},
	{TwoValues, data, "", "", "a second JSON value behind the first", "P20"},
	{BOM, data, "", "", "a byte order mark before the body", "P21"},
	{HTML200, web, "", "", "200 with a sign-in page", "P24"},
	{NoValue, web, "", "", "200 with an object that has no `value`", "P19"},
	{NullBody, web, "", "", "200 with null", "P19"},
	{EmptyBody, web, "", "", "200 with nothing", "P19"},
	{NotArray, data, "", "", "200, and `value` is an object", "P19"},
	{ErrorObject, data, "", "", "200 with an error object", "P19"},
	{ContentType, data, "", "the type", "the right body under another Content-Type", "P24"},
	{Encoding, data, "", "`br` (default), `nested`, `junk` (behind the gzip), `plain` (says gzip, is not)", "a Content-Encoding that does not fit", "P23"},
	{GzipBomb, data, "", "", "512 MB of zeros as gzip, 1:1,000", "P23"},
	{BigHeader, data, "bytes; 1 MiB by default", "", "a header field of that size", "P22"},
	{BigPage, data, "MiB; 64 by default", "`rows`: the rows again and again, else blanks", "a body of that size, still whole JSON", "P22"},
	{BadRow, data, "which row of the answer from 0; -1: every one", "see below", "a row that is not as it should be", "P15 P21 P22 P36"},
	{Redirect, web, "301…308; 302 by default", "where to", "a redirect", "P04 P24"},
	{ForeignLink, lists, "", "the link", "nextLink is this text", "P03"},
	{LoopLink, lists, "1: to and fro between two pages", "", "nextLink leads to the same page", "P05"},
	{EndlessLinks, lists, "", "", "every page has a nextLink that was not seen before", "P05"},
	{EmptyPage, lists, "1: for ever", "", "no rows, and a nextLink to those that belong here", "P05"},
	{Overlap, lists, "rows; 0: the whole page", "", "the next page begins so many rows too early, once", "P06"},
	{NoLink, lists, "offset from which it holds", "", "no nextLink though there is more", "P16"},
	{LinkRefused, lists, "", "", "400 for a request with $skip or $skiptoken", "P31"},
	{Clamp, lists, "rows", "", "no page is longer, whatever $top says", "P16"},
	{TopIgnored, lists, "rows; 0: as many as without $top", "", "every page has so many, whatever $top says", "P16"},
	{TopRefused, lists, "rows", "", "a larger $top is refused with 400 and an empty code", "P16"},
	{Unordered, lists, "", "", "$orderby is ignored, the page is shuffled", "P08"},
	{PoisonAt, lists, "", "ID of the row", "500 for every answer that would hold it", "P26"},
	{Provider, graph, "the provider's status; 504 by default", "serviceSource", "its rows are left out: 206 and a Warning; `body` 200: status 200", "P18"},
	{NoRows, data, "", "", "200 and nothing in it", "P39"},
	{Forgets, data, "hours", "", "rows whose change time is older are gone", "P34"},
	{Rewind, data, "seconds", "", "the source shows what it showed so long ago", "P37"},
	{SlowSkew, data, "seconds", "", "the Date header is ahead by that; negative: behind", "P13"},
	{NewestOnly, []string{"siem"}, "rows", "", "at most the newest ones of a range", "P17"},
	{TokenWrongTID, token, "", "tenant", "the token is one of another tenant", "T05"},
	{TokenNoRoles, token, "", "", "the token has no roles", "T05"},
	{TokenOpaque, token, "", "", "the token is no JWT", "T05"},
	{AADSTS, token, "the number", "the error word, if it should disagree", "a refusal with that number", "T02"},
}

// BadRows are the values of the kind bad_row and what each does to a row.
var BadRows = [][2]string{
	{"no_id", "its identity is missing"},
	{"null_id", "its identity is null"},
	{"number_id", "its identity is a number"},
	{"dup_id", "its identity is there twice, with two values"},
	{"foreign", "it names another tenant"},
	{"no_tenant", "it names no tenant"},
	{"null_tenant", "its tenant is null"},
	{"text_tenant", "its tenant is no GUID"},
	{"no_time", "its change time is missing"},
	{"null_time", "its change time is null"},
	{"junk_time", "its change time is a word"},
	{"second_60", "its change time has a second 60"},
	{"year_1", "its change time is 0001-01-01T00:00:00Z"},
	{"year_9999", "its change time is 9999-12-31T23:59:59.9999999Z"},
	{"offset_time", "its change time is written with an offset of two hours"},
	{"no_zone", "its change time has no zone"},
	{"nine_digits", "its change time has nine digits"},
	{"bad_utf8", "a text holds a byte that is no UTF-8"},
	{"raw_nul", "a text holds a NUL as it is, which makes the row no JSON"},
	{"escaped_nul", `a text holds \u0000`},
	{"surrogate", "a text holds half a surrogate pair"},
	{"deep", "a member is 100,000 arrays deep"},
	{"huge_number", "a number is 1e999"},
	{"big_integer", "integers beyond 2^53 and 2^64"},
	{"large", "it has 30 MB; `large 1000000`: so many bytes"},
}

// Kinds lists what can be dealt.
func Kinds() []Kind { return slices.Clone(kinds) }

// Check says what is wrong with a rule.
func (r *Rule) Check() error {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == r.Kind })
	if i < 0 {
		names := make([]string, len(kinds))
		for i, k := range kinds {
			names[i] = k.Name
		}
		return fmt.Errorf("unknown kind %q; there are: %s", r.Kind, strings.Join(names, ", "))
	}
	k := kinds[i]
	where := []string{r.API}
	if r.API == "" {
		where = data
	}
	if !slices.ContainsFunc(where, func(a string) bool { return slices.Contains(k.APIs, a) }) {
		return fmt.Errorf("%s can be dealt at %s; say so in \"api\"", k.Name, strings.Join(k.APIs, ", "))
	}
	if k.Name == BadRow {
		value, _, _ := strings.Cut(r.Value, " ")
		if !slices.ContainsFunc(BadRows, func(b [2]string) bool { return b[0] == value }) {
			return fmt.Errorf("bad_row: unknown value %q", r.Value)
		}
	}
	if r.Share < 0 || r.Share > 1 {
		return fmt.Errorf("share is a number from 0 to 1")
	}
	if r.Kind == Status && (r.Param < 200 || r.Param > 599) {
		return fmt.Errorf("status wants an HTTP status in \"param\"")
	}
	return nil
}
