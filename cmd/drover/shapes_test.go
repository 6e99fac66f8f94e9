package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/lab/estate"
	"drover/internal/proof"
)

// realData is the directory of real-shaped rows beside the project, or rows
// made here in the same shapes.
func realData(t *testing.T) string {
	t.Helper()
	if dir := filepath.Join("..", "..", "..", "shared", "testdata"); isDir(dir) {
		return dir
	}
	dir := t.TempDir()
	const tenant = "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"
	for name, text := range map[string]string{
		"graph_alerts/collection.json": "{\n  \"value\": [\n    {\n      \"id\": \"da1\",\n      \"tenantId\": \"" + tenant + "\",\n      \"lastUpdateDateTime\": \"2023-04-14T09:53:09.27Z\"\n    }\n  ]\n}\n",
		"graph_alerts/lines.ndjson":    `{"id":"da2","tenantId":"t-not-a-guid","lastUpdateDateTime":"2024-01-01T00:00:00.1133333Z","title":"zero` + "\u200b" + `width","n":18446744073709551616}` + "\n" + `{"id":"da3","lastUpdateDateTime":"2024-01-02T00:00:00Z"}` + "\n",
		"graph_alerts/one.json":        `{"@odata.type":"#microsoft.graph.security.alert","id":"da4","tenantId":null,"lastUpdateDateTime":"2022-11-05T10:00:00.5Z","evidence":[]}`,
		"graph_alerts/other.json":      `{"comment":"not an alert"}`,
		"graph_incidents/list.json":    `{"value":[{"id":"4711","tenantId":"` + tenant + `","lastUpdateDateTime":"2024-01-03T00:00:00.27Z","displayName":"one"}]}`,
		"mde_alerts/list.json":         `{"value":[{"id":"da637_-1","aadTenantId":"` + tenant + `","lastUpdateTime":"2024-01-04T00:00:00.4366667Z","alertCreationTime":"2024-01-04T00:00:00Z","evidence":[]}]}`,
		"siem_detections/array.json":   "[ {\"FullId\":\"636:x=\",\"AlertTime\":\"2020-01-01T00:00:00Z\",\"LastProcessedTimeUtc\":\"2020-01-01T00:01:00.1234567Z\",\"AlertPart\":0} ]",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// rounds divides data so that no two states in one have the same alert and
// change time: of such, an API shows the last, and what lies behind every sweep
// is not read again.
func rounds(all *estate.Data) (out []*estate.Data) {
	type key struct{ home, source, id, changed string }
	seen := make(map[key]int)
	for home, sources := range all.Rows {
		for source, rows := range sources {
			for _, r := range rows {
				k := key{home, source, r.ID, r.Changed.String()}
				n := seen[k]
				seen[k]++
				for len(out) <= n {
					out = append(out, &estate.Data{Rows: make(map[string]map[string][]estate.Row)})
				}
				if out[n].Rows[home] == nil {
					out[n].Rows[home] = make(map[string][]estate.Row)
				}
				r.Rev = 0 // it shows at once
				out[n].Rows[home][source] = append(out[n].Rows[home][source], r)
			}
		}
	}
	return out
}

// span is what data holds: of which sources, and the first change time. Years in
// which there is nothing are read day by day.
func span(data *estate.Data) (sources []drover.SourceID, first time.Time) {
	for _, bySource := range data.Rows {
		for source, rows := range bySource {
			if s := drover.SourceID(source); len(rows) > 0 && !slices.Contains(sources, s) {
				sources = append(sources, s)
			}
			for _, r := range rows {
				if first.IsZero() || r.Changed.Before(first) {
					first = r.Changed
				}
			}
		}
	}
	return sources, first
}

// Every row of the real-shaped files goes through the pretend cloud, the
// ledger and both sinks, and comes out with the bytes that the file has.
//
//citest:plain one file after the other
func TestRealShapedDataComesOutByteForByte(t *testing.T) {
	all, err := estate.ReadData(realData(t))
	if err != nil {
		t.Fatal(err)
	}
	rows, unnamed, counted := 0, 0, 0
	for _, data := range rounds(all) {
		r, u, c := throughBothSinks(t, data)
		rows, unnamed, counted = rows+r, unnamed+u, counted+c
	}
	proof.Ran(t, "I3", "%d files, %d rows of four sources at each of two sinks, bytes equal; unnamed %d of %d; skipped as no rows: %d", all.Files, rows, counted, unnamed, len(all.Skipped))
}

// throughBothSinks returns how many rows came out of each sink, and how many of
// them name no tenant, as dealt and as counted.
func throughBothSinks(t *testing.T, data *estate.Data) (rows, unnamed, counted int) {
	t.Helper()
	want := make(map[string]int)
	for home, sources := range data.Rows {
		for _, rows := range sources {
			for _, r := range rows {
				want[string(r.Raw)]++
			}
		}
		if home == "" {
			unnamed += len(sources[estate.Graph]) + len(sources[estate.Incidents]) + len(sources[estate.MDE])
		}
	}
	dir := t.TempDir()
	s, err := newStage(stageOptions{dir: dir, listen: "127.0.0.1:0", seed: 1, data: data})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	cfg, err := config.Load(s.config)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Routes = config.Routes{{Sources: []drover.SourceID{drover.MDEAlerts, drover.SIEMDetections}, Sinks: cfg.SinkIDs()}, {Sinks: cfg.SinkIDs()}} // every source speaks
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	told, start := span(data)
	for _, c := range s.lab.Customers() {
		n := admin.NewTenant{ID: c.Tenant, Name: c.Name, Cloud: "lab", Region: "eu", Start: start.Add(-time.Hour).Format(time.RFC3339), Sources: told}
		if _, err := a.local().AddTenant(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	runUntilSettled(t, a, cfg)

	d := &demo{stage: s, dir: dir}
	v, err := d.verdict(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK() {
		var table bytes.Buffer
		_ = v.WriteTable(&table)
		t.Errorf("the oracle says:\n%s", table.Bytes())
	}
	for place, got := range map[string]map[string]int{"file": fileRows(t, dir), "Splunk": splunkRows(t, dir)} {
		for raw, n := range want {
			if got[raw] != n {
				t.Errorf("%s: a row of %d bytes came out %d times, want %d", place, len(raw), got[raw], n)
			}
			rows += n
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d different rows, want %d", place, len(got), len(want))
		}
	}
	if err := a.openLedger(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.store.Close() }()
	counts, err := a.store.Counts(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if c.What == "unnamed" {
			counted += int(c.N)
		}
	}
	if counted != unnamed {
		t.Errorf("%d rows counted as unnamed, want %d", counted, unnamed)
	}
	return rows / 2, unnamed, counted
}

// runUntilSettled runs drover in this process until every feed has been read
// whole twice over and every sink has everything.
func runUntilSettled(t *testing.T, a *app, cfg *config.Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	api := admin.Dial(cfg.Ledger.Dir)
	d := &demo{start: time.Now().Add(2 * time.Second)} // everything has shown by then
	for ctx.Err() == nil {
		if _, settled := d.progress(ctx, api); settled {
			break
		}
		if !pause(ctx, 100*time.Millisecond) {
			t.Error("not settled in time")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// record is as much of the envelope as holds a row's bytes.
type record struct {
	Alert json.RawMessage `json:"alert"`
	Raw   string          `json:"raw_base64"`
}

func (r record) bytes(t *testing.T) string {
	t.Helper()
	if r.Raw == "" {
		return string(r.Alert)
	}
	b, err := base64.StdEncoding.DecodeString(r.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func fileRows(t *testing.T, dir string) map[string]int {
	t.Helper()
	got := make(map[string]int)
	files, err := filepath.Glob(filepath.Join(dir, "out", "*", "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, line := range lines(t, f) {
			var r record
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatal(err)
			}
			got[r.bytes(t)]++
		}
	}
	return got
}

func splunkRows(t *testing.T, dir string) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for _, line := range lines(t, filepath.Join(dir, "splunk.ndjson")) {
		var e struct {
			T     string `json:"t"`
			Event record `json:"event"`
			Kept  bool   `json:"kept"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.T == "event" && e.Kept {
			got[e.Event.bytes(t)]++
		}
	}
	return got
}

func lines(t *testing.T, path string) (out [][]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		out = append(out, slices.Clone(s.Bytes()))
	}
	if err := s.Err(); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", path, err))
	}
	return out
}
