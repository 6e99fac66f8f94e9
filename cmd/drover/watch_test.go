package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/collect"
)

func TestWhatIsSeenOfAFeedIsToldInWordsAndNumbers(t *testing.T) {
	newest := drover.InstantOf(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	o := collect.Observed{Since: newest, Usual: 3 * time.Hour, Silent: true, Lateness: collect.Lateness{Rows: 9, Late: 3, Most: 30 * time.Hour}}
	o.Lateness.Class[1], o.Lateness.Class[7] = 2, 1
	w := feedWatch(o)
	b, err := json.Marshal(admin.FeedStatus{Watch: &w})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"usual_silence_s":10800`, `"silent":true`, `"late":3`, `{"up_to":"5m0s","n":2}`, `{"up_to":"48h0m0s","n":1}`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
	for name, tt := range map[string]struct {
		feed admin.FeedStatus
		want string
	}{
		"parked comes first": {admin.FeedStatus{Parked: "no consent", Watch: &w}, "no consent"},
		"silent":             {admin.FeedStatus{Watch: &w}, "silent since 2026-03-02 08:00Z; usually for 3h0m0s at most"},
		"late":               {admin.FeedStatus{Watch: &admin.FeedWatch{Late: admin.FeedLateness{Alarm: "sweep deeper"}}}, "sweep deeper"},
		"nothing is odd":     {admin.FeedStatus{Watch: &admin.FeedWatch{}}, ""},
		"nobody reads":       {admin.FeedStatus{}, ""},
	} {
		if got := tt.feed.Note(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	if !healthy(admin.Status{}) || healthy(admin.Status{Silent: []admin.SilentSource{{}}}) {
		t.Error("a source that is silent in all tenants is no finding")
	}
}

func TestMetricsTellWhatIsSeenOfEachFeed(t *testing.T) {
	var out strings.Builder
	o := collect.Observed{Since: drover.InstantOf(time.Unix(1_772_438_400, 0)), Silent: true, Lateness: collect.Lateness{Late: 3, Sum: 90 * time.Minute}}
	o.Lateness.Class[1], o.Lateness.Class[9] = 2, 1
	writeMetrics(&out, map[drover.Feed]collect.Observed{{Tenant: "a", Source: drover.GraphAlerts}: o, {Tenant: "b", Source: drover.GraphAlerts}: {Since: drover.NoInstant}})
	const a = `{tenant="a",source="graph.alerts"`
	for _, want := range []string{
		"drover_feed_newest_row_seconds" + a + "} 1772438400", "drover_feed_silent" + a + "} 1", "drover_feed_late_alarm" + a + "} 0",
		"drover_feed_lateness_seconds_bucket" + a + `,le="60"} 0`, "drover_feed_lateness_seconds_bucket" + a + `,le="300"} 2`, "drover_feed_lateness_seconds_bucket" + a + `,le="604800"} 2`,
		"drover_feed_lateness_seconds_bucket" + a + `,le="+Inf"} 3`, "drover_feed_lateness_seconds_sum" + a + "} 5400", "drover_feed_lateness_seconds_count" + a + "} 3",
		`drover_feed_silent{tenant="b",source="graph.alerts"} 0`, "# TYPE drover_feed_silent gauge",
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), `newest_row_seconds{tenant="b"`) {
		t.Error("a feed without a row has a newest one")
	}
}

// A running drover tells Defender's products apart, to see one fall silent in all
// tenants.
func TestTheCollectorIsToldWhichProductAnAlertIsOf(t *testing.T) {
	a, err := newAppFrom(t, writeConfig(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if product := a.collecting(nil, nil).Product; product == nil || product(drover.GraphAlerts, "x", []byte(`{"serviceSource":"microsoftDefenderForIdentity"}`)) != "Defender for Identity" {
		t.Error("it is not")
	}
}
