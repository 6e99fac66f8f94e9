// Package power is the rig that cuts the power: a child process commits to a
// ledger and delivers to files under strace, and every directory that a disk
// could hold afterwards is opened and counted (reference faults-and-invariants
// S02, I11, rig R4).
package power

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
	"drover/internal/rig/powercut"
	"drover/internal/sink/file"
	"drover/internal/vault"
)

const (
	childEnv = "DROVER_POWER_CHILD"
	shortEnv = "DROVER_POWER_SHORT" // one cycle, with a prune at its end
	images   = 500
	commits  = 60
	rows     = 7
	// shortCommits make one full cycle: rotation of the file included.
	shortCommits = 2

	// What the file sink puts away, in a long run and in a short one.
	fileBytes, shortBytes = 20_000, 1_000
)

var tenant = drover.Tenant{ID: "00000000-0000-4000-8000-00000000000a", Name: "contoso", Customer: "contoso", App: "default", State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}}

var feed = drover.Feed{Tenant: tenant.ID, Source: drover.GraphAlerts}

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func open(dir string) (*sqlite.Store, error) {
	v, err := vault.Open(vault.Source{File: os.Getenv("DROVER_POWER_KEY")})
	if err != nil {
		return nil, err
	}
	return sqlite.Open(context.Background(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: v, Place: "rig"})
}

type everywhere struct{}

func (everywhere) Routed(drover.Tenant, drover.SourceID, drover.SinkID) bool { return true }
func (everywhere) Generation() uint64                                        { return 1 }

// delivering delivers to files until everything is taken, or f ends.
func delivering(store ledger.Store, dir string, f func(ctx context.Context, d *deliver.Deliverer) error) error {
	s, err := file.New(file.Options{Root: filepath.Join(dir, "out"), Path: "{tenant}.ndjson", MaxBytes: maxBytes()})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	var mu sync.Mutex
	var failed error // the last trouble, to name it when time runs out
	note := func(e deliver.Event) {
		if e.Err != nil {
			mu.Lock()
			failed = e.Err
			mu.Unlock()
		}
	}
	d, err := deliver.New(deliver.Options{Store: store, Routes: everywhere{}, Notify: note, Sinks: []deliver.Destination{{ID: "file", Sink: s, Format: format.JSON{}, FromAll: true, MaxAge: time.Millisecond, MaxRecords: 20}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	err = f(ctx, d)
	cancel()
	err = errors.Join(err, <-done)
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		err = errors.Join(err, failed)
	}
	return err
}

// caughtUp waits until the sink has everything.
func caughtUp(ctx context.Context, store ledger.Store) error {
	for ctx.Err() == nil {
		p, err := store.Place(ctx, "file", feed)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) && drover.KindOf(err) != drover.Broken {
			return err
		}
		if err == nil && p.Seq == p.Head {
			return nil
		}
		t := time.NewTimer(2 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	return errors.New("the sink did not get everything in time")
}

func short() bool { return os.Getenv(shortEnv) != "" }

func maxBytes() int64 {
	if short() {
		return shortBytes
	}
	return fileBytes
}

// child commits and delivers, and says each commit and each place once it was
// told that they are durable.
func child(dir string) error {
	store, err := open(dir)
	if err != nil {
		return err
	}
	if err := store.AddTenant(context.Background(), tenant); err != nil {
		return err
	}
	fmt.Println("TENANT")
	state, err := store.Take(context.Background(), feed)
	if err != nil {
		return err
	}
	err = delivering(store, dir, func(ctx context.Context, d *deliver.Deliverer) error {
		for n := range commits {
			if short() && n == shortCommits {
				break
			}
			var revs []drover.Revision
			for i := range rows {
				revs = append(revs, revision(n*rows+i+1))
			}
			through := revs[len(revs)-1].Changed + 1
			out, err := store.Commit(ctx, ledger.Commit{Feed: feed, Epoch: state.Epoch, Revisions: revs, Whole: drover.NoInstant, Cursor: &drover.Cursor{Source: feed.Source, Version: 1, Through: through}})
			if err != nil {
				return err
			}
			fmt.Println("COMMIT", out.Last)
			d.Hint(feed, rows)
			if p, err := store.Place(ctx, "file", feed); err == nil {
				fmt.Println("PLACE", p.Seq)
			}
		}
		return caughtUp(ctx, store)
	})
	if err == nil && short() {
		year := revision(shortCommits * rows).Changed.Add(400 * 24 * time.Hour)
		var out ledger.Pruned
		if out, err = store.Prune(context.Background(), ledger.PruneOrder{Now: max(year, drover.InstantOf(time.Now()).Add(400*24*time.Hour)), Bodies: 24 * time.Hour, Confirmed: true}); err == nil && out.Bodies == 0 {
			err = errors.New("nothing was pruned")
		}
	}
	return errors.Join(err, store.Close())
}

func revision(n int) drover.Revision {
	raw := fmt.Appendf(nil, `{"id":"a%d","text":"%s"}`, n, strings.Repeat(strconv.Itoa(n), 40))
	at := drover.Instant(n * 10_000_000)
	return drover.Revision{AlertID: fmt.Sprint("a", n), Changed: at, Created: at, Sum: sha256.Sum256(raw), Raw: raw}
}

// record runs the child under strace.
func record(t *testing.T, id string) *powercut.Trace {
	t.Helper()
	if err := powercut.Here(); err != nil {
		proof.NotHere(t, id, "%v", err)
	}
	root := filepath.Join(t.TempDir(), "disk")
	key := filepath.Join(t.TempDir(), "keys", "k")
	if err := vault.Create(key); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DROVER_POWER_KEY", key)
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+root)
	trace, err := powercut.Record(cmd, root)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

func TestNothingSaidIsLostByAPowerCut(t *testing.T) {
	trace := record(t, "S02")
	var said, delivered, inside, torn, tears, promises, broken int
	err := trace.Images(ramDir(t), images, 1, func(img powercut.Image) error {
		s, d, err := judge(img)
		said, delivered = max(said, s), max(delivered, d)
		promises += len(img.Said)
		if img.Cut < trace.Calls() {
			inside++
		}
		if img.Torn > 0 {
			torn, tears = torn+1, tears+img.Torn
		}
		if err != nil {
			broken++
			t.Errorf("cut before call %d: %v", img.Cut, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if said < commits*rows*9/10 || inside < images*9/10 || torn < images/20 {
		t.Fatalf("the cuts do not cover the run: %d revisions said, %d images inside of it, %d with a torn write", said, inside, torn)
	}
	proof.Ran(t, "S02", "%d images of %d calls: %d with an acknowledged commit lost, a ledger that is not sound, or a record lost or doubled in the file", images, trace.Calls(), broken)
	proof.Ran(t, "S03", "%d of %d images hold %d writes of which only some 512-byte parts are there: not sound %d", torn, images, tears, broken)
	proof.Ran(t, "I11", "%d lines said before the cuts of %d images: images that lack one %d", promises, images, broken)
}

// TestAnyCallOfACycleMayBeTheLast kills the process at every system call that
// changes a file, from making the ledger to its prune (reference faults S01).
func TestAnyCallOfACycleMayBeTheLast(t *testing.T) {
	t.Setenv(shortEnv, "1")
	trace := record(t, "S01")
	broken, heads := 0, 0
	n, err := trace.Kills(ramDir(t), func(img powercut.Image) error {
		_, head, err := judge(img)
		heads = max(heads, head)
		if err != nil {
			broken++
			t.Errorf("killed at call %d: %v", img.Cut, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if heads != shortCommits*rows || n < 50 {
		t.Errorf("%d points, %d revisions at most: not a whole cycle", n, heads)
	}
	proof.Ran(t, "S01", "killed at each of %d points in the %d calls of one cycle: ledgers or files with something lost, doubled or not sound %d", n, trace.Calls(), broken)
}

// ramDir is a directory in memory if there is one: images are many small files.
func ramDir(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "drover-images-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// judge opens what the cut left, compares it with what had been said, lets
// delivery go on, and counts the file.
func judge(img powercut.Image) (said, delivered int, err error) {
	tenantSaid, place := false, 0
	for _, line := range img.Said {
		kind, n, _ := strings.Cut(line, " ")
		v, _ := strconv.Atoi(n)
		switch kind {
		case "TENANT":
			tenantSaid = true
		case "COMMIT":
			said = max(said, v)
		case "PLACE":
			place = max(place, v)
		}
	}
	store, err := open(img.Dir)
	if err != nil {
		return said, 0, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ctx := context.Background()
	if found, err := store.Check(ctx); err != nil || len(found) > 0 {
		return said, 0, fmt.Errorf("check: %v %w", found, err)
	}
	st, err := store.Take(ctx, feed)
	if errors.Is(err, ledger.ErrNotFound) {
		if tenantSaid {
			return said, 0, errors.New("the tenant is gone")
		}
		return said, 0, nil
	}
	if err != nil {
		return said, 0, err
	}
	if int(st.Head) < said {
		return said, 0, fmt.Errorf("%d revisions were said to be durable, %d are there", said, st.Head)
	}
	if st.Cursor.Source != "" && st.Cursor.Through > revision(int(st.Head)).Changed+1 {
		return said, 0, errors.New("the cursor has passed rows that are not there")
	}
	if p, err := store.Place(ctx, "file", feed); err == nil && int(p.Seq) < place {
		return said, 0, fmt.Errorf("the place was said to be %d and is %d", place, p.Seq)
	}
	if err := delivering(store, img.Dir, func(ctx context.Context, _ *deliver.Deliverer) error { return caughtUp(ctx, store) }); err != nil {
		return said, 0, fmt.Errorf("deliver: %w", err)
	}
	return said, int(st.Head), count(img.Dir, int(st.Head))
}

// count checks that the files hold each revision once, in order, in whole
// lines.
func count(dir string, head int) error {
	paths, err := filepath.Glob(filepath.Join(dir, "out", "*.ndjson"))
	if err != nil {
		return err
	}
	// Files that were put away sort before the one that is written: a digit
	// comes before the n of ndjson.
	next := 1
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			return fmt.Errorf("%s ends in a torn line", p)
		}
		for line := range strings.Lines(string(b)) {
			var rec struct {
				Drover struct {
					Seq int `json:"seq"`
				} `json:"drover"`
			}
			if err := json.Unmarshal([]byte(line), &rec); err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			if rec.Drover.Seq != next {
				return fmt.Errorf("%s: revision %d stands where %d should", p, rec.Drover.Seq, next)
			}
			next++
		}
	}
	if next != head+1 {
		return fmt.Errorf("the files hold %d revisions of %d", next-1, head)
	}
	return nil
}
