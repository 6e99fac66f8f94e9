package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"drover"
)

var update = flag.Bool("update", false, "write the golden files anew")

// revision is a row with everything else filled in.
func revision(raw string) *drover.Revision {
	changed, _ := drover.ParseInstant("2026-03-02T08:03:41.5033333Z")
	return &drover.Revision{
		Feed:    drover.Feed{Tenant: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Source: drover.GraphAlerts},
		Seq:     17,
		AlertID: "da637551227677560813_-961444813",
		Changed: changed,
		Sum:     sha256.Sum256([]byte(raw)),
		Raw:     []byte(raw),
	}
}

var tenant = drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso-emea", Customer: "contoso"}

func encode(t testing.TB, name string, r *drover.Revision, c Context) []byte {
	t.Helper()
	e, err := New(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Encode([]byte("before|"), r, c)
	if err != nil {
		t.Fatal(err)
	}
	rest, ok := bytes.CutPrefix(b, []byte("before|"))
	if !ok {
		t.Fatalf("what stood in the buffer was changed: %q", b)
	}
	return rest
}

func TestGolden(t *testing.T) {
	odd := revision(`{"id":"a\"\\b"}`)
	odd.AlertID, odd.Ordinal = "quote\" back\\ line\n sep\u2028 del\x7f é bad\xff", 2
	flagged := revision(`{"id":"1"}`)
	flagged.Flags = drover.Late | drover.Touch | drover.Unnamed | drover.History
	timeless := revision(`{"id":"1"}`)
	timeless.Changed, timeless.Flags = drover.NoInstant, drover.NoTime
	for name, tt := range map[string]struct {
		r *drover.Revision
		c Context
	}{
		"a row as it comes":                {revision(`{"id":"1", "title":"Tür auf"}`), Context{}},
		"line ends between members":        {revision("{\r\n  \"id\": \"1\"\n}"), Context{}},
		"bytes that are no UTF-8":          {revision("{\"id\":\"\xff\"}"), Context{}},
		"no JSON":                          {revision(`{"id":`), Context{}},
		"line separators inside a string":  {revision("{\"id\":\"a\u2028b\u2029c\"}"), Context{}},
		"an odd alert ID":                  {odd, Context{}},
		"marks":                            {flagged, Context{}},
		"a replay, second part":            {revision(`{"id":"1"}`), Context{Replay: true, Part: 1}},
		"an alert of one source":           {revision(`{"id":"1"}`), Context{OnlyHere: true}},
		"an alert of three sources":        {revision(`{"id":"1"}`), Context{AlsoToldBy: []drover.SourceID{drover.MDEAlerts, drover.SIEMDetections}}},
		"a change time that is not known":  {timeless, Context{}},
		"blanks around the row":            {revision(` {"id":"1"} `), Context{}},
		"a row that is nothing":            {revision(``), Context{}},
		"a tab inside a string":            {revision("{\"id\":\"a\tb\"}"), Context{}},
		"a tab between members":            {revision("{\t\"id\":\"1\"}"), Context{}},
		"two values":                       {revision(`{"id":"1"}{"id":"2"}`), Context{}},
		"numbers keep their digits":        {revision(`{"n":1.50e+3,"big":123456789012345678901}`), Context{}},
		"members that stand there twice":   {revision(`{"id":"1","id":"2"}`), Context{}},
		"escapes stay as they are written": {revision(`{"id":"\u00e9\/\ud800"}`), Context{}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.c.Tenant, tt.c.Incarnation = tenant, "5d2c9a40"
			for _, f := range Names {
				got := append(encode(t, f, tt.r, tt.c), '\n')
				file := filepath.Join("testdata", strings.NewReplacer(" ", "-", ",", "").Replace(name)+"."+f)
				if *update {
					if err := os.WriteFile(file, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("format %s, -want +got (write anew with -update):\n%s", f, diff)
				}
				checkLine(t, f, tt.r, got[:len(got)-1])
			}
		})
	}
}

// envelope is a record as a reader that knows nothing of this package sees it.
type envelope struct {
	Drover struct {
		EventID     string   `json:"event_id"`
		Tenant      string   `json:"tenant"`
		Customer    string   `json:"customer"`
		Source      string   `json:"source"`
		AlertID     string   `json:"alert_id"`
		Changed     string   `json:"changed"`
		Ordinal     int      `json:"ordinal"`
		Seq         uint64   `json:"seq"`
		Incarnation string   `json:"incarnation"`
		SHA256      string   `json:"sha256"`
		Late        bool     `json:"late"`
		Touch       bool     `json:"touch"`
		Unnamed     bool     `json:"unnamed"`
		History     bool     `json:"history"`
		NoTime      bool     `json:"no_time"`
		Replay      bool     `json:"replay"`
		OnlyHere    bool     `json:"only_here"`
		AlsoToldBy  []string `json:"also_told_by"`
	} `json:"drover"`
	Alert json.RawMessage `json:"alert"`
	Raw   *string         `json:"raw_base64"`
}

// checkLine holds a line to what the package promises.
func checkLine(t testing.TB, name string, r *drover.Revision, line []byte) {
	t.Helper()
	if bytes.ContainsAny(line, "\r\n") || !utf8.Valid(line) || !json.Valid(line) {
		t.Fatalf("%s: not one line of valid JSON and UTF-8: %q", name, line)
	}
	if name == "raw" {
		return
	}
	var e envelope
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		t.Fatalf("a member that the contract does not list: %v in %q", err, line)
	}
	exact := []byte(e.Alert)
	if e.Raw != nil {
		if e.Alert != nil {
			t.Fatalf("both alert and raw_base64: %q", line)
		}
		var err error
		if exact, err = base64.StdEncoding.DecodeString(*e.Raw); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(exact, r.Raw) {
		t.Fatalf("the row's bytes cannot be had back:\n got %q\nwant %q", exact, r.Raw)
	}
	if id, ok := EventID(line); !ok || id != e.Drover.EventID {
		t.Fatalf("EventID says %q, the record %q", id, e.Drover.EventID)
	}
	if want := strings.ToValidUTF8(r.AlertID, "\uFFFD"); !strings.Contains(r.AlertID, "\xff") && e.Drover.AlertID != want {
		t.Fatalf("alert ID %q, want %q", e.Drover.AlertID, want)
	}
	if e.Drover.Seq != r.Seq || e.Drover.Tenant != string(r.Feed.Tenant) || e.Drover.SHA256 != r.Sum.String() {
		t.Fatalf("the envelope differs from the revision: %+v", e.Drover)
	}
}

func TestPublishedAlertsStandInARecordByteForByte(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/testdata/*_*/*.json")
	if len(files) == 0 {
		t.Skip("the published alerts are not here")
	}
	verbatim := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range [][]byte{b, compact(b)} {
			r := revision(string(raw))
			for _, name := range Names {
				checkLine(t, name, r, encode(t, name, r, Context{Tenant: tenant}))
			}
			if Verbatim(raw) {
				verbatim++
			}
		}
	}
	if verbatim == 0 {
		t.Error("not one of them could stand as it was")
	}
	t.Logf("%d of %d bodies verbatim, all of them recoverable", verbatim, 2*len(files))
}

func compact(b []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return b
	}
	return out.Bytes()
}

func TestAnUnknownFormatIsNamedWithTheKnownOnes(t *testing.T) {
	_, err := New("xml")
	if err == nil || !strings.Contains(err.Error(), `"xml"`) || !strings.Contains(err.Error(), "json, raw") {
		t.Errorf("got %v", err)
	}
}

func TestVerbatimIsNeverMoreLenientThanTheStandardLibrary(t *testing.T) {
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	for s, want := range map[string]bool{
		`{}`: true, `[]`: true, `""`: true, `0`: true, `-0.5e-3`: true, `true`: true, `[1,{"a":[]},"b"]`: true, `{"a":{"b":{}},"c":[{}]}`: true, `{ "a" : 1 , "b" : [ 2 , 3 ] }`: true,
		`12345678"`: false, `"12345678`: false, `"1234567\"`: false, `"1234567\u00g0"`: false, `{"a":1,}`: false, `[1,]`: false, `[,1]`: false, `{,}`: false, `{"a"}`: false,
		`{a:1}`: false, `01`: false, `1.`: false, `-`: false, `+1`: false, `1e`: false, `tru`: false, `nul`: false, `{"a":1}}`: false, `[1]]`: false, `[}`: false, `{]`: false,
		"": false, " ": false, "\"a\x00\"": false, "\"a\x1f1234567\"": false, "\"a\x7f\"": true, `"\u12"`: false, `"\x"`: false, "\ufeff{}": false, "NaN": false, `{"a":1 "b":2}`: false,
		deep: true, "[" + deep + "]": false,
	} {
		if got := Verbatim([]byte(s)); got != want {
			t.Errorf("%.60q: %v, want %v", s, got, want)
		}
	}
}

func FuzzARecordIsOneLineOfValidJSON(f *testing.F) {
	f.Add([]byte(`{"id":"1","a":[1,2,{"b":null}]}`), "id", "contoso")
	f.Add([]byte("{\"id\":\n1}"), "i\"d", "c\\")
	f.Add([]byte("\"\xf0\x9f\x98\""), "\xff\u2028", "\x00")
	f.Add([]byte(`[[[[1e+5]]],"\ud83d\ude00"]`), "", "")
	f.Fuzz(func(t *testing.T, raw []byte, id, customer string) {
		r := revision(string(raw))
		r.AlertID = id
		c := Context{Tenant: drover.Tenant{Customer: drover.CustomerID(customer)}, Incarnation: customer}
		for _, name := range Names {
			line := encode(t, name, r, c)
			if bytes.ContainsAny(line, "\r\n") || !utf8.Valid(line) || !json.Valid(line) {
				t.Fatalf("%s: not one line of valid JSON: %q", name, line)
			}
			if name == "json" {
				var e envelope
				if err := json.Unmarshal(line, &e); err != nil {
					t.Fatal(err)
				}
				exact := []byte(e.Alert)
				if e.Raw != nil {
					exact, _ = base64.StdEncoding.DecodeString(*e.Raw)
				}
				if !bytes.Equal(exact, raw) {
					t.Fatalf("got %q back, want %q", exact, raw)
				}
				if utf8.ValidString(id) && e.Drover.AlertID != id {
					t.Fatalf("alert ID %q, want %q", e.Drover.AlertID, id)
				}
			}
		}
		if Verbatim(raw) && !json.Valid(raw) {
			t.Fatalf("taken as valid JSON: %q", raw)
		}
		if depth := bytes.Count(raw, []byte("[")) + bytes.Count(raw, []byte("{")); depth <= maxDepth && json.Valid(raw) && utf8.Valid(raw) &&
			!bytes.ContainsAny(raw, "\r\n") && len(bytes.TrimSpace(raw)) == len(raw) && !Verbatim(raw) {
			t.Fatalf("valid, and not taken as it is: %q", raw)
		}
	})
}

func row6k() []byte {
	return []byte(`{"id":"da637551227677560813_-961444813","title":"Suspicious sign-in",` + strings.Repeat(`"evidence":[{"@odata.type":"#microsoft.graph.security.userEvidence","userAccount":{"accountName":"alice","domainName":"contoso"},"n":12,"x":null}],`, 40) + `"tenantId":"3c9f6b1e"}`)
}

func TestEncodingARowCostsNoMemoryOfItsSize(t *testing.T) {
	r := revision(string(row6k()))
	if !Verbatim(r.Raw) {
		t.Fatal("the row is not valid")
	}
	buf, c := make([]byte, 0, 16<<10), Context{Tenant: tenant, Incarnation: "5d2c9a40"}
	// The event ID is a string and costs up to two small allocations.
	if n := testing.AllocsPerRun(100, func() { buf, _ = JSON{}.Encode(buf[:0], r, c) }); n > 2 {
		t.Errorf("%v allocations for a row", n)
	}
}

func BenchmarkJSON(b *testing.B) {
	r := revision(string(row6k()))
	buf, c := make([]byte, 0, 16<<10), Context{Tenant: tenant, Incarnation: "5d2c9a40"}
	b.SetBytes(int64(len(r.Raw)))
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = JSON{}.Encode(buf[:0], r, c)
	}
}
