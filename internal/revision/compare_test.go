package revision

import (
	"fmt"
	"strings"
	"testing"

	"drover"
)

func TestWhatChangedIsShownByPathWithBothValues(t *testing.T) {
	before := `{"status":"new","n":9007199254740993,"score":2.50,"gone":null,"evidence":[{"id":"a","verdict":"x"},{"id":"b"},{"id":"c"}],"lastUpdateDateTime":"2026-01-01T00:00:00Z"}`
	after := `{"n":9007199254740992,"status":"resolved","score":2.5,"evidence":[{"id":"c"},{"id":"d"},{"id":"e"}],"fresh":{"a":[true,false]},"lastUpdateDateTime":"2026-01-01T00:00:01Z"}`
	got, more := Compare(drover.GraphAlerts, []byte(before), []byte(after))
	want := []Change{
		{"evidence[]", `{"id":"a","verdict":"x"}`, ""},
		{"evidence[]", `{"id":"b"}`, ""},
		{"evidence[]", "", `{"id":"d"}`},
		{"evidence[]", "", `{"id":"e"}`},
		{"fresh", "", `{"a":[true,false]}`},
		{"gone", "null", ""},
		{"lastUpdateDateTime", `"2026-01-01T00:00:00Z"`, `"2026-01-01T00:00:01Z"`},
		{"n", "9007199254740993", "9007199254740992"},
		{"status", `"new"`, `"resolved"`},
	}
	if more || len(got) != len(want) {
		t.Fatalf("got %+v, more %v", got, more)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

func TestWhatChangedIsBounded(t *testing.T) {
	long := strings.Repeat("ä", 1<<20)
	got, _ := Compare(drover.GraphAlerts, []byte(`{"a":"`+long+`"}`), []byte(`{"a":"b"}`))
	if len(got) != 1 || len(got[0].Before) > maxValue+8 || !strings.HasSuffix(got[0].Before, "…") {
		t.Errorf("%d changes, the first of %d bytes", len(got), len(got[0].Before))
	}
	many := `[0`
	for i := range 1000 {
		many += fmt.Sprint(",", i)
	}
	got, more := Compare(drover.GraphAlerts, []byte(`{"a":[]}`), []byte(`{"a":`+many+`]}`))
	if len(got) != maxChanges || !more {
		t.Errorf("%d changes, more %v", len(got), more)
	}
	if got, _ := Compare(drover.GraphAlerts, []byte(`no json`), []byte(`{}`)); len(got) != 1 || got[0].Path != "*" {
		t.Errorf("what is no JSON: %+v", got)
	}
}

func TestANumberIsShownAsPeopleWriteIt(t *testing.T) {
	for in, want := range map[string]string{"0": "0", "-0.0": "0", "1": "1", "100": "100", "-2.50": "-2.5", "0.05": "0.05", "1e30": "1e30", "123e-3": "0.123"} {
		if got := plainNumber(number(in)); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
