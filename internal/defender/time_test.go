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
		raw := `{"id":"x","FullId":"x","lastUpdateDateTime":` + string(quoted) + `,"LastProcessedTimeUtc":` + string(quoted) + `}`
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
		a := newAPI(e, entry{id: "y", changed: t0.Add(time.Second), severity: "high"})
		a.noDate = noDate
		o := options(a)
		o.Now = func() time.Time { return a.now.Time().Add(time.Duration(skew)) }
		span := drover.Span{From: min(t0, e.changed), To: drover.NoInstant}
		got := read(t, NewGraphAlerts(o), span, 200, 0)
		if !got.done || got.raw[raw] != 1 || !got.rows[alert{"y", t0.Add(time.Second)}] {
			t.Fatalf("done %v, returned %d times, %v", got.done, got.raw[raw], got.errs)
		}
		if !noDate && got.through > max(a.now, span.From) {
			t.Fatalf("through %s at %s", got.through, a.now)
		}
	})
}
