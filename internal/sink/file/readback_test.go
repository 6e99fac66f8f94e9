package file

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"drover"
	"drover/internal/format"
)

func TestWhatWasWrittenIsReadBackAndWhatWasTakenAwayIsTold(t *testing.T) {
	root := t.TempDir()
	s, err := New(Options{Root: root, Path: "{tenant}.ndjson", MaxBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	tenant := drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60"}
	var mark []byte
	var want []string
	for n := range 4 {
		rev := drover.Revision{Feed: drover.Feed{Tenant: tenant.ID, Source: drover.GraphAlerts}, Seq: uint64(n + 1), AlertID: fmt.Sprint("da", n), Raw: []byte(`{}`)}
		body, err := format.JSON{}.Encode(nil, &rev, format.Context{Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		taken, err := s.Deliver(t.Context(), drover.Batch{Lane: s.Lane(tenant), Mark: mark, Records: []drover.Record{{EventID: rev.EventID(0), Tenant: tenant.ID, Source: drover.GraphAlerts, Seq: rev.Seq, Body: body}}})
		if err != nil || taken.N != 1 {
			t.Fatal(taken, err)
		}
		mark = taken.Mark
		want = append(want, string(body))
	}
	read := func() (lines []string, all bool) {
		t.Helper()
		all, err := s.ReadBack(t.Context(), tenant, drover.GraphAlerts, mark, func(line []byte) error {
			lines = append(lines, string(line))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines, all
	}
	if got, all := read(); !slices.Equal(got, want) || !all {
		t.Errorf("read back %d lines, all: %v", len(got), all)
	}
	away, err := filepath.Glob(filepath.Join(root, "*-1.ndjson"))
	if err != nil || len(away) != 1 {
		t.Fatal(away, err)
	}
	if err := os.Rename(away[0], filepath.Join(t.TempDir(), "x")); err != nil {
		t.Fatal(err)
	}
	if got, all := read(); len(got) != 3 || all {
		t.Errorf("one file was taken away: read back %d lines, all: %v", len(got), all)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
