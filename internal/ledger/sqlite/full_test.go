package sqlite_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
)

// bulky makes rows that do not compress.
func bulky(first, n, size int) []drover.Revision {
	revs := ledgertest.Revisions(first, first+n-1)
	for i := range revs {
		revs[i].Raw = make([]byte, size)
		_, _ = rand.Read(revs[i].Raw)
		revs[i].Sum = sha256.Sum256(revs[i].Raw)
	}
	return revs
}

// feeder commits bulky rows to one feed.
type feeder struct {
	s     *sqlite.Store
	f     drover.Feed
	epoch drover.Epoch
	n     int
}

func newFeeder(s *sqlite.Store, id drover.TenantID, name string) (*feeder, error) {
	if err := s.AddTenant(context.Background(), ledgertest.Tenant(id, name)); err != nil {
		return nil, err
	}
	f := ledgertest.FeedOf(id)
	st, err := s.Take(context.Background(), f)
	return &feeder{s: s, f: f, epoch: st.Epoch}, err
}

func (f *feeder) commit(rows, size int) error {
	_, err := f.s.Commit(context.Background(), ledger.Commit{Feed: f.f, Epoch: f.epoch, Revisions: bulky(f.n+1, rows, size), Whole: drover.NoInstant})
	if err == nil {
		f.n += rows
	}
	return err
}

func (f *feeder) settle(last int) error {
	return f.s.Settle(context.Background(), ledger.Settle{Sink: "s", Lane: "l", Done: []drover.Range{{Feed: f.f, First: 1, Last: uint64(last)}}, Taken: last})
}

// TestLimit: above the limit reading stops, delivering goes on and frees what
// lets reading go on, without a restart; the feed that fills the ledger stops
// first (reference faults S04, design §4).
func TestLimit(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault")), Limit: 2 << 20, Clock: func() time.Time { return storyTime }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if !s.Created() {
		t.Error("a new ledger is not said to be new")
	}
	if err := s.Sinks(t.Context(), []ledger.SinkPlace{{Sink: "s", FromAll: true}}); err != nil {
		t.Fatal(err)
	}
	loud, err := newFeeder(s, tenantA, "loud")
	if err != nil {
		t.Fatal(err)
	}
	quiet, err := newFeeder(s, tenantB, "quiet")
	if err != nil {
		t.Fatal(err)
	}
	third, err := newFeeder(s, "00000000-0000-4000-8000-00000000000c", "third")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*feeder{quiet, third} {
		if err := f.commit(1, 1000); err != nil {
			t.Fatal(err)
		}
	}
	for err = nil; err == nil; {
		err = loud.commit(10, 5000)
	}
	if !errors.Is(err, ledger.ErrFull) || drover.KindOf(err) == drover.Broken {
		t.Fatalf("beyond the limit: %v", err)
	}
	quietly := 0
	for quiet.commit(1, 2000) == nil {
		quietly++
	}
	if quietly == 0 {
		t.Error("the quiet feed had to stop together with the one that fills the ledger")
	}
	for third.commit(10, 5000) == nil { // up to the limit itself
	}
	if err := s.Ready(t.Context()); !errors.Is(err, ledger.ErrFull) {
		t.Errorf("a full ledger says it is ready: %v", err)
	}
	delivered := 0
	for delivered < loud.n {
		if err := loud.settle(delivered + 10); err != nil {
			t.Fatalf("settle while full: %v", err)
		}
		delivered += 10
	}
	full, err := s.Space(t.Context())
	if err != nil || full.Free != 0 {
		t.Errorf("a full ledger says it has %d bytes left, %v", full.Free, err)
	}
	out, err := s.Prune(t.Context(), ledger.PruneOrder{Now: drover.InstantOf(storyTime.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour})
	if err != nil || out.Bodies == 0 {
		t.Fatalf("prune: %+v, %v", out, err)
	}
	if err := loud.commit(1, 5000); err != nil {
		t.Errorf("after a prune: %v", err)
	}
	space, err := s.Space(t.Context())
	if err != nil || space.Used+space.Free > space.Limit || space.Free == 0 {
		t.Errorf("space: %+v, %v", space, err)
	}
	lost := 0
	for _, f := range []*feeder{loud, quiet, third} {
		st, err := s.Take(t.Context(), f.f)
		if err != nil {
			t.Fatal(err)
		}
		lost += f.n - int(st.Head)
		for r, err := range s.Revisions(t.Context(), f.f, 1) {
			if err != nil || r.Sum != sha256.Sum256(r.Raw) {
				lost++
			}
		}
	}
	if lost != 0 {
		t.Errorf("%d revisions are lost", lost)
	}
	proof.Ran(t, "S04", "at the limit reading stops, %d revisions delivered while full, %d pruned, reading goes on without a restart; lost %d", delivered, out.Bodies, lost)
}

// writeChild is refused a write by the system and tries to go on.
func writeChild(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := openStory(dir)
	if err != nil {
		return err
	}
	f, err := newFeeder(s, tenantA, "a")
	if err != nil {
		return err
	}
	if err := f.commit(10, 5000); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(dir, "ledger", sqlite.FileName+"-wal"))
	if err != nil {
		return err
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(info.Size()) + 10_000, Max: old.Max}); err != nil {
		return err
	}
	if err := f.commit(10, 5000); drover.KindOf(err) != drover.Broken {
		return fmt.Errorf("after a write error: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	ctx := context.Background()
	for what, err := range map[string]error{
		"commit": f.commit(1, 10), "settle": f.settle(1), "ready": s.Ready(ctx), "close": s.Close(),
		"read": func() error { _, err := s.After(ctx, f.f, 0, 1, 0); return err }(), "feeds": func() error { _, err := s.Feeds(ctx); return err }(),
	} {
		if drover.KindOf(err) != drover.Broken {
			return fmt.Errorf("%s on a broken ledger: %w", what, err)
		}
	}
	return nil
}

// TestWriteError: after a write error nothing is written any more, and what
// was answered before it is there (reference faults S05).
func TestWriteError(t *testing.T) {
	dir := t.TempDir()
	openVault(t, filepath.Join(dir, "vault"))
	if out, err := spawn(t, "write", dir, "").Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	revs, err := s.After(t.Context(), ledgertest.FeedOf(tenantA), 0, 100, 1<<20)
	if err != nil || len(revs) != 10 {
		t.Errorf("%d revisions, %v; 10 were answered", len(revs), err)
	}
	if found, err := s.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("check: %v, %v", found, err)
	}
}

// fullChild fills a small volume of its own.
func fullChild(dir string) error {
	const volume = 8 << 20
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", volume)); err != nil {
		fmt.Println("skip:", err)
		return nil
	}
	s, err := openStory(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.Sinks(ctx, []ledger.SinkPlace{{Sink: "s", FromAll: true}}); err != nil {
		return err
	}
	f, err := newFeeder(s, tenantA, "a")
	if err != nil {
		return err
	}
	for err = nil; err == nil; {
		err = f.commit(20, 5000)
	}
	if !errors.Is(err, ledger.ErrFull) {
		return fmt.Errorf("a volume that fills: %w", err)
	}
	// Reading stopped before the last page: deliveries go on.
	for n := 1; n <= 20; n++ {
		if err := f.settle(n); err != nil {
			return fmt.Errorf("settle %d while full: %w", n, err)
		}
	}
	// Now somebody else takes even the rest.
	filler := filepath.Join(dir, "filler")
	if err := fill(filler, 0); err != nil {
		return err
	}
	full, settled := 0, 0
	for n := 21; n < 80; n++ {
		switch err := f.settle(n); {
		case errors.Is(err, ledger.ErrFull):
			full++
		case err != nil:
			return fmt.Errorf("settle with no space at all: %w", err)
		default:
			settled++
		}
		if err := f.commit(5, 5000); !errors.Is(err, ledger.ErrFull) {
			return fmt.Errorf("commit with no space at all: %w", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := f.settle(f.n); err != nil {
		return fmt.Errorf("settle when there is space again: %w", err)
	}
	if _, err := s.Prune(ctx, ledger.PruneOrder{Now: drover.InstantOf(storyTime.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour, Confirmed: true}); err != nil {
		return err
	}
	if err := f.commit(20, 5000); err != nil {
		return fmt.Errorf("commit when there is space again: %w", err)
	}
	if found, err := s.Check(ctx); err != nil || len(found) > 0 {
		return fmt.Errorf("check: %v, %w", found, err)
	}
	// Closed while nothing is left, it can be opened when there is.
	closed := 0
	for left := range 4 {
		if err := fill(filler, left*1500); err != nil {
			return err
		}
		if err := f.settle(f.n); err != nil && !errors.Is(err, ledger.ErrFull) {
			return err
		}
		if err := s.Close(); err != nil && !errors.Is(err, ledger.ErrFull) {
			return fmt.Errorf("close with no space at all: %w", err)
		}
		if err := os.Remove(filler); err != nil {
			return err
		}
		if s, err = openStory(dir); err != nil {
			return fmt.Errorf("open what was closed with no space at all: %w", err)
		}
		st, err := s.Take(ctx, f.f)
		if err != nil || st.Head != uint64(f.n) {
			return fmt.Errorf("%d of %d are there: %w", st.Head, f.n, err)
		}
		f.s, f.epoch = s, st.Epoch
		if err := f.commit(20, 5000); err != nil {
			return err
		}
		closed++
	}
	fmt.Printf("settled=%d full=%d closed=%d revisions=%d\n", settled+20, full, closed, f.n)
	return s.Close()
}

// fill takes what a volume has left, save so many bytes.
func fill(path string, left int) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = out.Write(make([]byte, 4096))
	}
	info, err := out.Stat()
	if err == nil {
		err = out.Truncate(max(0, info.Size()-int64(left)))
	}
	return errors.Join(err, out.Close())
}

// TestVolumeFull: a full volume stops reading first, heals without a restart,
// and loses nothing (reference faults S04).
func TestVolumeFull(t *testing.T) {
	dir := t.TempDir()
	cmd := spawn(t, "full", dir, "")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || strings.HasPrefix(string(out), "skip:") {
		t.Skipf("no volume of our own here: %v %s", err, out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}
