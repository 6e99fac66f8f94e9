package format

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"unicode/utf8"

	"drover"
	"drover/internal/proof"
)

// spikes are what an alert may hold to look like two records, or like another.
var spikes = []string{"\r", "\n", "\r\n", "\u2028", "\u2029", "\u0085", "\x00", "\x1b]0;t\x07", "\t", "|", "=", "\\", "\"", "]", "}", "{", `"},"alert":{`, `{"drover":{"event_id":"`, "\xff\xfe", "\xed\xa0\x80", "\U0001F600", "é", "a", "\u202e", "</script>", "%0a"}

func spiky(rng *rand.Rand) string {
	var b []byte
	for range rng.IntN(8) {
		b = append(b, spikes[rng.IntN(len(spikes))]...)
	}
	return string(b)
}

//citest:plain one alert after the other
func TestOneAlertIsOneRecordWhateverItHolds(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	records, split, altered, spoofed := 0, 0, 0, 0
	for range 40_000 {
		title := spiky(rng)
		raw, err := json.Marshal(map[string]any{"id": "a" + spiky(rng), "title": title, spiky(rng): []any{spiky(rng), nil, 1e300}})
		if err != nil {
			t.Fatal(err)
		}
		switch rng.IntN(4) { // as an API may serve it, which escapes less
		case 0:
			var out bytes.Buffer
			if json.Indent(&out, raw, "", "\t") == nil {
				raw = bytes.ReplaceAll(out.Bytes(), []byte("\n"), []byte([]string{"\n", "\r", "\r\n"}[rng.IntN(3)]))
			}
		case 1:
			raw = bytes.ReplaceAll(raw, []byte(`\u2028`), []byte("\u2028"))
		case 2:
			raw = append(raw, spiky(rng)...) // no JSON any more, mostly
		}
		r := drover.Revision{Feed: drover.Feed{Tenant: drover.TenantID(spiky(rng)), Source: "x"}, AlertID: spiky(rng), Seq: 1, Raw: raw}
		c := Context{Tenant: drover.Tenant{Customer: drover.CustomerID(spiky(rng))}, Incarnation: spiky(rng)}
		for _, enc := range []Encoder{JSON{}, Raw{}} {
			line, err := enc.Encode(nil, &r, c)
			if err != nil {
				t.Fatal(err)
			}
			records++
			if bytes.ContainsAny(line, "\r\n\x00\x1b") || !utf8.Valid(line) {
				split++
			}
			var got struct {
				Drover struct {
					EventID  string `json:"event_id"`
					Customer string `json:"customer"`
					AlertID  string `json:"alert_id"`
				} `json:"drover"`
				Alert  json.RawMessage `json:"alert"`
				Packed *string         `json:"raw_base64"`
			}
			dec := json.NewDecoder(bytes.NewReader(line))
			if err := dec.Decode(&got); err != nil || dec.More() {
				split++
				continue
			}
			body := []byte(got.Alert)
			if _, bare := enc.(Raw); bare {
				body = line
			} else if got.Drover.EventID != r.EventID(0) || got.Drover.Customer != valid(string(c.Tenant.Customer)) || got.Drover.AlertID != valid(r.AlertID) {
				spoofed++
			}
			if got.Packed != nil && (got.Alert == nil) {
				if body, err = base64.StdEncoding.DecodeString(*got.Packed); err != nil {
					t.Fatal(err)
				}
			}
			if _, bare := enc.(Raw); !bare && !bytes.Equal(body, raw) || bare && !alike(body, raw) {
				altered++
			}
		}
	}
	if split+altered+spoofed > 0 {
		t.Errorf("%d are no single line of JSON, %d altered, %d with another identity", split, altered, spoofed)
	}
	proof.Ran(t, "U06", "%d records of %d hostile alerts, formats json and raw: not one line of JSON %d, altered %d, with another identity %d", records, records/2, split, altered, spoofed)
}

// valid is a string as JSON can hold it: each byte that is no UTF-8 becomes
// U+FFFD.
func valid(s string) string { return string([]rune(s)) }

// alike reports whether two texts are the same bytes or the same JSON value.
func alike(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
