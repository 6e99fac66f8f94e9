package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
	"drover/internal/vault"
)

// The tests here run this test program once more, as a child that is killed.
const (
	childEnv = "DROVER_TEST_LEDGER_CHILD" // which part the child plays
	dirEnv   = "DROVER_TEST_LEDGER_DIR"
	pointEnv = "DROVER_TEST_LEDGER_POINT" // "7": the seventh failpoint; "ledger.migrate 3": the third of that name
)

var children = map[string]func(dir string) error{"story": storyChild, "hold": holdChild, "migrate": migrateChild, "write": writeChild, "full": fullChild, "faulty": faultyChild, "contend": contendChild, "prune": pruneChild, "rotate": rotateChild}

func TestMain(m *testing.M) {
	if play := children[os.Getenv(childEnv)]; play != nil {
		armKill(os.Getenv(pointEnv))
		if err := play(os.Getenv(dirEnv)); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(inMemory(m))
}

// inMemory runs the tests on a disk in memory if there is a large one: what they
// judge is what a process leaves, and the fsyncs of some thousand ledgers take
// minutes on a disk. Benchmarks stay on the disk.
func inMemory(m *testing.M) int {
	const enough = 1 << 30
	flag.Parse()
	var st syscall.Statfs_t
	if flag.Lookup("test.bench").Value.String() == "" && syscall.Statfs("/dev/shm", &st) == nil && int64(st.Bavail)*st.Bsize > enough {
		if dir, err := os.MkdirTemp("/dev/shm", "drover-ledger-"); err == nil {
			defer func() { _ = os.RemoveAll(dir) }()
			_ = os.Setenv("TMPDIR", dir)
		}
	}
	return m.Run()
}

// armKill kills this process at a failpoint, as a power cut would.
func armKill(point string) {
	if point == "" {
		return
	}
	var name string
	var nth int64
	if _, err := fmt.Sscanf(point, "%s %d", &name, &nth); err != nil {
		name = ""
		_, _ = fmt.Sscan(point, &nth)
	}
	var seen atomic.Int64
	fault.Arm(func(at string) {
		if (name == "" || name == at) && seen.Add(1) == nth {
			fmt.Println("killed:", at)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
}

// spawn prepares a child.
func spawn(t testing.TB, part, dir, point string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+part, dirEnv+"="+dir, pointEnv+"="+point)
	cmd.Stderr = os.Stderr
	return cmd
}

var storyTime = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

const (
	tenantA = drover.TenantID("00000000-0000-4000-8000-00000000000a")
	tenantB = drover.TenantID("00000000-0000-4000-8000-00000000000b")
)

// openStory opens the ledger of the story; its clock stands still.
func openStory(dir string) (*sqlite.Store, error) {
	v, err := keyOf(filepath.Join(dir, "vault"))
	if err != nil {
		return nil, err
	}
	return openWith(dir, v)
}

func openWith(dir string, v *vault.Vault) (*sqlite.Store, error) {
	return sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: v, Place: "test", Clock: func() time.Time { return storyTime }})
}

// rowsPerCommit makes two blocks a commit, one of them short.
const rowsPerCommit = 70

// throughOf is the cursor that goes with a head: rows and cursor move in one
// step, so the one follows from the other.
func throughOf(head uint64) drover.Instant {
	return drover.InstantOf(storyTime).Add(time.Duration(head) * time.Second)
}

// advance commits the next rows of a feed.
func advance(s *sqlite.Store, f drover.Feed) (uint64, error) {
	ctx := context.Background()
	st, err := s.Take(ctx, f)
	if err != nil {
		return 0, err
	}
	first, last := int(st.Head)+1, int(st.Head)+rowsPerCommit
	out, err := s.Commit(ctx, ledger.Commit{Feed: f, Epoch: st.Epoch, Revisions: ledgertest.Revisions(first, last), Whole: throughOf(uint64(last)),
		Cursor: &drover.Cursor{Source: f.Source, Version: 1, Through: throughOf(uint64(last))}})
	return out.Last, err
}

// story is a ledger's life in short. Every line said is durable by then.
func story(dir string, say func(format string, args ...any)) error {
	ctx := context.Background()
	for round := range 2 {
		s, err := openStory(dir)
		if err != nil {
			return err
		}
		if err := s.Sinks(ctx, []ledger.SinkPlace{{Sink: "s", FromAll: true}}); err != nil {
			return err
		}
		if round == 0 {
			for id, name := range map[drover.TenantID]string{tenantA: "a", tenantB: "b"} {
				if err := s.AddTenant(ctx, ledgertest.Tenant(id, name)); err != nil {
					return err
				}
			}
		}
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, id := range []drover.TenantID{tenantA, tenantB} {
			if round > 0 && id == tenantB {
				continue
			}
			wg.Go(func() {
				for range 2 {
					last, err := advance(s, ledgertest.FeedOf(id))
					if err != nil {
						errs[i] = err
						return
					}
					say("committed %s %d", id, last)
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
		done := []drover.Range{{Feed: ledgertest.FeedOf(tenantA), First: uint64(round)*rowsPerCommit + 1, Last: uint64(round+1) * rowsPerCommit}}
		if err := s.Claim(ctx, ledger.Attempt{Sink: "s", Lane: "l", Ranges: done}); err != nil {
			return err
		}
		if err := s.Settle(ctx, ledger.Settle{Sink: "s", Lane: "l", Done: done, Taken: rowsPerCommit - 1, Close: true, Mark: []byte{byte(round)},
			Aside: []ledger.Aside{{Feed: done[0].Feed, Reason: "refused", Seq: done[0].First, EventID: fmt.Sprint(round)}}}); err != nil {
			return err
		}
		say("settled %s %d", tenantA, done[0].Last)
		if _, err := s.Prune(ctx, ledger.PruneOrder{Now: drover.InstantOf(storyTime.AddDate(0, 0, 100)), Bodies: 90 * 24 * time.Hour, Slice: 30}); err != nil {
			return err
		}
		if round == 0 {
			if err := s.RemoveTenant(ctx, tenantB); err != nil {
				return err
			}
			say("removed %s 0", tenantB)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

func storyChild(dir string) error {
	return story(dir, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
}

// TestKilledAnywhere kills a process at every failpoint of a ledger's life and
// opens what it left: all that was said is there, nothing is there by half,
// and life goes on without help (reference faults S01, S18, I7, I9, I11).
//
//citest:plain one killed child after the other
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	hit := make(map[string]int)
	promises, broken := 0, 0
	var next atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !over.Load() && !t.Failed() {
				n := int(next.Add(1))
				at, said, whole := killedAt(t, n)
				if at == "" {
					over.Store(true)
					return
				}
				mu.Lock()
				hit[at]++
				promises += said
				if !whole {
					broken++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total := 0
	for _, name := range []string{fault.LedgerBegin, fault.LedgerStep, fault.LedgerBeforeCommit, fault.LedgerAfterCommit, fault.LedgerCreate, fault.LedgerMigrate, fault.LedgerPrune} {
		if hit[name] == 0 {
			t.Errorf("never killed at %s", name)
		}
		total += hit[name]
	}
	t.Logf("points=%d %v", total, hit)
	if promises < total {
		t.Errorf("%d promises at %d points: the story says too little", promises, total)
	}
	for _, id := range []string{"S01", "I7", "I11"} {
		proof.Ran(t, id, "killed at each of %d failpoints of %d names, %d answers before: ledgers that lost one, or hold a step by half, %d", total, len(hit), promises, broken)
	}
}

// killedAt runs the story to the n-th failpoint, judges, and returns where
// that was, "" if the story ended before, how much had been answered by then,
// and whether all of it is there.
func killedAt(t *testing.T, n int) (at string, promises int, whole bool) {
	dir := t.TempDir()
	if _, err := keyOf(filepath.Join(dir, "vault")); err != nil {
		t.Error(err)
		return "", 0, false
	}
	out, err := spawn(t, "story", dir, fmt.Sprint(n)).Output()
	said := make(map[string]uint64)
	for line := range strings.Lines(string(out)) {
		var what, id string
		var seq uint64
		if _, err := fmt.Sscanf(line, "killed: %s", &at); err == nil {
			continue
		}
		if _, err := fmt.Sscanf(line, "%s %s %d", &what, &id, &seq); err != nil || what == "error:" {
			t.Errorf("point %d: the child said %q", n, line)
			return at, promises, false
		}
		promises++
		said[what+" "+id] = seq
	}
	if at == "" && err != nil {
		t.Errorf("point %d: %v", n, err)
	}
	if err := judge(dir, said); err != nil {
		t.Errorf("point %d, %s: %v", n, at, err)
		return at, promises, false
	}
	return at, promises, true
}

// judge opens what a killed process left.
func judge(dir string, said map[string]uint64) error {
	ctx := context.Background()
	s, err := openStory(dir)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if found, err := s.Check(ctx); err != nil || len(found) > 0 {
		return fmt.Errorf("check: %v, %w", found, err)
	}
	feeds, err := s.Feeds(ctx)
	if err != nil {
		return err
	}
	heads := make(map[drover.TenantID]uint64)
	for _, st := range feeds {
		heads[st.Feed.Tenant] = st.Head
		if st.Head > 0 && (st.Cursor.Through != throughOf(st.Head) || st.Whole != throughOf(st.Head)) {
			return fmt.Errorf("feed %s stands at %d and its cursor at %s", st.Feed, st.Head, st.Cursor.Through)
		}
		next := uint64(0)
		for r, err := range s.Revisions(ctx, st.Feed, 1) {
			if errors.Is(err, ledger.ErrNotFound) && st.Feed.Tenant == tenantB {
				break
			}
			if err != nil {
				return err
			}
			if want := ledgertest.Revision(int(r.Seq)); next != 0 && r.Seq != next || string(r.Raw) != string(want.Raw) {
				return fmt.Errorf("revision %d of %s is another, or in the place of %d", r.Seq, st.Feed, next)
			}
			next = r.Seq + 1
		}
	}
	for _, id := range []drover.TenantID{tenantA, tenantB} {
		if heads[id] < said["committed "+string(id)] {
			return fmt.Errorf("tenant %s: %d committed, %d said", id, heads[id], said["committed "+string(id)])
		}
	}
	if want := said["settled "+string(tenantA)]; want > 0 {
		if p, err := s.Place(ctx, "s", ledgertest.FeedOf(tenantA)); err != nil || p.Seq < want {
			return fmt.Errorf("place %d, said %d: %w", p.Seq, want, err)
		}
	}
	if _, gone := said["removed "+string(tenantB)]; gone {
		if _, err := s.After(ctx, ledgertest.FeedOf(tenantB), 0, 1, 0); !errors.Is(err, ledger.ErrNotFound) {
			return fmt.Errorf("bodies of a removed tenant: %w", err)
		}
	}
	// Life goes on.
	if err := s.AddTenant(ctx, ledgertest.Tenant(tenantA, "a")); err != nil && !errors.Is(err, ledger.ErrConflict) {
		return err
	}
	last, err := advance(s, ledgertest.FeedOf(tenantA))
	if err != nil || last != heads[tenantA]+rowsPerCommit {
		return fmt.Errorf("the next commit ends at %d: %w", last, err)
	}
	return s.Close()
}

// holdChild opens the ledger and keeps it until it is killed.
func holdChild(dir string) error {
	s, err := openStory(dir)
	if err != nil {
		return err
	}
	if err := s.AddTenant(context.Background(), ledgertest.Tenant(tenantA, "a")); err != nil {
		return err
	}
	if _, err := advance(s, ledgertest.FeedOf(tenantA)); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// TestSecondProcess: the lock lives as long as the process, and says who has
// it (reference faults S08).
func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	if _, err := keyOf(filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	cmd := spawn(t, "hold", dir, "")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	_, err = openStory(dir)
	if !errors.Is(err, ledger.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d since 20", cmd.Process.Pid)) {
		t.Errorf("opened twice: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := judge(dir, map[string]uint64{"committed " + string(tenantA): rowsPerCommit}); err != nil {
		t.Error(err)
	}
}

var nextSchema = []string{
	`ALTER TABLE feeds ADD COLUMN extra INTEGER NOT NULL DEFAULT 7`,
	`CREATE TABLE extras (n INTEGER PRIMARY KEY)`,
	`INSERT INTO extras SELECT fid FROM feeds`,
	`UPDATE feeds SET extra = 8`,
}

// migrateChild is a newer program.
func migrateChild(dir string) error {
	defer sqlite.AddMigration(nextSchema...)()
	s, err := openStory(dir)
	if err != nil {
		return err
	}
	return s.Close()
}

// TestMigrationKilled: a step is done whole or not at all, and an older
// program refuses what a newer one has changed (reference faults S09, I22).
//
//citest:plain one killed child after the other
func TestMigrationKilled(t *testing.T) {
	t.Parallel()
	unusable := 0
	for n := 1; ; n++ {
		dir := t.TempDir()
		if _, err := keyOf(filepath.Join(dir, "vault")); err != nil {
			t.Fatal(err)
		}
		if err := story(dir, func(string, ...any) {}); err != nil {
			t.Fatal(err)
		}
		out, _ := spawn(t, "migrate", dir, fmt.Sprintf("%s %d", fault.LedgerMigrate, n)).Output()
		if !strings.Contains(string(out), "killed: ") {
			if n != len(nextSchema)+1 || len(out) > 0 {
				t.Errorf("%d points, want one for each statement: %s", n-1, out)
			}
			if _, err := openStory(dir); err == nil || !strings.Contains(err.Error(), "newer drover") {
				t.Errorf("an older program on a newer ledger: %v", err)
			}
			proof.Ran(t, "S09", "a migration killed at each of %d statements: unusable ledgers %d; the older program refuses the newer schema", n-1, unusable)
			return
		}
		if err := judge(dir, nil); err != nil {
			unusable++
			t.Errorf("killed at statement %d: %v", n, err)
		}
	}
}
