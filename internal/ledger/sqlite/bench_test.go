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

// BenchmarkStore reports the CPU time that 100,000 revisions of 6 KB cost to
// store, all included but the rows' own SHA-256.
func BenchmarkStore(b *testing.B) {
	for _, size := range []int{10, 500, 1000} {
		b.Run(fmt.Sprintf("commits of %d", size), func(b *testing.B) {
			raws := bodies(2048, 6<<10)
			sums := make([]drover.Hash, len(raws))
			for i := range raws {
				sums[i] = sha256.Sum256(raws[i])
			}
			s, err := sqlite.Open(b.Context(), sqlite.Options{Dir: filepath.Join(b.TempDir(), "ledger"), Vault: openVault(b, filepath.Join(b.TempDir(), "vault"))})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			id := drover.TenantID("00000000-0000-4000-8000-00000000000a")
			if err := s.AddTenant(b.Context(), ledgertest.Tenant(id, "contoso")); err != nil {
				b.Fatal(err)
			}
			f := ledgertest.FeedOf(id)
			st, err := s.Take(b.Context(), f)
			if err != nil {
				b.Fatal(err)
			}
			at := drover.InstantOf(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
			n := 0
			start := cpu()
			for b.Loop() {
				revs := make([]drover.Revision, size)
				for i := range revs {
					revs[i] = drover.Revision{AlertID: fmt.Sprintf("da%032x_1", n*7919), Changed: at.Add(time.Duration(n) * time.Millisecond), Created: at.Add(time.Duration(n-5000) * time.Millisecond),
						Severity: "high", Status: "new", Sum: sums[n%len(sums)], Raw: raws[n%len(raws)]}
					n++
				}
				through := at.Add(time.Duration(n) * time.Millisecond)
				if _, err := s.Commit(b.Context(), ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: revs, Whole: through, Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: through}}); err != nil {
					b.Fatal(err)
				}
			}
			used := cpu() - start
			b.ReportMetric(used.Seconds()*1e5/float64(n), "cpu-s/100k")
			b.ReportMetric(float64(s.Size())/float64(n), "disk-B/row")
			b.ReportMetric(0, "ns/op")
		})
	}
}
