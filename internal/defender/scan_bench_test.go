package defender

import (
	"bytes"
	"os"
	"testing"
)

// sample is an alert as served, of about the usual size; without the shared
// samples, one made up.
func sample(tb testing.TB) []byte {
	tb.Helper()
	raw, err := os.ReadFile("../../../shared/testdata/graph_alerts/openaev-o365-alert-three.json")
	if err != nil {
		raw = []byte(alertJSON("da1", "2026-03-02T08:03:41.5033333Z", bytes.Repeat([]byte(`{"a":"some text with a \" in it","n":12.5,"x":[true,null]},`), 100)))
	}
	return bytes.TrimSpace(raw)
}

func benchPage(tb testing.TB, n int) []byte {
	row := sample(tb)
	var p bytes.Buffer
	p.WriteString(`{"@odata.context":"x","value":[`)
	for i := range n {
		if i > 0 {
			p.WriteByte(',')
		}
		p.Write(row)
	}
	p.WriteString(`]}`)
	return p.Bytes()
}

func BenchmarkScan(b *testing.B) {
	page := benchPage(b, 300)
	for name, sum := range map[string]bool{"bounds": false, "bounds and hash": true} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(page)))
			b.ReportAllocs()
			for b.Loop() {
				s := scanner{lexer: lexer{b: page}, f: graphFields, sum: sum}
				if out, err := s.page(); err != nil || len(out.rows) != 300 {
					b.Fatal(len(out.rows), err)
				}
			}
		})
	}
}
