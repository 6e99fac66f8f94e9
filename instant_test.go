package drover

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"drover/internal/proof"
)

// instants are texts and what they mean; "" is no time.
var instants = map[string]string{
	"2026-03-02T08:03:41Z":                  "2026-03-02T08:03:41.0000000Z",
	"2026-03-02T08:03:41.5Z":                "2026-03-02T08:03:41.5000000Z",
	"2026-03-02T08:03:41.47Z":               "2026-03-02T08:03:41.4700000Z",
	"2026-03-02T08:03:41.113Z":              "2026-03-02T08:03:41.1130000Z",
	"2026-03-02T08:03:41.1133Z":             "2026-03-02T08:03:41.1133000Z",
	"2026-03-02T08:03:41.11333Z":            "2026-03-02T08:03:41.1133300Z",
	"2026-03-02T08:03:41.113333Z":           "2026-03-02T08:03:41.1133330Z",
	"2026-03-02T08:03:41.1133333Z":          "2026-03-02T08:03:41.1133333Z",
	"2026-03-02T08:03:41.11333339Z":         "2026-03-02T08:03:41.1133333Z",
	"2026-03-02T08:03:41.113333399Z":        "2026-03-02T08:03:41.1133333Z",
	"2026-03-02T08:03:41.99999999999999Z":   "2026-03-02T08:03:41.9999999Z",
	"2026-03-02T08:03:41,5Z":                "2026-03-02T08:03:41.5000000Z",
	"2026-03-02 08:03:41Z":                  "2026-03-02T08:03:41.0000000Z",
	"2026-03-02t08:03:41z":                  "2026-03-02T08:03:41.0000000Z",
	"2026-03-02T08:03:41":                   "2026-03-02T08:03:41.0000000Z",
	"2026-03-02T08:03:41.0033333":           "2026-03-02T08:03:41.0033333Z",
	"2026-03-02T10:03:41+02:00":             "2026-03-02T08:03:41.0000000Z",
	"2026-03-02T10:03:41 02:00":             "2026-03-02T08:03:41.0000000Z", // a plus sign that a form has eaten
	"2026-03-01T22:33:41.5-09:30":           "2026-03-02T08:03:41.5000000Z",
	"2026-03-02T08:03:41-00:00":             "2026-03-02T08:03:41.0000000Z",
	"2026-03-02T08:03:60Z":                  "2026-03-02T08:04:00.0000000Z",
	"2016-12-31T23:59:60.5Z":                "2017-01-01T00:00:00.5000000Z",
	"2024-02-29T00:00:00Z":                  "2024-02-29T00:00:00.0000000Z",
	"1999-12-31T23:59:59.9999999Z":          "1999-12-31T23:59:59.9999999Z",
	"0001-01-01T00:00:00Z":                  "0001-01-01T00:00:00.0000000Z",
	"9999-12-31T23:59:59.9999999Z":          "9999-12-31T23:59:59.9999999Z",
	"0001-01-01T00:00:00+00:01":             "", // in the year before the first
	"9999-12-31T23:59:59-14:00":             "", // in the year 10000
	"9999-12-31T23:59:60Z":                  "",
	"0000-01-01T00:00:00Z":                  "",
	"2023-02-29T00:00:00Z":                  "",
	"2026-02-30T00:00:00Z":                  "",
	"2026-04-31T00:00:00Z":                  "",
	"2026-13-01T00:00:00Z":                  "",
	"2026-00-01T00:00:00Z":                  "",
	"2026-01-00T00:00:00Z":                  "",
	"2026-03-02T24:00:00Z":                  "",
	"2026-03-02T08:60:00Z":                  "",
	"2026-03-02T08:03:61Z":                  "",
	"2026-03-02T08:03:41.Z":                 "",
	"2026-03-02T08:03:41.5.5Z":              "",
	"2026-03-02T08:03:41+15:00":             "",
	"2026-03-02T08:03:41+02:60":             "",
	"2026-03-02T08:03:41+0200":              "",
	"2026-03-02T08:03:41 +0200":             "",
	"2026-03-02T08:03:41+2:00":              "",
	"2026-03-02T08:03:41ZZ":                 "",
	"2026-03-02T08:03:41 ":                  "",
	" 2026-03-02T08:03:41Z":                 "",
	"2026-03-02T08:03:41Z\x00":              "",
	"2026-03-02T08:03":                      "",
	"2026-03-02":                            "",
	"02.03.2026 08:03:41":                   "",
	"Mon, 02 Mar 2026 08:03:41 GMT":         "",
	"2026/03/02T08:03:41Z":                  "",
	"20260302T080341Z":                      "",
	"+2026-03-02T08:03:41Z":                 "",
	"-026-03-02T08:03:41Z":                  "",
	"12026-03-02T08:03:41Z":                 "",
	"2026-03-02T+8:03:41Z":                  "",
	"\u0662026-03-02T08:03:41Z":             "", // a digit of another script
	"2026-03-02T08:03:41.\u0661Z":           "",
	"1772438621":                            "",
	"/Date(1772438621000)/":                 "",
	"null":                                  "",
	"junk":                                  "",
	"":                                      "",
	strings.Repeat("9", 10_000):             "",
	"2026-03-02T08:03:41Z (UTC, estimated)": "",
}

func TestATimeIsReadInEverySpellingAndNothingElseIs(t *testing.T) {
	read, refused := 0, 0
	for text, want := range instants {
		got, err := ParseInstant(text)
		again, errBytes := ParseInstant([]byte(text))
		if got != again || (err == nil) != (errBytes == nil) {
			t.Errorf("%.40q: bytes are read otherwise", text)
		}
		if want == "" {
			refused++
			if err == nil || got != NoInstant || err.Error() != errTime.Error() {
				t.Errorf("%.40q: got %s, %v", text, got, err)
			}
			continue
		}
		read++
		if err != nil || got.String() != want {
			t.Errorf("%q: got %s, %v; want %s", text, got, err, want)
		}
	}
	proof.Ran(t, "P15", "%d spellings read to 100 ns, %d refused", read, refused)
}

func TestAnInstantIsWrittenAndReadBackTheSame(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	all := []Instant{NoInstant, minInstant, maxInstant, 0, -1, 1}
	for range 10_000 {
		all = append(all, minInstant+Instant(rng.Uint64N(uint64(maxInstant-minInstant))))
	}
	for _, i := range all {
		text, err := i.MarshalText()
		var back Instant
		if err != nil || back.UnmarshalText(text) != nil || back != i {
			t.Fatalf("%d: written as %s, read as %d", i, text, back)
		}
		if i.Known() && InstantOf(i.Time()) != i {
			t.Fatalf("%s: through time.Time it is %s", i, InstantOf(i.Time()))
		}
		if i.Known() && len(text) != len("2026-03-02T08:03:41.1133333Z") {
			t.Fatalf("written as %s", text)
		}
	}
	type holder struct{ At Instant }
	for _, codec := range []struct {
		name  string
		write func(any) ([]byte, error)
		read  func([]byte, any) error
	}{{"JSON", json.Marshal, json.Unmarshal}, {"YAML", yaml.Marshal, yaml.Unmarshal}} {
		for _, i := range all[:20] {
			b, err := codec.write(holder{i})
			var back holder
			if err != nil || codec.read(b, &back) != nil || back.At != i {
				t.Errorf("%s: %s became %s, %v", codec.name, i, back.At, err)
			}
		}
	}
	i := Instant(7)
	if err := i.UnmarshalText([]byte("canary")); err == nil || i != 7 || strings.Contains(err.Error(), "canary") {
		t.Errorf("junk: %v, left %d", err, i)
	}
}

func TestInstantsAreInOrderAndAddUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 10_000 {
		a := time.Unix(rng.Int64N(8e9)-1e9, rng.Int64N(1e7)*100).UTC()
		d := time.Duration(rng.Int64N(1<<50)) * 100
		b := a.Add(d)
		i, j := InstantOf(a), InstantOf(b)
		if j.Sub(i) != d || i.Add(d) != j || i > j || !i.Time().Equal(a) {
			t.Fatalf("%s and %s, %s apart: got %s and %s, %s apart", a, b, d, i, j, j.Sub(i))
		}
	}
	first, last := Instant(minInstant), Instant(maxInstant)
	if last.Sub(first) != 1<<63-1 || first.Sub(last) != -1<<63 {
		t.Errorf("far apart: %s, %s", last.Sub(first), first.Sub(last))
	}
	if NoInstant.Add(time.Hour) != NoInstant || NoInstant.Sub(last) != 0 || last.Sub(NoInstant) != 0 || NoInstant >= first || !NoInstant.Time().IsZero() || NoInstant.String() != "-" {
		t.Error("what is not known moved, or sorts after something")
	}
	if got := InstantOf(time.Unix(1, 199)); got.Time().Nanosecond() != 100 {
		t.Errorf("below a step: %d ns", got.Time().Nanosecond())
	}
}

func TestTheZoneOfTheMachineIsInNoInstant(t *testing.T) {
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("east", 14*3600), time.FixedZone("west", -12*3600), time.FixedZone("odd", 5*3600+45*60)} {
		at := time.Date(2026, 3, 29, 2, 30, 0, 0, time.UTC).In(zone)
		if got := InstantOf(at).String(); got != "2026-03-29T02:30:00.0000000Z" {
			t.Errorf("%s: got %s", zone, got)
		}
	}
}

func TestASpanHoldsItsBeginAndNotItsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		span Span
		at   Instant
		want bool
	}{
		"its begin":              {Span{10, 20}, 10, true},
		"before its begin":       {Span{10, 20}, 9, false},
		"the last step":          {Span{10, 20}, 19, true},
		"its end":                {Span{10, 20}, 20, false},
		"open, far away":         {Span{10, NoInstant}, maxInstant, true},
		"open, before its begin": {Span{10, NoInstant}, 9, false},
		"empty":                  {Span{10, 10}, 10, false},
		"the wrong way round":    {Span{20, 10}, 15, false},
		"from ever":              {Span{NoInstant, 10}, minInstant, true},
	} {
		if got := tt.span.Contains(tt.at); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if s := (Span{0, NoInstant}).String(); s != "from 2000-01-01T00:00:00.0000000Z on" {
		t.Error(s)
	}
	if s := (Span{0, 1}).String(); s != "from 2000-01-01T00:00:00.0000000Z to 2000-01-01T00:00:00.0000001Z" {
		t.Error(s)
	}
}

func ExampleParseInstant() {
	i, err := ParseInstant("2026-03-02T10:03:41.503333399+02:00")
	fmt.Println(i, err)
	// Output: 2026-03-02T08:03:41.5033333Z <nil>
}
