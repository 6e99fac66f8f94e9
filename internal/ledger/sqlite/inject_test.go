package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
)

// faultyRounds is how long the child of an injection works.
const faultyRounds = 4

// faultyChild works on the ledger while the system fails calls of it. It says
// what was answered, and what it met: once the ledger is broken, everything
// after it is answered with that; when it was only full, it heals.
func faultyChild(dir string) error {
	ctx := context.Background()
	met := func(err error) bool { // whether it goes on
		switch {
		case errors.Is(err, ledger.ErrFull):
			fmt.Println("met full 0")
		case drover.KindOf(err) == drover.Broken && drover.HintOf(err) != "":
			fmt.Println("met broken 0")
			return false
		default:
			fmt.Println("met odd 0", err)
			return false
		}
		return true
	}
	var s *sqlite.Store
	for s == nil {
		var err error
		if s, err = openStory(dir); err != nil && !met(err) {
			return nil
		}
	}
	f := ledgertest.FeedOf(tenantA)
	settled := uint64(0)
	steps := []func() error{
		func() error {
			last, err := advance(s, f)
			if err == nil {
				fmt.Println("committed", tenantA, last)
			}
			return err
		},
		func() error {
			p, err := s.Place(ctx, "s", f)
			if err != nil {
				return err
			}
			if p.Seq == p.Head {
				return nil
			}
			done := []drover.Range{{Feed: f, First: p.Seq + 1, Last: min(p.Seq+40, p.Head)}}
			if err = s.Settle(ctx, ledger.Settle{Sink: "s", Lane: "l", Done: done, Taken: int(done[0].Last - p.Seq)}); err == nil {
				settled = done[0].Last
				fmt.Println("settled", tenantA, settled)
			}
			return err
		},
		func() error { _, err := s.After(ctx, f, settled, 10, 1<<20); return err },
		func() error {
			_, err := s.Prune(ctx, ledger.PruneOrder{Now: drover.InstantOf(storyTime.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour, Confirmed: true})
			return err
		},
	}
	for range faultyRounds {
		for _, step := range steps {
			for err := step(); err != nil; err = step() {
				if !met(err) {
					// Whatever comes now must be told the same.
					for _, step := range append(steps, s.Close) {
						if err := step(); drover.KindOf(err) != drover.Broken {
							fmt.Println("met odd 0 after it was broken:", err)
						}
					}
					return nil
				}
			}
		}
	}
	if err := s.Close(); err != nil {
		met(err)
	}
	return nil
}

// injection is a call that the system fails.
type injection struct {
	calls, with string
	times       int // in a row; 0: from then on
	first, step int // which calls
	may         string
}

// injected is what became of all runs of an injection.
type injected struct {
	mu         sync.Mutex
	runs       int
	hit        int // runs in which a call was failed
	full       int // runs that were told of a lack of space
	broken     int // runs that were ended
	afterwards int // answers after that
	touched    int // calls on the files after that
	lost       int // runs that left less than they had said, or something by half
}

// inject runs a child on copies of a ledger, each time with another call that
// fails, and opens what it left.
func inject(t *testing.T, sound string, in injection) *injected {
	t.Helper()
	out := &injected{}
	slots := make(chan struct{}, 3)
	var wg sync.WaitGroup
	for n := range 8 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			at := in.first + n*in.step
			when := fmt.Sprintf("%d+", at)
			if in.times > 0 {
				when = fmt.Sprintf("%d..%d", at, at+in.times-1)
			}
			out.one(t, copyOf(t, sound), fmt.Sprintf("%s:error=%s:when=%s", in.calls, in.with, when), in.may)
		})
	}
	wg.Wait()
	return out
}

func (o *injected) one(t *testing.T, dir, inject, may string) {
	log := filepath.Join(t.TempDir(), "calls")
	cmd := spawn(t, "faulty", dir, "")
	cmd.Args = append([]string{"strace", "-f", "-qq", "-y", "-e", "signal=none", "-e", "trace=pwrite64,pread64,fsync,fdatasync,ftruncate", "-P", file(dir, sqlite.FileName), "-P", file(dir, sqlite.FileName+"-wal"),
		"-o", log, "-e", "inject=" + inject, cmd.Path}, cmd.Args[1:]...)
	var err error
	if cmd.Path, err = exec.LookPath("strace"); err != nil {
		t.Error(err)
		return
	}
	text, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v: %s", inject, err, text)
		return
	}
	said := make(map[string]uint64)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs++
	full, broken := 0, 0
	for line := range strings.Lines(string(text)) {
		var what, id string
		var seq uint64
		if n, _ := fmt.Sscanf(line, "%s %s %d", &what, &id, &seq); n < 3 {
			t.Errorf("%s: the child said %q", inject, line)
		}
		switch {
		case what == "met" && id == "full":
			full++
		case what == "met" && id == "broken":
			broken++
		case what == "met":
			t.Errorf("%s: %s", inject, line)
		case broken > 0:
			o.afterwards++
			t.Errorf("%s: answered after the error: %s", inject, line)
		default:
			said[what+" "+id] = seq
		}
	}
	calls, err := os.ReadFile(log)
	if err != nil {
		t.Error(err)
		return
	}
	hit := false
	for line := range strings.Lines(string(calls)) {
		if strings.Contains(line, "<detached ...>") {
			continue // strace let go of a thread that had ended: no call
		}
		failed := strings.Contains(line, "(INJECTED)")
		if changes := !strings.Contains(line, "pread64("); hit && changes && !failed && broken > 0 && !strings.HasPrefix(inject, "pread64") {
			o.touched++
			t.Errorf("%s: the files were touched after the error: %s", inject, line)
		}
		hit = hit || failed
	}
	if hit {
		o.hit++
	}
	if full > 0 {
		o.full++
	}
	if broken > 0 {
		o.broken++
	}
	if !hit && full+broken > 0 || broken > 0 && may != "broken" {
		t.Errorf("%s: hit %t, full %d, broken %d times", inject, hit, full, broken)
	}
	if err := judge(dir, said); err != nil {
		o.lost++
		t.Errorf("%s: what it left: %v", inject, err)
	}
}

// preparedLedger is a sound ledger whose story can go on under injections.
func preparedLedger(t *testing.T) string {
	t.Helper()
	dir, _ := soundLedger(t)
	return dir
}

func mayInject(t *testing.T, id string) {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err == nil {
		err = exec.Command(path, "-qq", "-o", os.DevNull, "true").Run()
	}
	if err != nil {
		proof.NotHere(t, id, "strace: %v", err)
	}
}

// TestAFailingDiskEndsIt: after an error on writing, fsync or reading nothing is
// answered and nothing is written or fsynced any more; what was answered before
// it is there (reference faults S05).
//
//citest:plain one child after the other, traced
func TestAFailingDiskEndsIt(t *testing.T) {
	mayInject(t, "S05")
	dir := preparedLedger(t)
	var hit, broken, afterwards, touched, lost int
	for _, in := range []injection{
		{calls: "fsync,fdatasync", with: "EIO", times: 1, first: 1, step: 1, may: "broken"},
		{calls: "pwrite64", with: "EIO", times: 1, first: 1, step: 9, may: "broken"},
		{calls: "pread64", with: "EIO", first: 2, step: 7, may: "broken"},
	} {
		o := inject(t, dir, in)
		t.Logf("%s %s: %d runs, %d hit, %d broken", in.calls, in.with, o.runs, o.hit, o.broken)
		if o.hit < o.runs/3 || o.broken < o.hit/2 {
			t.Errorf("%s: %d of %d runs met an error, %d were broken by it", in.calls, o.hit, o.runs, o.broken)
		}
		hit, broken, afterwards, touched = hit+o.hit, broken+o.broken, afterwards+o.afterwards, touched+o.touched
		lost += o.lost
	}
	proof.Ran(t, "S05", "%d runs with an error of fsync, write or read, %d ended by it: answered after the error %d, calls on the files after one of writing %d, runs that lost what was said %d", hit, broken, afterwards, touched, lost)
}

// TestADiskThatTurnsReadOnlyEndsIt (reference faults S06).
//
//citest:plain one child after the other, traced
func TestADiskThatTurnsReadOnlyEndsIt(t *testing.T) {
	mayInject(t, "S06")
	dir := preparedLedger(t)
	var hit, broken, afterwards, lost int
	for _, in := range []injection{
		{calls: "pwrite64,ftruncate", with: "EROFS", first: 1, step: 9, may: "broken"},
		{calls: "pwrite64,ftruncate", with: "EACCES", first: 5, step: 9, may: "broken"},
	} {
		o := inject(t, dir, in)
		t.Logf("%s %s: %d runs, %d hit, %d broken", in.calls, in.with, o.runs, o.hit, o.broken)
		if o.hit < o.runs/3 || o.broken < o.hit {
			t.Errorf("%s: %d of %d runs met an error, %d were broken by it", in.with, o.hit, o.runs, o.broken)
		}
		hit, broken, afterwards, lost = hit+o.hit, broken+o.broken, afterwards+o.afterwards, lost+o.lost
	}
	proof.Ran(t, "S06", "%d runs in which the disk turned read-only or refused us, %d ended by it with a hint: answered after it %d, runs that lost what was said %d", hit, broken, afterwards, lost)
}

// TestADiskFullAtAnyWritePasses: no write that finds no space ends it; it goes on
// without a restart, and nothing that was answered is lost (reference faults S04).
//
//citest:plain one child after the other, traced
func TestADiskFullAtAnyWritePasses(t *testing.T) {
	mayInject(t, "S04")
	dir := preparedLedger(t)
	o := inject(t, dir, injection{calls: "pwrite64", with: "ENOSPC", times: 4, first: 1, step: 11})
	t.Logf("%d runs, %d hit, %d full", o.runs, o.hit, o.full)
	if o.hit < o.runs/3 || o.full == 0 {
		t.Errorf("%d of %d runs found no space, %d were told", o.hit, o.runs, o.full)
	}
	proof.Ran(t, "S04", "%d runs with no space at some write, %d told of it, ended by it %d, the others healed without a restart; runs that lost what was said %d", o.hit, o.full, o.broken, o.lost)
}
