package plant

import (
	"testing"

	"drover/internal/oracle"
)

// BenchmarkJudge judges about 100,000 revisions of 2.5 KB at three places.
func BenchmarkJudge(b *testing.B) {
	in := Good(1, Size{Alerts: 4000, Padding: 2000}).Input()
	b.ReportAllocs()
	for b.Loop() {
		v, err := oracle.Judge(in)
		if err != nil {
			b.Fatal(err)
		}
		if !v.OK() {
			b.Fatal("the good run does not pass")
		}
		b.ReportMetric(float64(v.Shown()), "revisions")
	}
}

// BenchmarkLeaks searches one output of 64 MB.
func BenchmarkLeaks(b *testing.B) {
	text := make([]byte, 64<<20)
	for i := range text {
		text[i] = byte('a' + i*i%23)
	}
	secrets := Good(1, Size{}).Secrets
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if found, err := oracle.Leaks(secrets, []oracle.Log{oracle.Text("out", text)}); err != nil || len(found) > 0 {
			b.Fatal(found, err)
		}
	}
}
