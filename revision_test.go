package drover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"drover/internal/proof"
)

const (
	contoso  = TenantID("3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
	fabrikam = TenantID("4c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
)

// The golden values were computed by another program from the description of
// EventID. They never change: sinks hold what was sent years ago.
func TestAnEventIDIsFixedForEver(t *testing.T) {
	const alert, changed = "da637551227677560813_-961444813", Instant(8257538215033333) // 2026-03-02T08:03:41.5033333Z
	for _, tt := range []struct {
		r    Revision
		part int
		want string
	}{
		{Revision{Feed: Feed{contoso, GraphAlerts}, AlertID: alert, Changed: changed}, 0, "8f0a7dc22b630531107f846778b3e117"},
		{Revision{Feed: Feed{contoso, GraphAlerts}, AlertID: alert, Changed: changed, Ordinal: 1}, 0, "ae9581eba557641b16c8ad09e82378ca"},
		{Revision{Feed: Feed{contoso, GraphAlerts}, AlertID: alert, Changed: changed}, 1, "33169441a2937319712d1ae7da24e997"},
		{Revision{Feed: Feed{contoso, SIEMDetections}, AlertID: alert, Changed: changed}, 0, "72d908b59e6b9f06b30fb0e94a97ff85"},
		{Revision{Feed: Feed{fabrikam, GraphAlerts}, AlertID: alert, Changed: changed}, 0, "af0a3d8a58c8aa34054f26f82cbd9479"},
		{Revision{Feed: Feed{contoso, GraphAlerts}, AlertID: "Ä\u2028", Changed: NoInstant, Ordinal: 2}, 0, "e22be3d25fdc3099b19aeb3359a49763"},
		{Revision{}, 0, "365763eb3613f57a39bc13598f504b7a"},
	} {
		if got := tt.r.EventID(tt.part); got != tt.want {
			t.Errorf("%s %q %s/%d part %d: got %s, want %s", tt.r.Feed, tt.r.AlertID, tt.r.Changed, tt.r.Ordinal, tt.part, got, tt.want)
		}
	}
}

func TestAnEventIDDependsOnTheKeyAndOnNothingElse(t *testing.T) {
	key := Revision{Feed: Feed{contoso, GraphAlerts}, AlertID: "da1", Changed: 7, Ordinal: 1}
	rest := key
	rest.Seq, rest.Created, rest.Severity, rest.Status, rest.Flags, rest.Previous, rest.Changes = 9, 5, "high", "new", Late|Touch|Unnamed|History|Checked, 3, []string{"/status"}
	rest.Sum, rest.Raw = Hash{1}, []byte(`{"id":"da1"}`)
	if rest.EventID(3) != key.EventID(3) {
		t.Error("something that is not in the key changed the ID")
	}
}

// TestTwoKeysNeverShareAnEventID takes one alert ID in many tenants, sources,
// times, ordinals and parts, and IDs that try to look like a boundary.
func TestTwoKeysNeverShareAnEventID(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	ids := make(map[string]string)
	n := 0
	add := func(r Revision, part int) {
		n++
		key := fmt.Sprintf("%q %q %q %d %d %d", r.Feed.Tenant, r.Feed.Source, r.AlertID, r.Changed, r.Ordinal, part)
		id := r.EventID(part)
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
			t.Fatalf("%s: %q", key, id)
		}
		if other, ok := ids[id]; ok && other != key {
			t.Fatalf("%s and %s share %s", key, other, id)
		}
		ids[id] = key
	}
	tenants := []TenantID{contoso, fabrikam}
	sources := []SourceID{GraphAlerts, SIEMDetections, "graph.alert", "graph.alertss"}
	alerts := []string{"da1", "da1\x00", "\x00da1", "da", "", "\x00", "\x00\x00\x00", "da1\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00", strings.Repeat("x", 300), strings.Repeat("x", 301)}
	for _, tenant := range tenants {
		for _, source := range sources {
			for _, alert := range alerts {
				for _, changed := range []Instant{NoInstant, -1, 0, 1, 7, 256, 1 << 40} {
					for ordinal := range uint8(MaxOrdinal + 1) {
						for _, part := range []int{0, 1, 2, 256, 65536} {
							add(Revision{Feed: Feed{tenant, source}, AlertID: alert, Changed: changed, Ordinal: ordinal}, part)
						}
					}
				}
			}
		}
	}
	for range 50_000 {
		add(Revision{Feed: Feed{tenants[rng.IntN(2)], sources[rng.IntN(2)]}, AlertID: fmt.Sprintf("da%d_%d", rng.IntN(1000), rng.IntN(3)), Changed: Instant(rng.IntN(1000)), Ordinal: uint8(rng.IntN(3))}, rng.IntN(3))
	}
	// An alert that moved into another incident is the same alert with a new
	// change time; what the row says of its incident is not in the key.
	merged := Revision{Feed: Feed{contoso, GraphAlerts}, AlertID: "da1", Changed: 8, Raw: []byte(`{"incidentId":"2"}`)}
	before := merged
	before.Changed, before.Raw = 7, []byte(`{"incidentId":"1"}`)
	if merged.EventID(0) == before.EventID(0) {
		t.Error("a merge overwrites what was before it")
	}
	proof.Ran(t, "P35", "collisions 0 of %d keys: %d tenants, %d sources", n, len(tenants), len(sources))
}

func TestVersionsRiseWithTimeAndOrdinal(t *testing.T) {
	var all []Revision
	for _, at := range []string{"1886-01-01T00:00:00Z", "1999-12-31T23:59:59.9999999Z", "2000-01-01T00:00:00Z", "2026-03-02T08:03:41.5033333Z", "2026-03-02T08:03:41.5033334Z", "2114-01-01T00:00:00Z"} {
		i, err := ParseInstant(at)
		if err != nil {
			t.Fatal(err)
		}
		for o := range uint8(MaxOrdinal + 1) {
			all = append(all, Revision{Changed: i, Ordinal: o})
		}
	}
	if !slices.IsSortedFunc(all, func(a, b Revision) int { return int(min(max(a.Version()-b.Version(), -1), 1)) }) {
		t.Error("an older state has a higher version")
	}
	for i := 1; i < len(all); i++ {
		if all[i].Version() == all[i-1].Version() {
			t.Errorf("two states have version %d", all[i].Version())
		}
	}
	for _, tt := range []struct {
		changed Instant
		beyond  *Revision
	}{{minInstant, &all[0]}, {maxInstant, &all[len(all)-1]}} {
		r := Revision{Changed: tt.changed}
		if v := r.Version(); (v < tt.beyond.Version()) != (tt.changed < 0) {
			t.Errorf("%s has version %d, %s has %d", tt.changed, v, tt.beyond.Changed, tt.beyond.Version())
		}
	}
	if v := (&Revision{Changed: NoInstant, Ordinal: 2}).Version(); v != 2 {
		t.Errorf("without a time: %d", v)
	}
	if i := Instant(8257538215033333); (&Revision{Changed: i, Ordinal: 1}).Version() != 8257538215033333*256+1 {
		t.Error("a version is not change time × 256 + ordinal")
	}
}

func TestMarksHaveTheirNames(t *testing.T) {
	if got := (Late | Touch | Unnamed | History | NoTime | Checked).Names(); !slices.Equal(got, []string{"late", "touch", "unnamed", "history", "no_time"}) {
		t.Errorf("got %q", got)
	}
	if Flags(0).Names() != nil || Checked.Names() != nil {
		t.Error("a name for nothing")
	}
	if f := Late | Touch; !f.Has(Late) || !f.Has(Late|Touch) || f.Has(History) || f.Has(Late|History) || !f.Has(0) {
		t.Error("Has")
	}
	if h := (Hash{0xab, 31: 0x01}).String(); len(h) != 64 || !strings.HasPrefix(h, "ab00") || !strings.HasSuffix(h, "01") {
		t.Error(h)
	}
}

func BenchmarkEventID(b *testing.B) {
	r := Revision{Feed: Feed{contoso, GraphAlerts}, AlertID: "da637551227677560813_-961444813", Changed: InstantOf(time.Unix(1772438621, 0))}
	for b.Loop() {
		r.EventID(0)
	}
}
