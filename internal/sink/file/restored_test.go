package file

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/format"
)

// lineOf is the record of a row as a life of the ledger writes it.
func lineOf(t *testing.T, incarnation string, seq uint64, row string) drover.Record {
	t.Helper()
	at := drover.InstantOf(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	rev := drover.Revision{Feed: drover.Feed{Tenant: "00000000-0000-4000-8000-00000000000a", Source: drover.GraphAlerts}, Seq: seq, AlertID: "a1", Changed: at, Created: at, Sum: sha256.Sum256([]byte(row)), Raw: []byte(row)}
	body, err := format.JSON{}.Encode(nil, &rev, format.Context{Incarnation: incarnation})
	if err != nil {
		t.Fatal(err)
	}
	return drover.Record{EventID: rev.EventID(0), Tenant: rev.Feed.Tenant, Source: rev.Feed.Source, Seq: seq, Time: at, Body: body}
}

// TestAnEventIDIsNotTheWholeRow: an older ledger is put back, and the row behind
// an event ID that the file holds has changed without its time since. It is
// written; one that only came in another order is not (reference faults S23).
func TestAnEventIDIsNotTheWholeRow(t *testing.T) {
	const before = `{"id":"a1","status":"new","evidence":[{"n":"1"},{"n":"2"}]}`
	for name, tt := range map[string]struct {
		row    string
		writes bool
	}{
		"the same bytes are there":           {before, false},
		"the same in another order too":      {`{"status":"new","id":"a1","evidence":[{"n":"2"},{"n":"1"}]}`, false},
		"another content is not":             {`{"id":"a1","status":"resolved","evidence":[{"n":"1"},{"n":"2"}]}`, true},
		"another content that is packed":     {"{\"id\":\"a1\",\n\"status\":\"resolved\"}", true},
		"the same content, packed, is there": {strings.Replace(before, ",", ",\n", 1), false},
	} {
		for _, alone := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, in the first batch %t", name, alone), func(t *testing.T) {
				s := onDisk(newMemDisk(nil), Options{})
				var older []int
				deliver := func(mark []byte, rec drover.Record) []byte {
					t.Helper()
					taken, err := s.Deliver(t.Context(), drover.Batch{Lane: "a.ndjson", Records: []drover.Record{rec}, Mark: mark})
					if err != nil || taken.N != 1 {
						t.Fatalf("took %d, %v", taken.N, err)
					}
					older = taken.Older
					return taken.Mark
				}
				other := func(incarnation string) drover.Record {
					rec := lineOf(t, incarnation, 1, `{"id":"other"}`)
					rec.EventID = strings.Repeat("ab", 16)
					rec.Body = []byte(strings.Replace(string(rec.Body), lineOf(t, incarnation, 1, `{"id":"other"}`).EventID, rec.EventID, 1))
					return rec
				}
				old := deliver(nil, lineOf(t, "first", 1, before)) // the ledger of before this is put back
				deliver(old, other("first"))
				s = onDisk(s.disk, Options{})
				var mark []byte
				if !alone {
					mark = deliver(nil, other("second"))
				}
				deliver(mark, lineOf(t, "second", 2, tt.row))
				lines, err := readLines(s.disk.(*memDisk).content("a.ndjson"))
				if err != nil {
					t.Fatal(err)
				}
				if there := slices.Equal(older, []int{0}); there == tt.writes {
					t.Errorf("there from before: %v", older)
				}
				want := 2
				if tt.writes {
					want = 3
				}
				if len(lines) != want || !slices.Contains(lines, other("first").EventID) {
					t.Errorf("%d lines, want %d", len(lines), want)
				}
			})
		}
	}
}
