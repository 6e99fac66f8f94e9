package file

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/format"
	"drover/internal/proof"
	"drover/internal/sink/sinktest"
)

func ran(t testing.TB, fault, figure string) { proof.Ran(t, fault, "%s", figure) }

// onDisk builds a sink as a new process would, on a disk of memory.
func onDisk(d disk, opt Options) *Sink {
	if opt.Path == "" {
		opt.Path = "{customer}/{tenant}.ndjson"
	}
	if opt.MaxBytes == 0 {
		opt.MaxBytes = 256 << 20
	}
	if opt.MaxAge == 0 {
		opt.MaxAge = 24 * time.Hour
	}
	if opt.Now == nil {
		opt.Now = func() time.Time { return time.Unix(1_772_438_621, 0) }
	}
	opt.Mode = 0o600
	return &Sink{opt: opt, disk: d, lanes: make(map[string]*lane)}
}

// readLines lists the event IDs of a content; it must be whole lines.
func readLines(content string) ([]string, error) {
	if content != "" && !strings.HasSuffix(content, "\n") {
		return nil, fmt.Errorf("the last line is torn")
	}
	var ids []string
	for line := range strings.Lines(content) {
		id, ok := format.EventID([]byte(line))
		if !ok || !strings.HasSuffix(line, "}\n") {
			return nil, fmt.Errorf("a line is no whole record: %.60q", line)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// world is a memDisk that sinks come and go on.
type world struct {
	d   *memDisk
	opt Options
}

func (w *world) Open() (drover.Sink, error)            { return onDisk(w.d, w.opt), nil }
func (w *world) Records(lane string) ([]string, error) { return readLines(w.d.content(lane)) }
func (w *world) Cut(rng *rand.Rand, step func()) sinktest.World {
	return &world{w.d.cut(rng, step), w.opt}
}

func TestTheSuite(t *testing.T) {
	cuts := map[int64]int{1: 3} // a rotation for each record makes many steps
	for name, max := range map[string]int64{"one file": 1 << 20, "put away after each few batches": 4000, "put away after every batch": 1} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Ran: ran,
				Open: func(t *testing.T) sinktest.Target {
					dir := t.TempDir()
					s, err := New(Options{Root: dir, MaxBytes: max})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = s.Close() })
					return sinktest.Target{Sink: s, Records: func(lane string) ([]string, error) { return readDir(dir, lane) }}
				},
				Keyed: &sinktest.Keyed{Cuts: cuts[max], New: func(_ testing.TB, step func()) sinktest.World {
					return &world{newMemDisk(step), Options{MaxBytes: max}}
				}},
			})
		})
	}
}

// readDir reads a lane's files on a real disk, those put away first.
func readDir(dir, lane string) ([]string, error) {
	d := newMemDisk(nil)
	base := filepath.Join(dir, filepath.Dir(lane))
	entries, err := os.ReadDir(base)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(base, e.Name()))
		if err != nil {
			return nil, err
		}
		d.live[filepath.Join(filepath.Dir(lane), e.Name())] = &inode{data: b}
	}
	return readLines(d.content(lane))
}
