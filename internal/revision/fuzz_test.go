package revision

import (
	"bytes"
	"encoding/json"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"drover"
)

// FuzzSame holds Same against canonical forms that are written with
// encoding/json and the words of docs/sources.md: for two bodies as they come,
// for the first one spelled and ordered in another way, and for that with one
// place changed. Same must be reflexive and symmetric, and Diff must agree.
func FuzzSame(f *testing.F) {
	for _, b := range samples(f) {
		if len(b) < 2000 { // a large one costs as much as a thousand small ones
			f.Add(b, []byte(`{}`), uint64(1))
		}
	}
	for i, s := range []string{
		`{"a":[1,1.0,{"a":"\ud800"}]}`, `{"a":1,"a":2}`, `{"args":[1,2]}`, "\xff", `{"command":["a",["b","a"]],"x":{"args":[2,1]}}`, `[[1,2],[3]]`,
		`{"@odata.etag":1,"b":{"@odata.etag":1},"c":{"resourceAccessEvents":[1]}}`, `[{"@odata.context":1}]`,
		`{"deviceDnsName":null,"version":1}`, `{"healthStatus":"a","mdeDeviceId":1,"x":2}`, `{"@odata.type":"x.deviceEvidence","loggedOnUsers":[1]}`, `{"@odata.type":1,"deviceDnsName":"a","version":2}`,
		`[0,-0,0.0,0e9,1e2147483648,10e2147483647,1E+400,100e-2]`, `["\ud83d\ude00","😀","\u0000","\ufffd","\/"]`, "[1]\n", "\xef\xbb\xbf[]", `{"a\u0000":null}`, `{"":{"":[]}}`,
		strings.Repeat("[", 257) + strings.Repeat("]", 257), strings.Repeat("[", 256) + "1" + strings.Repeat("]", 256),
	} {
		f.Add([]byte(s), []byte(s+" "), uint64(i))
	}
	f.Fuzz(fuzzSame)
}

// fuzzSame checks one input; seed draws the source, mostly that of alerts, and
// the other spelling.
func fuzzSame(t *testing.T, a, b []byte, seed uint64) {
	sources := [...]drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts, drover.SIEMDetections, "another"}
	src := sources[0]
	if seed%4 == 3 {
		src = sources[seed/4%uint64(len(sources))]
	}
	meant(t, src, a, b)
	v, ok := readable(a)
	if !ok {
		return
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	s := respell(rng, v, "")
	if !Same(src, a, []byte(s)) {
		t.Fatalf("%s: %q spelled another way is not the same: %q", src, a, s)
	}
	meant(t, src, []byte(s), []byte(respell(rng, change(rng, v), "")))
}

// meant checks what is said of two bodies.
func meant(t *testing.T, src drover.SourceID, a, b []byte) {
	t.Helper()
	if !Same(src, a, slices.Clone(a)) {
		t.Fatalf("%q is not the same as itself", a)
	}
	same := Same(src, a, b)
	if Same(src, b, a) != same {
		t.Fatalf("%q and %q are the same one way only", a, b)
	}
	want := bytes.Equal(a, b)
	if !want {
		x, ok := readable(a)
		y, okToo := readable(b)
		want = ok && okToo && canonical(src, x, nil) == canonical(src, y, nil)
	}
	if same != want {
		t.Fatalf("%s: %q and %q are the same: %v, want %v", src, a, b, same, want)
	}
	paths, touch := Diff(src, a, b)
	if same != (len(paths) == 0) || same && touch {
		t.Fatalf("%q and %q are the same: %v, and differ in %q, a touch %v", a, b, same, paths, touch)
	}
	if len(paths) > maxPaths || slices.ContainsFunc(paths, func(p string) bool {
		return len(p) > maxPath || strings.ContainsFunc(p, func(r rune) bool { return r < '!' || r > '~' })
	}) {
		t.Fatalf("paths beyond their bounds: %q", paths)
	}
}

var (
	escapes = regexp.MustCompile(`(?s)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F]|\\.`)
	pair    = len(`\ud83d\ude00`)
)

// readable decodes a body if drover compares it member by member: one JSON
// value of UTF-8, without half a surrogate pair, without a name that stands
// twice in an object, nested 256 levels at most.
func readable(body []byte) (any, bool) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, false
	}
	for _, e := range escapes.FindAll(body, -1) {
		if e[1] == 'u' && len(e) > 2 && len(e) < pair {
			return nil, false
		}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	return walk(d, 0)
}

// walk decodes the next value token by token, since encoding/json takes a name
// twice.
func walk(d *json.Decoder, depth int) (any, bool) {
	token, err := d.Token()
	if err != nil || depth > 256 {
		return nil, false
	}
	switch token {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			e, ok := walk(d, depth+1)
			if !ok {
				return nil, false
			}
			list = append(list, e)
		}
		_, err = d.Token()
		return list, err == nil
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, false
			}
			e, ok := walk(d, depth+1)
			if _, twice := object[name.(string)]; twice || !ok {
				return nil, false
			}
			object[name.(string)] = e
		}
		_, err = d.Token()
		return object, err == nil
	}
	return token, true
}

// leftOut are the members that docs/sources.md lists, and live those of a
// device.
var leftOut, live = map[drover.SourceID]string{
	drover.GraphAlerts:    " @odata.etag @odata.context ",
	drover.GraphIncidents: " @odata.etag @odata.context ",
	drover.MDEAlerts:      " rbacGroupName @odata.etag @odata.context ",
	drover.SIEMDetections: " LogOnUsers InternalIPv4List InternalIPv6List MachineGroup DeviceCreatedMachineTags CloudCreatedMachineTags ",
}, " healthStatus riskScore defenderAvStatus onboardingStatus lastIpAddress lastExternalIpAddress ipInterfaces loggedOnUsers osBuild version rbacGroupId rbacGroupName firstSeenDateTime "

// canonical writes a value so that two that mean the same are one text. steps
// are the names and brackets on the way to it.
func canonical(src drover.SourceID, v any, steps []string) string {
	graph := src == drover.GraphAlerts
	in := func(list, name string) bool {
		return name != "" && !strings.Contains(name, " ") && strings.Contains(list, " "+name+" ")
	}
	switch v := v.(type) {
	case map[string]any:
		var parts []string
		for name, e := range v {
			if len(steps) == 0 && in(leftOut[src], name) || graph && (name == "resourceAccessEvents" || in(live, name) && describesDevice(v)) {
				continue
			}
			parts = append(parts, strconv.Quote(name)+":"+canonical(src, e, append(steps[:len(steps):len(steps)], name)))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, canonical(src, e, append(steps[:len(steps):len(steps)], "[]")))
		}
		if n := len(steps); !graph || n == 0 || steps[n-1] != "args" && steps[n-1] != "command" {
			slices.Sort(parts)
		}
		return "[" + strings.Join(parts, ",") + "]"
	case json.Number:
		return numeral(string(v))
	case string:
		return strconv.Quote(v)
	case bool:
		return strconv.FormatBool(v)
	}
	return "null"
}

// describesDevice reports whether an object is a device, by its type, else by its members.
func describesDevice(o map[string]any) bool {
	if kind, typed := o["@odata.type"]; typed {
		text, _ := kind.(string)
		return strings.HasSuffix(text, ".deviceEvidence")
	}
	_, dns := o["deviceDnsName"]
	_, health := o["healthStatus"]
	_, id := o["mdeDeviceId"]
	return dns || health && id
}

// numeral writes a number as an integer that does not end in a zero, times a
// power of ten; one whose exponent needs more than 32 bits as it came.
func numeral(s string) string {
	at := strings.IndexAny(s, "eE")
	exp := new(big.Int)
	digits := s
	if at >= 0 {
		digits = s[:at]
		if exp.SetString(s[at+1:], 10); exp.BitLen() > 31 && exp.Cmp(big.NewInt(-1<<31)) != 0 {
			return s
		}
	}
	if dot := strings.IndexByte(digits, '.'); dot >= 0 {
		exp.Sub(exp, big.NewInt(int64(len(digits)-dot-1)))
		digits = digits[:dot] + digits[dot+1:]
	}
	n, _ := new(big.Int).SetString(digits, 10)
	if n.Sign() == 0 {
		return "0"
	}
	for ten, rest := big.NewInt(10), new(big.Int); ; exp.Add(exp, big.NewInt(1)) {
		q, _ := new(big.Int).QuoRem(n, ten, rest)
		if rest.Sign() != 0 {
			return n.String() + "e" + exp.String()
		}
		n = q
	}
}

// respell writes a value with its members and sets in another order, its texts
// escaped and its numbers written in another way.
func respell(rng *rand.Rand, v any, in string) string {
	blank := func() string { return []string{"", "", " ", "\n", "\t\r "}[rng.IntN(5)] }
	quote := func(s string) string {
		var out strings.Builder
		out.WriteByte('"')
		for _, r := range s {
			switch {
			case r > 0xffff && rng.IntN(2) == 0:
				r -= 0x10000
				out.WriteString(`\u` + strconv.FormatInt(int64(0xd800+r>>10), 16) + `\u` + strings.ToUpper(strconv.FormatInt(int64(0xdc00+r&0x3ff), 16)))
			case r == '"' || r == '\\' || r < ' ' || r < 0x10000 && rng.IntN(6) == 0:
				out.WriteString(`\u` + strconv.FormatInt(int64(0x10000+r), 16)[1:])
			default:
				out.WriteRune(r)
			}
		}
		return out.String() + `"`
	}
	var parts []string
	list := func(open, closing string) string {
		return blank() + open + strings.Join(parts, blank()+","+blank()) + closing + blank()
	}
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for n := range v {
			names = append(names, n)
		}
		slices.Sort(names) // one seed, one text
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		for _, n := range names {
			parts = append(parts, quote(n)+blank()+":"+blank()+respell(rng, v[n], n))
		}
		return list("{", "}")
	case []any:
		for _, e := range v {
			parts = append(parts, respell(rng, e, ""))
		}
		if in != "args" && in != "command" {
			rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		}
		return list("[", "]")
	case json.Number:
		return renumber(rng, string(v))
	case string:
		return quote(v)
	case bool:
		return strconv.FormatBool(v)
	}
	return "null"
}

// renumber writes a number in another way.
func renumber(rng *rand.Rand, s string) string {
	at := strings.IndexAny(s, "eE")
	if at < 0 {
		s, at = s+"e0", len(s)
	}
	exp, err := strconv.ParseInt(s[at+1:], 10, 32)
	if err != nil || exp > 1<<30 || exp < -1<<30 {
		return s // another way might not fit 32 bits
	}
	digits := s[:at]
	for range rng.IntN(4) {
		switch dot := strings.IndexByte(digits, '.'); {
		case dot < 0 && rng.IntN(2) == 0 && strings.Trim(digits, "-0") != "":
			digits, exp = digits+"0", exp-1
		case dot < 0:
			digits += ".0"
		default:
			digits += "0"
		}
	}
	if exp == 0 && rng.IntN(2) == 0 {
		return digits
	}
	plus := ""
	if exp >= 0 && rng.IntN(2) == 0 {
		plus = "+"
	}
	return digits + []string{"e", "E"}[rng.IntN(2)] + plus + strconv.FormatInt(exp, 10)
}

// change returns a copy of a value that is another one in one place, though
// what it means may stay.
func change(rng *rand.Rand, v any) any {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for n := range v {
			names = append(names, n)
		}
		slices.Sort(names)
		out := make(map[string]any, len(v))
		for _, n := range names {
			out[n] = v[n]
		}
		if len(names) == 0 || rng.IntN(8) == 0 {
			out[[]string{"new", "version", "@odata.etag", "@odata.type", "deviceDnsName", "resourceAccessEvents", "args", "rbacGroupName"}[rng.IntN(8)]] = "x"
			return out
		}
		if n := names[rng.IntN(len(names))]; rng.IntN(8) == 0 {
			delete(out, n)
		} else {
			out[n] = change(rng, v[n])
		}
		return out
	case []any:
		out := slices.Clone(v)
		switch i := rng.IntN(len(v) + 2); {
		case len(v) == 0 || i == len(v):
			return append(out, "x")
		case i > len(v):
			slices.Reverse(out) // a set stays the same
			return out
		case rng.IntN(8) == 0:
			return append(out, out[i]) // once more
		case rng.IntN(8) == 0:
			return slices.Delete(out, i, i+1)
		default:
			out[i] = change(rng, out[i])
			return out
		}
	case json.Number:
		return json.Number([]string{"0", "1", "-1", "1.5", "9007199254740993", "9007199254740992", "1e400", "1e99999999999", string(v)}[rng.IntN(9)])
	case string:
		return []any{"", "x", v + "x", strings.ToUpper(v), v, nil, []any{v}, json.Number("1"), "#microsoft.graph.security.deviceEvidence"}[rng.IntN(9)]
	}
	return []any{nil, true, false, "null", map[string]any{}, []any{}}[rng.IntN(6)]
}
