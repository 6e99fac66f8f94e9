package sqlite_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// contendChild tries to have the ledger, again and again, and says from when to
// when it had it.
func contendChild(dir string) error {
	for range 60 {
		s, err := openStory(dir)
		if errors.Is(err, ledger.ErrLocked) {
			fmt.Println("refused 0 0")
			time.Sleep(time.Millisecond) // let the others; nothing depends on it
			continue
		}
		if err != nil {
			return err
		}
		from := time.Now().UnixNano()
		_, err = advance(s, ledgertest.FeedOf(tenantA))
		to := time.Now().UnixNano()
		if err = errors.Join(err, s.Close()); err != nil {
			return err
		}
		fmt.Println("had", from, to)
	}
	return nil
}

// TestTwoProcessesNeverWrite: of many processes that want a ledger one has it at
// a time (reference faults S08).
func TestTwoProcessesNeverWrite(t *testing.T) {
	t.Parallel()
	dir, _ := soundLedger(t)
	type span struct{ from, to int64 }
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		had     []span
		refused int
	)
	for range 4 {
		wg.Go(func() {
			out, err := spawn(t, "contend", dir, "").Output()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				var what string
				var s span
				_, _ = fmt.Sscanf(line, "%s %d %d", &what, &s.from, &s.to)
				switch what {
				case "had":
					had = append(had, s)
				case "refused":
					refused++
				}
			}
		})
	}
	wg.Wait()
	slices.SortFunc(had, func(a, b span) int { return int(a.from - b.from) })
	var both time.Duration
	for i := 1; i < len(had); i++ {
		both += time.Duration(max(0, had[i-1].to-had[i].from))
	}
	if len(had) == 0 || refused == 0 || both > 0 {
		t.Errorf("had %d times, refused %d times, by two at once for %s", len(had), refused, both)
	}
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	st, err := s.Take(t.Context(), ledgertest.FeedOf(tenantA))
	if err != nil {
		t.Fatal(err)
	}
	before := uint64(4 * rowsPerCommit) // what the story committed
	if got := st.Head - before; got != uint64(len(had)*rowsPerCommit) {
		t.Errorf("%d revisions of %d commits", got, len(had))
	}
	proof.Ran(t, "S08", "4 processes had one ledger %d times in turn and were refused it %d times: both writing for %s", len(had), refused, both)
}

// TestNetworkFileSystemsAreRefused, because locks and fsync cannot be relied on
// there, unless somebody says that they can (reference faults S08).
func TestNetworkFileSystemsAreRefused(t *testing.T) {
	dir := t.TempDir()
	opt := sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault"))}
	for fs := range sqlite.NetworkFS {
		undo := sqlite.PretendFS(fs)
		_, err := sqlite.Open(t.Context(), opt)
		if err == nil || !strings.Contains(err.Error(), "network file system") {
			t.Errorf("%s: %v", sqlite.NetworkFS[fs], err)
		}
		forced := opt
		forced.AllowNetworkFS = true
		s, err := sqlite.Open(t.Context(), forced)
		undo()
		if err != nil {
			t.Fatalf("%s, forced: %v", sqlite.NetworkFS[fs], err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFilesThatAreTakenAwayEndIt: SQLite would go on writing to files without a
// name. Nothing is answered that whoever comes next would not find (reference
// faults S06, S08).
func TestFilesThatAreTakenAwayEndIt(t *testing.T) {
	t.Parallel()
	cases, answered := 0, 0
	for what, take := range map[string]func(dir string) error{
		"the directory is removed": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "ledger")) },
		"the directory is moved": func(dir string) error {
			return os.Rename(filepath.Join(dir, "ledger"), filepath.Join(dir, "elsewhere"))
		},
		"the file is removed": func(dir string) error { return os.Remove(file(dir, sqlite.FileName)) },
		"the log is removed":  func(dir string) error { return os.Remove(file(dir, sqlite.FileName+"-wal")) },
		"the lock is removed": func(dir string) error { return os.Remove(file(dir, sqlite.LockName)) },
		"the lock is exchanged": func(dir string) error {
			return errors.Join(os.WriteFile(file(dir, "new"), nil, 0o600), os.Rename(file(dir, "new"), file(dir, sqlite.LockName)))
		},
	} {
		dir, _ := soundLedger(t)
		s, err := openStory(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := take(dir); err != nil {
			t.Fatal(err)
		}
		cases++
		f := ledgertest.FeedOf(tenantA)
		_, err = advance(s, f)
		if err == nil {
			answered++
		}
		if drover.KindOf(err) != drover.Broken || drover.HintOf(err) == "" {
			t.Errorf("%s: a commit: %v", what, err)
		}
		if err := s.Ready(t.Context()); drover.KindOf(err) != drover.Broken {
			t.Errorf("%s: afterwards: %v", what, err)
		}
		_ = s.Close()
	}
	proof.Ran(t, "S06", "files taken away in %d ways under a running ledger: commits answered afterwards %d", cases, answered)
}
