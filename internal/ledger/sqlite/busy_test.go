package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
)

// TestABusyFileIsWaitedFor: somebody else's tool holds the file's write lock for
// a second while 64 writers want it (reference faults S19).
func TestABusyFileIsWaitedFor(t *testing.T) {
	t.Parallel()
	const writers, held = 64, time.Second
	dir := t.TempDir()
	openVault(t, filepath.Join(dir, "vault"))
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	db, err := sql.Open("sqlite", file(dir, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	feeds := make([]*feeder, writers)
	for i := range feeds {
		if feeds[i], err = newFeeder(s, drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), fmt.Sprint("t", i)); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
		t.Fatal(err)
	}
	var failures, early atomic.Int64
	var free atomic.Bool
	var wg sync.WaitGroup
	for _, f := range feeds {
		wg.Go(func() {
			if err := f.commit(3, 500); err != nil {
				failures.Add(1)
				t.Errorf("commit: %v", err)
			}
			if !free.Load() {
				early.Add(1)
			}
		})
	}
	time.Sleep(held) // the fault itself: nobody can be told when it is over
	free.Store(true)
	if _, err := tx.ExecContext(t.Context(), `ROLLBACK`); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if early.Load() > 0 {
		t.Errorf("%d commits while somebody else held the lock", early.Load())
	}
	proof.Ran(t, "S19", "%d writers while somebody else held the file for %s: failures surfaced %d", writers, held, failures.Load())
}

// TestADripWritesWhatItMust: many tenants, few rows, mostly empty reads, which
// write nothing. It prints what a row costs (reference faults S25).
func TestADripWritesWhatItMust(t *testing.T) {
	const seconds, perSecond = 60, 3
	tenants := 10_000
	if raced {
		tenants = 500 // the race detector makes each of them twenty times as slow
	}
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault")), Clock: func() time.Time { return storyTime }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx := context.Background()
	feeds := make([]ledger.FeedState, tenants)
	parallel(t, tenants, func(i int) error {
		id := drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
		if err := s.AddTenant(ctx, ledgertest.Tenant(id, fmt.Sprint("t", i))); err != nil {
			return err
		}
		var err error
		feeds[i], err = s.Take(ctx, ledgertest.FeedOf(id))
		return err
	})
	var commits atomic.Int64
	disarm := fault.Arm(func(at string) {
		if at == fault.LedgerAfterCommit {
			commits.Add(1)
		}
	})
	defer disarm()
	rows := newBenchRows()
	n := 0
	bytesBefore := written(t)
	for range seconds {
		var wg sync.WaitGroup
		for range perSecond { // those of a second come together
			f := &feeds[n*7919%tenants]
			revs, through := rows.take(1), rows.time()
			n++
			wg.Go(func() {
				if _, err := s.Commit(ctx, ledger.Commit{Feed: f.Feed, Epoch: f.Epoch, Revisions: revs, Whole: drover.NoInstant, Cursor: &drover.Cursor{Source: f.Feed.Source, Version: 1, Through: through}}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	fsyncs, size := commits.Load(), written(t)-bytesBefore
	parallel(t, tenants, func(i int) error { // a round of empty reads
		_, err := s.Commit(ctx, ledger.Commit{Feed: feeds[i].Feed, Epoch: feeds[i].Epoch, Whole: drover.NoInstant})
		return err
	})
	empty := commits.Load() - fsyncs
	whole := make(map[drover.Feed]drover.Instant, tenants)
	for _, f := range feeds {
		whole[f.Feed] = drover.InstantOf(storyTime)
	}
	if err := s.Flush(ctx, whole); err != nil {
		t.Fatal(err)
	}
	flush := commits.Load() - fsyncs - empty
	if empty != 0 || flush != 1 || fsyncs > int64(n) {
		t.Errorf("%d commits for %d rows, %d for %d empty reads, %d for a flush", fsyncs, n, empty, tenants, flush)
	}
	proof.Ran(t, "S25", "%d tenants, %d rows of 6 KB at %d a second: %.2f fsyncs and %d bytes written a row; %d empty reads: commits %d; when all were read whole: commits %d",
		tenants, n, perSecond, float64(fsyncs)/float64(n), size/int64(n), tenants, empty, flush)
}

// parallel does n things, 64 at a time.
func parallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, 64)
	for w := range errs {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[w] == nil; i = int(next.Add(1)) - 1 {
				errs[w] = do(i)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// written is how many bytes this process has written to files so far.
func written(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n int64
		if _, err := fmt.Sscanf(line, "wchar: %d", &n); err == nil {
			return n
		}
	}
	t.Fatal("the system does not say how much was written")
	return 0
}
