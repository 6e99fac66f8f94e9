package file

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"drover"
	"drover/internal/config"
	"drover/internal/proof"
	"drover/internal/sink/sinktest"
)

// reader is somebody who takes every line that ends, at any moment.
type reader struct{ torn, looks int }

func (r *reader) look(d *memDisk, lane string) {
	r.looks++
	content := d.content(lane)
	if _, err := readLines(content[:strings.LastIndexByte(content, '\n')+1]); err != nil {
		r.torn++
	}
}

// caller sends batches and keeps what the ledger would.
type caller struct {
	t    *testing.T
	s    *Sink
	recs []drover.Record
	done int
	mark []byte
}

// next sends the next n records once.
func (c *caller) next(n int) error {
	c.t.Helper()
	recs := c.recs[c.done:min(c.done+n, len(c.recs))]
	taken, err := c.s.Deliver(c.t.Context(), sinktest.Batch(c.s.Lane(sinktest.Tenants[0]), recs, c.mark))
	if verr := taken.Validate(len(recs)); verr != nil {
		c.t.Fatal(verr)
	}
	if c.done += taken.N; taken.Mark != nil {
		c.mark = taken.Mark
	}
	return err
}

// rest sends what is left.
func (c *caller) rest(n int) {
	c.t.Helper()
	for c.done < len(c.recs) {
		if err := c.next(n); err != nil {
			c.t.Fatal(err)
		}
	}
}

// counts says how the files differ from what was sent.
func (c *caller) counts(d *memDisk) (lost, repeated int) {
	c.t.Helper()
	got, err := readLines(d.content(c.s.Lane(sinktest.Tenants[0])))
	if err != nil {
		c.t.Fatal(err)
	}
	seen := make(map[string]int)
	for _, id := range got {
		seen[id]++
	}
	for _, id := range sinktest.IDs(c.recs) {
		if seen[id] == 0 {
			lost++
		}
		repeated += max(seen[id]-1, 0)
	}
	return lost, repeated
}

func TestADiskThatIsFullTakesWholeLinesAndGoesOnWhenThereIsRoom(t *testing.T) {
	recs := sinktest.Records(sinktest.Tenants[0], 1, 12)
	size := 0
	for i := range recs {
		size += len(recs[i].Body) + 1
	}
	full, lost, repeated, early := 0, 0, 0, 0
	var r reader
	for _, most := range []int64{1 << 20, 3000} { // one file, and several
		for left := 0; left < size; left += 41 {
			var d *memDisk
			lane := ""
			d = newMemDisk(func() {
				if lane != "" {
					r.look(d, lane)
				}
			})
			c := &caller{t: t, s: onDisk(d, Options{MaxBytes: most}), recs: recs}
			lane = c.s.Lane(sinktest.Tenants[0])
			d.left = left
			var err error
			for err == nil {
				err = c.next(5)
			}
			if drover.KindOf(err) != drover.Transient || !errors.Is(err, syscall.ENOSPC) || drover.HintOf(err) == "" {
				t.Fatalf("with room for %d bytes: %v", left, err)
			}
			full++
			there, err := readLines(d.content(lane))
			if err != nil || len(there) != c.done {
				t.Fatalf("with room for %d bytes: %d counted, %d there, %v", left, c.done, len(there), err)
			}
			early += c.done
			d.left = -1
			c.rest(5)
			gone, again := c.counts(d)
			lost, repeated = lost+gone, repeated+again
		}
	}
	if lost > 0 || repeated > 0 || r.torn > 0 {
		t.Errorf("lost %d, repeated %d, torn %d", lost, repeated, r.torn)
	}
	proof.Ran(t, "D19", "disk full at %d places and freed: lost %d, repeated %d, torn lines read by a consumer %d in %d looks; %d records counted while it was full, all there", full, lost, repeated, r.torn, r.looks, early)
}

func TestADiskThatFailsIsNeverTakenAtItsWord(t *testing.T) {
	recs := sinktest.Records(sinktest.Tenants[0], 1, 9)
	failures, lost, repeated, after := 0, 0, 0, 0
	kinds := make(map[drover.Kind]int)
	for _, why := range []error{syscall.EIO, syscall.EROFS, syscall.EACCES, syscall.EMFILE, syscall.ENOSPC, syscall.EDQUOT} {
		for at := 0; ; at++ {
			d := newMemDisk(nil)
			opt := Options{MaxBytes: 2000}
			c := &caller{t: t, s: onDisk(d, opt), recs: recs}
			d.fails, d.after = why, at
			var err error
			for err == nil && c.done < len(recs) {
				err = c.next(3)
			}
			if err == nil {
				break // so many changes there are
			}
			failures++
			kind := drover.KindOf(err)
			kinds[kind]++
			if drover.HintOf(err) == "" {
				t.Fatalf("%v at change %d: no hint", why, at)
			}
			if again := c.done; c.next(3) == nil || c.done > again {
				after++ // the disk still fails
			}
			d.fails = nil
			if kind == drover.Broken {
				c.s = onDisk(d, opt) // the process ended
			}
			c.rest(3)
			gone, more := c.counts(d)
			lost, repeated = lost+gone, repeated+more
		}
	}
	if lost > 0 || repeated > 0 || after > 0 {
		t.Errorf("lost %d, repeated %d, %d answered after the error", lost, repeated, after)
	}
	if kinds[drover.Broken] == 0 || kinds[drover.Denied] == 0 || kinds[drover.Transient] == 0 {
		t.Errorf("the kinds are %v", kinds)
	}
	proof.Ran(t, "S05", "%d errors of a disk, one at each change: records answered after the error %d, lost %d, repeated %d", failures, after, lost, repeated)
}

func TestAFileIsPutAwayByAgeAndBySizeAndNothingIsOverwritten(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 3, 41, 0, time.UTC)
	d := newMemDisk(nil)
	c := &caller{t: t, recs: sinktest.Records(sinktest.Tenants[0], 1, 50), s: onDisk(d, Options{MaxBytes: 9000, MaxAge: time.Hour, Now: func() time.Time { return now }})}
	steps := []struct {
		n    int
		wait time.Duration
		away int // files put away afterwards
	}{
		{1, 0, 0}, {1, 59 * time.Minute, 0}, {1, time.Minute, 1}, {1, 0, 1}, // by age
		{10, 0, 1}, {1, 0, 2}, {1, 48 * time.Hour, 3}, {12, 0, 3}, {12, 0, 4}, // by size, and after a long quiet
	}
	lane := c.s.Lane(sinktest.Tenants[0])
	name := regexp.MustCompile(`^` + string(sinktest.Tenants[0].ID) + `\.2026030\dT\d{6}Z-(\d+)\.ndjson$`)
	for i, step := range steps {
		now = now.Add(step.wait)
		if err := c.next(step.n); err != nil {
			t.Fatal(err)
		}
		var numbers []string
		for n := range d.live {
			if m := name.FindStringSubmatch(filepath.Base(n)); m != nil {
				numbers = append(numbers, m[1])
			}
		}
		slices.Sort(numbers)
		if len(numbers) != step.away || len(slices.Compact(numbers)) != step.away {
			t.Fatalf("step %d: put away %v, want %d", i, numbers, step.away)
		}
	}
	if d.live[lane] == nil {
		t.Error("no file has the plain name")
	}
	// A name that is taken is not written over.
	now = now.Add(time.Hour)
	d.live[awayName(lane, now.Format("20060102T150405Z"), 4)] = &inode{data: []byte("somebody's\n")}
	if err := c.next(1); drover.KindOf(err) != drover.Denied {
		t.Errorf("a name that is taken: %v", err)
	}
}

func TestARestoredLedgerWritesNothingTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	runs, re, lost, repeated := 0, 0, 0, 0
	for range 60 {
		d := newMemDisk(nil)
		opt := Options{MaxBytes: int64(1 + rng.IntN(12_000))}
		c := &caller{t: t, s: onDisk(d, opt), recs: sinktest.Records(sinktest.Tenants[0], 1, 60)}
		back := *c // the ledger as it is backed up
		at := rng.IntN(50)
		for c.done < 55 {
			if c.done <= at {
				back = *c
			}
			if err := c.next(1 + rng.IntN(8)); err != nil {
				t.Fatal(err)
			}
		}
		re += c.done - back.done
		// What it reads again is in other batches and has other bytes.
		back.s = onDisk(d, opt)
		back.recs = slices.Clone(c.recs)
		for i := back.done; i < len(back.recs); i++ {
			back.recs[i] = sinktest.Reborn(sinktest.Tenants[0], i+1)
		}
		for back.done < len(back.recs) {
			if err := back.next(1 + rng.IntN(9)); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(4) == 0 {
				back.s = onDisk(d, opt) // and it starts again in between
			}
		}
		gone, again := back.counts(d)
		runs, lost, repeated = runs+1, lost+gone, repeated+again
	}
	if lost > 0 || repeated > 0 {
		t.Errorf("lost %d, repeated %d", lost, repeated)
	}
	proof.Ran(t, "S23", "%d ledgers set back, %d records delivered anew: lost %d, repeated %d", runs, re, lost, repeated)
}

func TestWhatSomebodyElseDidIsLeftAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(n *inode)
		says string
	}{
		"a line was added":            {func(n *inode) { n.data = append(n.data, "by hand\n"...) }, "changed by someone else"},
		"the file was cut":            {func(n *inode) { n.data = n.data[:len(n.data)-40] }, "was written and fsynced up to"},
		"the file was emptied":        {func(n *inode) { n.data = nil }, "was written and fsynced up to"},
		"an editor changed its lines": {func(n *inode) { copy(n.data, "edited"); n.data = append(n.data, "{}\n"...) }, "changed by someone else"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newMemDisk(nil)
			c := &caller{t: t, s: onDisk(d, Options{}), recs: sinktest.Records(sinktest.Tenants[0], 1, 10)}
			if err := c.next(4); err != nil {
				t.Fatal(err)
			}
			n := d.live[c.s.Lane(sinktest.Tenants[0])]
			tt.do(n)
			before := string(n.data)
			err := c.next(4)
			if drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), tt.says) || drover.HintOf(err) == "" || string(n.data) != before || c.done != 4 {
				t.Errorf("%d done, changed %t, %v", c.done, string(n.data) != before, err)
			}
			// The hint says to move it away.
			delete(d.live, c.s.Lane(sinktest.Tenants[0]))
			c.rest(4)
		})
	}
}

func TestADirectoryThatIsGoneIsNotMadeAnew(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Root: filepath.Join(dir, "out"), Path: "{customer}/{tenant}.ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c := &caller{t: t, s: s, recs: sinktest.Records(sinktest.Tenants[0], 1, 10)}
	if err := c.next(4); err != nil {
		t.Fatal(err)
	}
	customer := filepath.Join(dir, "out", string(sinktest.Tenants[0].Customer))
	if err := os.Rename(customer, filepath.Join(dir, "unmounted")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.next(4); drover.KindOf(err) != drover.Denied || !strings.Contains(drover.HintOf(err), "bring it back") {
			t.Fatalf("without its directory: %v", err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "unmounted"), customer); err != nil {
		t.Fatal(err)
	}
	c.rest(4)
	ids, err := readDir(filepath.Join(dir, "out"), s.Lane(sinktest.Tenants[0]))
	if err != nil || !slices.Equal(ids, sinktest.IDs(c.recs)) {
		t.Errorf("%d records, %v", len(ids), err)
	}
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Root: dir}); drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
		t.Errorf("a second one: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := New(Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
}

// nasty are pieces of names that lead elsewhere.
var nasty = []string{"..", "../", "/", "//", "\\", "\x00", ".", ".drover.lock", "~", "C:", "CON", "NUL", "é", "\u202e", "\n", "\x1b[2J", strings.Repeat("a", 300), "{tenant}", "{", "}", "%2e%2e", "a", "B", "-", "_", "0"}

//citest:plain one name after the other
func TestNoNameLeadsOutOfTheRoot(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	word := func() string {
		var b strings.Builder
		for range 1 + rng.IntN(4) {
			b.WriteString(nasty[rng.IntN(len(nasty))])
		}
		return b.String()
	}
	s := onDisk(newMemDisk(nil), Options{Path: "{customer}/{name}/{tenant}-{source}-{sink}.ndjson", Sink: drover.SinkID(word())})
	owner := make(map[string]string)
	names, outside, shared := 0, 0, 0
	for range 100_000 {
		t := drover.Tenant{ID: drover.TenantID(word()), Name: word(), Customer: drover.CustomerID(word())}
		src := drover.SourceID(word())
		lane := s.Lane(t)
		name := fileOf(lane, src)
		names++
		if config.CheckPath(name) != nil || !filepath.IsLocal(name) || strings.Count(name, "/") != 2 {
			outside++
		}
		who := fmt.Sprintf("%q", []string{string(t.ID), t.Name, string(t.Customer), string(src)})
		if other, ok := owner[name]; ok && other != who {
			shared++
		}
		owner[name] = who
	}
	if outside > 0 || shared > 0 {
		t.Errorf("%d names lead out of the root, %d are two tenants'", outside, shared)
	}
	templates := []string{"", "/etc/{tenant}", "../{tenant}", "{tenant}/../../x", "a//b", "{title}", "{tenant}/{alert}", "{Tenant}", "{tenant", "tenant}", "{}", "a\x00b", "a\\b", "./a", "a/.", ".hidden", "a/.b/c", "a/", strings.Repeat("a", 201), "a\nb"}
	accepted := 0
	for _, p := range templates {
		if config.CheckPath(p) == nil {
			t.Errorf("%q is taken as a path", p)
			accepted++
		}
	}
	proof.Ran(t, "U09", "files outside the root %d of %d names, shared by two tenants %d; bad templates accepted %d of %d", outside, names, shared, accepted, len(templates))
}

func TestALinkInTheTreeIsNotFollowed(t *testing.T) {
	contoso, fabrikam := sinktest.Tenants[0], sinktest.Tenants[1]
	outside := t.TempDir()
	cases := map[string]func(root string) error{
		"the customer's directory leads out": func(root string) error { return os.Symlink(outside, filepath.Join(root, string(contoso.Customer))) },
		"the customer's directory is another's": func(root string) error {
			return errors.Join(os.MkdirAll(filepath.Join(root, string(fabrikam.Customer)), 0o700), os.Symlink(string(fabrikam.Customer), filepath.Join(root, string(contoso.Customer))))
		},
		"the file leads out": func(root string) error {
			dir := filepath.Join(root, string(contoso.Customer))
			return errors.Join(os.MkdirAll(dir, 0o700), os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, string(contoso.ID)+".ndjson")))
		},
		"the file is another's": func(root string) error {
			dir := filepath.Join(root, string(contoso.Customer))
			return errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(root, "other"), nil, 0o600), os.Symlink("../other", filepath.Join(dir, string(contoso.ID)+".ndjson")))
		},
		"the file is a pipe": func(root string) error {
			dir := filepath.Join(root, string(contoso.Customer))
			return errors.Join(os.MkdirAll(dir, 0o700), syscall.Mkfifo(filepath.Join(dir, string(contoso.ID)+".ndjson"), 0o600))
		},
	}
	for name, plant := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := plant(root); err != nil {
				t.Fatal(err)
			}
			s, err := New(Options{Root: root})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			taken, err := s.Deliver(t.Context(), sinktest.Batch(s.Lane(contoso), sinktest.Records(contoso, 1, 3), nil))
			if taken.N > 0 || drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
				t.Errorf("%d records done, %v", taken.N, err)
			}
			written := 0
			for _, dir := range []string{root, outside} {
				_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error { // what cannot be read was not written
					if info, ierr := os.Lstat(path); ierr == nil && info.Mode().IsRegular() && info.Size() > 0 {
						written++
					}
					return nil
				})
			}
			if written > 0 {
				t.Errorf("%d files were written", written)
			}
		})
	}
	files, err := os.ReadDir(outside)
	if err != nil {
		t.Fatal(err)
	}
	proof.Ran(t, "U09", "%d kinds of links and pipes in the tree: files outside the root %d", len(cases), len(files))
}
