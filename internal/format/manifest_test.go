package format

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"drover"
)

func TestAManifestIsOneLineThatSaysWhatItIs(t *testing.T) {
	m := Manifest{Tenant: drover.Tenant{ID: "3fd4fad9-7c21-47d8-af5d-32d47ecbaf8c", Customer: "contoso"}, Source: drover.GraphAlerts, Sink: "archive", Incarnation: "6770ea9a45da0601",
		Hour: drover.InstantOf(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)), After: 118, First: 119, Last: 140, Count: 21, Hash: strings.Repeat("ab", 32), NotGiven: 1, Gone: 2, SetAside: 3, Gaps: 4, SinkGaps: 5}
	const want = `{"drover":{"event_id":"EVENT","kind":"manifest","tenant":"3fd4fad9-7c21-47d8-af5d-32d47ecbaf8c","customer":"contoso","source":"graph.alerts","sink":"archive",` +
		`"incarnation":"6770ea9a45da0601","hour":"2026-03-02T08:00:00Z","hash":"HASH","after":118,"first":119,"last":140,"count":21,"not_given":1,"gone":2,"set_aside":3,"gaps":4,"sink_gaps":5}}`
	got := string(m.Append([]byte("x"))[1:])
	if w := strings.NewReplacer("EVENT", m.EventID(), "HASH", m.Hash).Replace(want); got != w || !json.Valid([]byte(got)) {
		t.Errorf("got  %s\nwant %s", got, w)
	}
	if id, ok := EventID([]byte(got)); !ok || id != m.EventID() {
		t.Errorf("its event ID reads as %q", id)
	}
	if _, ok := Row([]byte(got)); ok {
		t.Error("it has a row")
	}
}

func TestAManifestsEventIDNeverChanges(t *testing.T) {
	m := Manifest{Tenant: drover.Tenant{ID: "t"}, Source: "s", Sink: "k", Incarnation: "i", Last: 258}
	sum := sha256.Sum256([]byte("drover.manifest.1\x00t\x00s\x00k\x00i\x00\x00\x00\x00\x00\x00\x00\x01\x02"))
	if got := m.EventID(); got != hex.EncodeToString(sum[:16]) {
		t.Errorf("got %s", got)
	}
	other := m
	other.First, other.Count, other.Hash, other.Hour = 3, 4, "x", 5
	if other.EventID() != m.EventID() {
		t.Error("it depends on more than its place")
	}
	for name, change := range map[string]func(*Manifest){
		"tenant": func(m *Manifest) { m.Tenant.ID = "u" }, "source": func(m *Manifest) { m.Source = "r" }, "sink": func(m *Manifest) { m.Sink = "l" },
		"incarnation": func(m *Manifest) { m.Incarnation = "j" }, "last": func(m *Manifest) { m.Last++ }, "a border": func(m *Manifest) { m.Source, m.Sink = "sk", "" },
	} {
		x := m
		if change(&x); x.EventID() == m.EventID() {
			t.Errorf("%s: the same event ID", name)
		}
	}
}

func TestTheHashIsOfItemsInOrderEachOnce(t *testing.T) {
	a := &drover.Revision{AlertID: "a", Sum: drover.Hash{1}}
	b := &drover.Revision{AlertID: "b", Sum: drover.Hash{2}}
	item := func(r *drover.Revision) string { return r.EventID(0) + ":" + r.Sum.String() }
	text := min(item(a), item(b)) + "," + max(item(a), item(b))
	sum := sha256.Sum256([]byte(text))
	for _, order := range [][]*drover.Revision{{a, b}, {b, a}, {b, a, b}} {
		var items Items
		for _, r := range order {
			items.Add(r)
		}
		if got := items.Hash(); got != hex.EncodeToString(sum[:]) {
			t.Errorf("got %s", got)
		}
	}
}
