package sqlite_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
)

// bodies makes n rows of about size bytes that compress like alerts do: a
// template shared by all, with members that differ.
func bodies(n, size int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 400)
	for i := range words {
		words[i] = fmt.Sprintf(`"member%d":"%s"`, i, bytes.Repeat([]byte{byte('a' + i%26)}, i%17))
	}
	out := make([][]byte, n)
	for i := range out {
		var b bytes.Buffer
		fmt.Fprintf(&b, `{"id":"da%032x","createdDateTime":"2026-03-02T08:03:41.%07dZ"`, r.Uint64(), i)
		for b.Len() < size {
			fmt.Fprintf(&b, `,%s,"detail":"%016x"`, words[r.IntN(len(words))], r.Uint64())
			fmt.Fprintf(&b, `,"@odata.type":"#microsoft.graph.security.deviceEvidence","remediationStatus":"none","verdict":"suspicious"`)
		}
		b.WriteByte('}')
		out[i] = b.Bytes()
	}
	return out
}

// cpu is what this process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchStore is a new ledger with one feed.
func benchStore(b *testing.B, recent int64) (*sqlite.Store, drover.Feed, drover.Epoch) {
	b.Helper()
	dir := b.TempDir()
	s, err := sqlite.Open(b.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(b, filepath.Join(dir, "vault")), Recent: recent})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if err := s.AddTenant(b.Context(), ledgertest.Tenant(tenantA, "contoso")); err != nil {
		b.Fatal(err)
	}
	st, err := s.Take(b.Context(), ledgertest.FeedOf(tenantA))
	if err != nil {
		b.Fatal(err)
	}
	return s, st.Feed, st.Epoch
}

// benchRows makes rows of a story that goes on for ever.
type benchRows struct {
	raws [][]byte
	sums []drover.Hash
	n    int
}

func newBenchRows() *benchRows {
	r := &benchRows{raws: bodies(2048, 6<<10)}
	for _, raw := range r.raws {
		r.sums = append(r.sums, sha256.Sum256(raw))
	}
	return r
}

func (r *benchRows) time() drover.Instant {
	return drover.InstantOf(storyTime).Add(time.Duration(r.n) * time.Millisecond)
}

func (r *benchRows) take(size int) []drover.Revision {
	revs := make([]drover.Revision, size)
	for i := range revs {
		revs[i] = drover.Revision{AlertID: fmt.Sprintf("da%032x_1", r.n*7919), Changed: r.time(), Created: r.time().Add(-5 * time.Second),
			Severity: "high", Status: "new", Sum: r.sums[r.n%len(r.sums)], Raw: r.raws[r.n%len(r.raws)]}
		r.n++
	}
	return revs
}

// BenchmarkStore reports the CPU time that 100,000 revisions of 6 KB cost to
// store, all included but the rows' own SHA-256.
func BenchmarkStore(b *testing.B) {
	for _, size := range []int{10, 500, 1000} {
		b.Run(fmt.Sprintf("commits of %d", size), func(b *testing.B) {
			rows := newBenchRows()
			s, f, epoch := benchStore(b, 0)
			start := cpu()
			for b.Loop() {
				revs := rows.take(size)
				if _, err := s.Commit(b.Context(), ledger.Commit{Feed: f, Epoch: epoch, Revisions: revs, Whole: rows.time(), Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: rows.time()}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu()-start).Seconds()*1e5/float64(rows.n), "cpu-s/100k")
			b.ReportMetric(float64(s.Size())/float64(rows.n), "disk-B/row")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkKeys reports what looking up a page of repeats costs.
func BenchmarkKeys(b *testing.B) {
	rows := newBenchRows()
	s, f, epoch := benchStore(b, 0)
	for range 100 {
		if _, err := s.Commit(b.Context(), ledger.Commit{Feed: f, Epoch: epoch, Revisions: rows.take(1000), Whole: drover.NoInstant}); err != nil {
			b.Fatal(err)
		}
	}
	to := rows.time()
	start, n := cpu(), 0
	for b.Loop() {
		keys, err := s.Keys(b.Context(), f, drover.Span{From: to.Add(-time.Second), To: to}, true)
		if err != nil || len(keys) != 1000 {
			b.Fatalf("%d keys, %v", len(keys), err)
		}
		n++
	}
	b.ReportMetric((cpu()-start).Seconds()*1e5/float64(n*1000), "cpu-s/100k")
}

// BenchmarkAfter reports what reading 100,000 revisions costs, out of memory
// and out of the file.
func BenchmarkAfter(b *testing.B) {
	for name, recent := range map[string]int64{"from memory": 256 << 20, "from the file": -1} {
		b.Run(name, func(b *testing.B) {
			rows := newBenchRows()
			s, f, epoch := benchStore(b, recent)
			for range 8 {
				if _, err := s.Commit(b.Context(), ledger.Commit{Feed: f, Epoch: epoch, Revisions: rows.take(1000), Whole: drover.NoInstant}); err != nil {
					b.Fatal(err)
				}
			}
			start, n := cpu(), 0
			for b.Loop() {
				revs, err := s.After(b.Context(), f, uint64(n%8)*1000, 1000, 1<<30)
				if err != nil || len(revs) != 1000 {
					b.Fatalf("%d revisions, %v", len(revs), err)
				}
				n++
			}
			b.ReportMetric((cpu()-start).Seconds()*1e5/float64(n*1000), "cpu-s/100k")
		})
	}
}

// BenchmarkSettle reports what claiming and settling 100,000 revisions costs,
// in batches of 100.
func BenchmarkSettle(b *testing.B) {
	rows := newBenchRows()
	s, f, epoch := benchStore(b, 0)
	if err := s.Sinks(b.Context(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}); err != nil {
		b.Fatal(err)
	}
	const batch = 100
	n, head := uint64(0), uint64(0)
	var used time.Duration
	for b.Loop() {
		if n == head {
			out, err := s.Commit(b.Context(), ledger.Commit{Feed: f, Epoch: epoch, Revisions: rows.take(10 * batch), Whole: drover.NoInstant})
			if err != nil {
				b.Fatal(err)
			}
			head = out.Last
		}
		start := cpu()
		done := []drover.Range{{Feed: f, First: n + 1, Last: n + batch}}
		if err := s.Claim(b.Context(), ledger.Attempt{Sink: "s", Lane: "tenant/00000000-0000-4000-8000-00000000000a", Ranges: done}); err != nil {
			b.Fatal(err)
		}
		if err := s.Settle(b.Context(), ledger.Settle{Sink: "s", Lane: "tenant/00000000-0000-4000-8000-00000000000a", Done: done, Taken: batch, Mark: []byte("contoso.ndjson 12345678 12345678"), Close: true}); err != nil {
			b.Fatal(err)
		}
		n += batch
		used += cpu() - start
	}
	b.ReportMetric(used.Seconds()*1e5/float64(n), "cpu-s/100k")
	b.ReportMetric(0, "ns/op")
}
