package oracle

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// FuzzMembers holds the scanner against encoding/json: the same lines are one
// object, and each value is the same bytes.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{}`, ` {"a":1} `, `{"a":{"b":[1,2,{"c":null}]},"d":"\u00e9\"\\"}`, `{"a":-0.5e+7,"b":1E400,"c":123456789012345678901234567890}`, `{"a":01}`, `{"a":1,}`, `{"a" "b"}`,
		`{"a":tru}`, `{"a":[1,]}`, `{"a":"` + "\n" + `"}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":1}{"b":2}`, `[1]`, `"x"`, ``, `{`, `{"a":`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, "{\"a\":\"\xff\"}", `{"a":+1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := make(map[string]string)
		order := 0
		err := members(b, func(name, v []byte) error {
			order++
			var s string
			if json.Unmarshal(append(append([]byte{'"'}, name...), '"'), &s) == nil {
				got[s] = string(v)
			}
			return nil
		})
		var want map[string]json.RawMessage
		wantErr := json.Unmarshal(b, &want)
		if wantErr == nil && want == nil {
			return // null
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: got error %v, encoding/json has %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		for k, v := range want {
			if got[k] != string(v) {
				t.Fatalf("%q: member %q is %q, want %q", b, k, got[k], v)
			}
		}
	})
}

func TestDeepRowsAreRead(t *testing.T) {
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	n := 0
	if err := members([]byte(`{"alert":`+deep+`}`), func(_, v []byte) error { n = len(v); return nil }); err != nil || n != len(deep) {
		t.Errorf("error %v, %d bytes", err, n)
	}
	if members([]byte(`{"a":`+strings.Repeat("[", maxDepth+10)+`}`), func(_, _ []byte) error { return nil }) == nil {
		t.Error("nesting without end is taken")
	}
}

func TestTimesAreReadTo100Nanoseconds(t *testing.T) {
	base := time.Date(2026, 3, 2, 8, 3, 41, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-03-02T08:03:41Z":              base,
		"2026-03-02T08:03:41":               base,
		"2026-03-02 08:03:41Z":              base,
		"2026-03-02t08:03:41z":              base,
		"2026-03-02T08:03:41.5Z":            base.Add(500 * time.Millisecond),
		"2026-03-02T08:03:41,5033333Z":      base.Add(503333300),
		"2026-03-02T08:03:41.503333399Z":    base.Add(503333300),
		"2026-03-02T10:03:41.0000001+02:00": base.Add(100),
		"2026-03-02T02:33:41-05:30":         base,
		"2026-03-02T08:02:60Z":              base.Add(-41 * time.Second),
		"0001-01-01T00:00:00Z":              time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
		"9999-12-31T23:59:59.9999999Z":      time.Date(9999, 12, 31, 23, 59, 59, 999999900, time.UTC),
		"1969-12-31T23:59:59.9999999Z":      time.Unix(-1, 999999900).UTC(),
	} {
		if got := parseTick(text); got == noTick || !got.time().Equal(want) {
			t.Errorf("%s: got %v, want %v", text, got.time(), want)
		}
	}
	for _, text := range []string{"", "-", "null", "yesterday, at noon", "2026-13-02T08:03:41Z", "2026-03-02T08:03:41.Z", "2026-03-02T08:03:41.5 o'clock", "2026-02-30T08:03:41Z", "2026-03-02T25:03:41Z"} {
		if got := parseTick(text); got != noTick {
			t.Errorf("%q is read as %v", text, got.time())
		}
	}
}
