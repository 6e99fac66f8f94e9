//go:build soak

package plant

import (
	"io"
	"runtime"
	"testing"

	"drover/internal/oracle"
)

// TestAMillionRevisionsFitIntoAGigabyte judges a million revisions at three
// places and looks at what the judge itself needs.
func TestAMillionRevisionsFitIntoAGigabyte(t *testing.T) {
	in := Good(1, Size{Alerts: 36_000}).Input()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	peak := uint64(0)
	in.Sinks[len(in.Sinks)-1].Logs = append(in.Sinks[len(in.Sinks)-1].Logs, oracle.Log{Name: "gauge", Open: func() (io.ReadCloser, error) {
		peak = heap() // all other files have been read by now
		return oracle.Text("", nil).Open()
	}})
	v, err := oracle.Judge(in)
	if err != nil {
		t.Fatal(err)
	}
	used := int64(peak) - int64(before)
	t.Logf("%d revisions, %d MB", v.Shown(), used>>20)
	if v.Shown() < 900_000 || used > 1<<30 {
		t.Errorf("%d revisions, %d bytes", v.Shown(), used)
	}
}
