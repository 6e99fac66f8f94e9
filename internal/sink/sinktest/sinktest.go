// Package sinktest is the suite that every sink passes: what drover's
// deliverer relies on, and what a destination may do to it (reference
// faults-and-invariants D03, D05, D06, D12, D13, D16, D18, D19, D24, U10).
//
// A sink's tests call Run with a Harness that says how to build the sink and
// how to look at its destination from outside.
package sinktest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"drover"
	"drover/internal/format"
)

// Harness says how to test a sink. Open is required; HTTP is for sinks that
// speak it, Keyed for those that are drover.Askers.
type Harness struct {
	// Open returns a sink with a destination of its own that takes everything.
	Open  func(t *testing.T) Target
	HTTP  *HTTP
	Keyed *Keyed
	// Ran is told what a part has shown: the fault of the table, and a figure
	// (proof.Ran, which only tests may import). May be nil.
	Ran Ran
}

// Ran notes what a test has shown.
type Ran func(t testing.TB, fault, figure string)

func (r Ran) ran(t testing.TB, fault, format string, args ...any) {
	if r != nil && !t.Failed() {
		r(t, fault, fmt.Sprintf(format, args...))
	}
}

// Target is a sink and a way to look at its destination.
type Target struct {
	Sink drover.Sink
	// Records lists the event IDs of the whole records that a reader finds in
	// the destination of a lane, in order. An error says what a reader must
	// not find.
	Records func(lane string) ([]string, error)
	// OneLane: the sink has one destination for all tenants.
	OneLane bool
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	if h.HTTP != nil {
		h.HTTP.Ran = h.Ran
	}
	if h.Keyed != nil {
		h.Keyed.Ran = h.Ran
	}
	t.Run("every record arrives once, in order and at its own destination", h.arrives)
	t.Run("lanes do not wait for each other and do not mix", h.lanes)
	t.Run("a call that was cancelled claims nothing", h.cancelled)
	t.Run("an empty batch is done", h.empty)
	t.Run("check says what is promised and writes nothing", h.check)
	if h.HTTP != nil {
		h.HTTP.run(t)
	}
	if h.Keyed != nil {
		h.Keyed.run(t)
	}
}

// Tenants are two tenants of two customers.
var Tenants = [2]drover.Tenant{
	{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso-emea", Customer: "contoso", Cloud: "worldwide", State: drover.Active},
	{ID: "77aa0b5c-91d2-4c3e-8f10-2b3c4d5e6f71", Name: "fabrikam", Customer: "fabrikam", Cloud: "worldwide", State: drover.Active},
}

// Record returns the n-th record of a tenant, in format json, from 1; about
// 700 bytes to 1 kB. It is always the same.
func Record(t drover.Tenant, n int) drover.Record { return encoded(t, n, "5d2c9a40") }

// Reborn is Record as a ledger that was restored would write it: same event
// ID, other bytes.
func Reborn(t drover.Tenant, n int) drover.Record { return encoded(t, n, "b77e01f3") }

func encoded(t drover.Tenant, n int, incarnation string) drover.Record {
	id := fmt.Sprintf("da%018d_%d", n, n*7919%1000)
	raw := fmt.Appendf(nil, `{"id":"%s","tenantId":"%s","title":"alert %d of %s","evidence":["%s"]}`, id, t.ID, n, t.Customer, strings.Repeat("é\u2028x", 50+n*37%60))
	r := drover.Revision{Feed: drover.Feed{Tenant: t.ID, Source: drover.GraphAlerts}, Seq: uint64(n), AlertID: id, Changed: drover.Instant(826_000_000_000_0000 + int64(n)*12_345_678), Sum: sha256.Sum256(raw), Raw: raw}
	body, err := format.JSON{}.Encode(nil, &r, format.Context{Tenant: t, Incarnation: incarnation})
	if err != nil {
		panic(err) // format json takes everything
	}
	return drover.Record{EventID: r.EventID(0), Tenant: t.ID, Customer: t.Customer, Source: r.Feed.Source, Seq: r.Seq, Time: r.Changed, Body: body}
}

// Records returns the records from the first to the last, both included.
func Records(t drover.Tenant, first, last int) []drover.Record {
	var out []drover.Record
	for n := first; n <= last; n++ {
		out = append(out, Record(t, n))
	}
	return out
}

// IDs lists event IDs.
func IDs(recs []drover.Record) []string {
	out := make([]string, len(recs))
	for i := range recs {
		out[i] = recs[i].EventID
	}
	return out
}

// Batch makes a batch of a lane. One of an even number of records has its lines
// as well, as a sink meets both kinds.
func Batch(lane string, recs []drover.Record, mark []byte) drover.Batch {
	b := drover.Batch{Lane: lane, Records: recs, Mark: mark}
	for i := range recs {
		if len(recs)%2 == 0 {
			b.Lines = append(append(b.Lines, recs[i].Body...), '\n')
		}
		f := drover.Feed{Tenant: recs[i].Tenant, Source: recs[i].Source}
		if n := len(b.Ranges); n > 0 && b.Ranges[n-1].Feed == f && b.Ranges[n-1].Last+1 == recs[i].Seq {
			b.Ranges[n-1].Last++
			continue
		}
		b.Ranges = append(b.Ranges, drover.Range{Feed: f, First: recs[i].Seq, Last: recs[i].Seq})
	}
	return b
}

// send delivers and holds the sink to its contract, whatever comes back.
func send(ctx context.Context, t testing.TB, s drover.Sink, b drover.Batch) (drover.Taken, error) {
	t.Helper()
	taken, err := s.Deliver(ctx, b)
	contract(t, b, taken, err)
	return taken, err
}

// contract checks what holds for every answer of a sink.
func contract(t testing.TB, b drover.Batch, taken drover.Taken, err error) {
	t.Helper()
	if verr := taken.Validate(len(b.Records)); verr != nil {
		t.Fatalf("the sink miscounts: %v", verr)
	}
	if err == nil && taken.N != len(b.Records) {
		t.Fatalf("no error, and %d of %d records done", taken.N, len(b.Records))
	}
	for _, r := range taken.Refused {
		if r.Index >= taken.N && !slices.Contains(taken.Also, r.Index) {
			t.Fatalf("record %d is refused and not done", r.Index)
		}
		if r.Reason == "" {
			t.Fatalf("record %d is refused without a reason", r.Index)
		}
	}
	if err == nil {
		return
	}
	var e *drover.Error
	if errors.As(err, &e) && e.Kind == drover.Denied && drover.HintOf(err) == "" {
		t.Fatalf("somebody must act and is not told what to do: %v", err)
	}
}

func (h Harness) arrives(t *testing.T) {
	target := h.Open(t)
	marks := make(map[string][]byte)
	want := make(map[string][]string)
	for from := 1; from <= 61; from += 20 {
		for _, tenant := range Tenants {
			recs := Records(tenant, from, from+19)
			lane := target.Sink.Lane(tenant)
			taken, err := send(t.Context(), t, target.Sink, Batch(lane, recs, marks[lane]))
			if err != nil {
				t.Fatal(err)
			}
			if taken.Mark != nil {
				marks[lane] = taken.Mark
			}
			want[lane] = append(want[lane], IDs(recs)...)
		}
	}
	if !target.OneLane && len(want) != len(Tenants) {
		t.Fatal("two customers share a lane")
	}
	for lane, ids := range want {
		same(t, target, lane, ids)
	}
}

func same(t testing.TB, target Target, lane string, want []string) {
	t.Helper()
	got, err := target.Records(lane)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("lane %s holds %d records, want %d; they differ from record %d on", lane, len(got), len(want), differ(got, want))
	}
}

func differ(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func (h Harness) lanes(t *testing.T) {
	target := h.Open(t)
	if target.OneLane {
		return
	}
	var wg sync.WaitGroup
	for _, tenant := range Tenants {
		wg.Go(func() {
			lane := target.Sink.Lane(tenant)
			var mark []byte
			for from := 1; from < 100; from += 10 {
				taken, err := target.Sink.Deliver(t.Context(), Batch(lane, Records(tenant, from, from+9), mark))
				if err != nil {
					t.Errorf("%s: %v", tenant.Name, err)
					return
				}
				if taken.Mark != nil {
					mark = taken.Mark
				}
			}
		})
	}
	wg.Wait()
	for _, tenant := range Tenants {
		same(t, target, target.Sink.Lane(tenant), IDs(Records(tenant, 1, 100)))
	}
	h.Ran.ran(t, "D16", "two customers at the same time, 200 records: foreign 0, lost 0, repeated 0, out of order 0")
}

func (h Harness) cancelled(t *testing.T) {
	target := h.Open(t)
	lane := target.Sink.Lane(Tenants[0])
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	recs := Records(Tenants[0], 1, 5)
	taken, err := send(ctx, t, target.Sink, Batch(lane, recs, nil))
	if err == nil {
		t.Fatal("no error")
	}
	if k := drover.KindOf(err); k != drover.Transient {
		t.Errorf("kind %v", k)
	}
	got, rerr := target.Records(lane)
	if rerr != nil {
		t.Fatal(rerr)
	}
	if taken.N > len(got) {
		t.Errorf("%d records claimed, %d there", taken.N, len(got))
	}
	if _, err := send(t.Context(), t, target.Sink, Batch(lane, recs[taken.N:], taken.Mark)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func (h Harness) empty(t *testing.T) {
	target := h.Open(t)
	if _, err := send(t.Context(), t, target.Sink, Batch(target.Sink.Lane(Tenants[0]), nil, nil)); err != nil {
		t.Fatal(err)
	}
}

func (h Harness) check(t *testing.T) {
	target := h.Open(t)
	lane := target.Sink.Lane(Tenants[0])
	says, err := target.Sink.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if says == "" || strings.Contains(says, "\n") {
		t.Errorf("it says %q, which is no sentence", says)
	}
	same(t, target, lane, nil)
	if err := target.Sink.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
