package defender

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"drover"
)

// A time of a row may be anything. Whatever it is, the row is returned once,
// the pass ends, and says nothing about what the server's clock had not
// reached.
func FuzzTimes(f *testing.F) {
	for _, s := range []string{"2026-03-02T08:00:01Z", "2026-03-02T08:00:01.123456789+14:00", "9999-12-31T23:59:59.9999999Z", "0001-01-01T00:00:00Z", "2026-03-02T08:00:60", "junk", "", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59-14:00"} {
		f.Add(s, int64(0), false)
		f.Add(s, int64(74*365*24*time.Hour), true)
	}
	f.Fuzz(func(t *testing.T, text string, skew int64, noDate bool) {
		quoted, _ := json.Marshal(text)
		raw := `{"id":"x","FullId":"x","lastUpdateDateTime":` + string(quoted) + `,"lastUpdateTime":` + string(quoted) + `,"LastProcessedTimeUtc":` + string(quoted) + `}`
		changed := instant(quoted)
		if changed.Known() {
			if lit := literal(changed); len(lit) != len("2006-01-02T15:04:05.0000000Z") || !strings.HasSuffix(lit, "Z") {
				t.Fatalf("literal %q", lit)
			} else if back, err := drover.ParseInstant(lit); err != nil || changed >= beginOfTime && changed <= endOfTime && back != changed {
				t.Fatalf("literal %q is not %s", lit, changed)
			}
		}
		e := entry{id: "x", changed: changed, raw: raw}
		if !changed.Known() {
			e.changed = t0
		}
		for id, build := range sources {
			a := newAPI(e, entry{id: "y", changed: t0.Add(time.Second), severity: "high"})
			a.noDate = noDate
			o := options(a)
			o.Now = func() time.Time { return a.now.Time().Add(time.Duration(skew)) }
			span := drover.Span{From: min(t0, e.changed), To: drover.NoInstant}
			want := 1
			if id == drover.MDEAlerts || id == drover.SIEMDetections {
				// These go by windows up to the server's now, or without one to ours.
				if e.changed > a.now || noDate && time.Duration(skew).Abs() > time.Minute {
					want = 0
				}
				span.From = max(span.From, t0.Add(-100*24*time.Hour))
				if e.changed < span.From || want == 0 && noDate {
					continue
				}
			}
			got := read(t, build(o), span, 500, 0)
			if !got.done || got.raw[raw] != want || !got.rows[alert{"y", t0.Add(time.Second)}] {
				t.Fatalf("%s: done %v, returned %d times, %v", id, got.done, got.raw[raw], got.errs)
			}
			if !noDate && got.through > max(a.now, span.From) {
				t.Fatalf("%s: through %s at %s", id, got.through, a.now)
			}
		}
	})
}
