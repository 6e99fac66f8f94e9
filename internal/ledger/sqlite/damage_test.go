package sqlite_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drover"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
)

// told is everything that a ledger tells its users, as one text.
func told(s *sqlite.Store) (string, error) {
	ctx := context.Background()
	var b strings.Builder
	feeds, err := s.Feeds(ctx)
	if err != nil {
		return "", err
	}
	for _, st := range feeds {
		fmt.Fprintf(&b, "%+v\n", st)
		keys, err := s.Keys(ctx, st.Feed, drover.Span{From: drover.NoInstant + 1, To: drover.NoInstant}, true)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%+v\n", keys)
		for r, err := range s.Revisions(ctx, st.Feed, 1) {
			if errors.Is(err, ledger.ErrNotFound) {
				break // a removed tenant
			}
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%+v\n", r)
			k, err := s.Newest(ctx, st.Feed, ledger.AlertHash(r.AlertID), r.Created)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%+v\n", k)
		}
	}
	tenants, err := s.ListTenants(ctx)
	if err != nil {
		return "", err
	}
	places, err := s.Places(ctx, "s")
	if err != nil {
		return "", err
	}
	aside, err := s.SetAside(ctx, ledger.AsideFilter{})
	if err != nil {
		return "", err
	}
	for _, a := range aside {
		body, err := s.AsideBody(ctx, a.ID)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%+v\n", body)
	}
	fmt.Fprintf(&b, "%+v\n%+v\n%+v\n", tenants, places, s.Identity())
	return b.String(), nil
}

// soundLedger is a small ledger, closed, and what it tells.
func soundLedger(t *testing.T) (dir, tells string) {
	t.Helper()
	dir = t.TempDir()
	openVault(t, filepath.Join(dir, "vault"))
	if err := story(dir, func(string, ...any) {}); err != nil {
		t.Fatal(err)
	}
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if tells, err = told(s); err != nil {
		t.Fatal(err)
	}
	return dir, tells
}

// copyOf copies a directory of two levels.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vault", "vault/master.key", "ledger"} {
		mode := os.FileMode(0o700)
		if strings.HasSuffix(name, ".key") {
			mode = 0o600
		}
		if err := os.Chmod(filepath.Join(to, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func file(dir, name string) string { return filepath.Join(dir, "ledger", name) }

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (at % 8)
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedBits turns bits in every page of a closed ledger. It is never
// opened as if nothing had happened; and where its sum has been lost, too, it
// is refused, or reading ends in an error, or the check names the damage, or
// nothing that it tells has changed (reference faults S07).
//
//citest:plain one bit after the other
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	dir, tells := soundLedger(t)
	whole, err := os.ReadFile(file(dir, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	bad := copyOf(t, dir)
	flips, silent, refused, onReading, onChecking, unseen := 0, 0, 0, 0, 0, 0
	for page := range len(whole) / sqlite.PageSize {
		for _, in := range []int64{int64(page*131) % sqlite.PageSize, sqlite.PageSize - 1 - int64(page*37)%256} {
			flips++
			at := int64(page)*sqlite.PageSize + in
			reset := func() {
				if err := os.WriteFile(file(bad, sqlite.FileName), whole, 0o600); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"-wal", "-shm"} {
					_ = os.Remove(file(bad, sqlite.FileName+name))
				}
				flip(t, file(bad, sqlite.FileName), at)
			}
			state, err := os.ReadFile(file(dir, sqlite.StateName))
			if err != nil {
				t.Fatal(err)
			}
			reset()
			if err := os.WriteFile(file(bad, sqlite.StateName), state, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := openStory(bad); err == nil {
				_ = s.Close()
				silent++
				t.Errorf("byte %d of page %d: opened as if nothing had happened", in, page+1)
			}
			reset()
			if err := os.Remove(file(bad, sqlite.StateName)); err != nil {
				t.Fatal(err)
			}
			s, err := openStory(bad)
			if err != nil {
				refused++
				continue
			}
			now, err := told(s)
			found, cerr := s.Check(t.Context())
			switch {
			case err != nil:
				onReading++
			case now == tells:
				unseen++
			case cerr != nil || len(found) > 0:
				onChecking++
			default:
				a, b := strings.Split(tells, "\n"), strings.Split(now, "\n")
				for i := range a {
					if a[i] != b[i] {
						t.Logf("told %q, was %q", b[i][:min(len(b[i]), 600)], a[i][:min(len(a[i]), 600)])
					}
				}
				silent++
				t.Errorf("byte %d of page %d: silently wrong", in, page+1)
			}
			_ = s.Close()
		}
	}
	proof.Ran(t, "S07", "%d bits turned, in every page: silent starts %d; without the sum beside the file refused %d, an error on reading %d, named by the check %d, nothing told differs %d", flips, silent, refused, onReading, onChecking, unseen)
}

// TestFlippedLog turns bits in the log of a ledger that was not closed. Only in
// the last transaction can that look like a write that the power cut off.
//
//citest:plain one bit after the other
func TestFlippedLog(t *testing.T) {
	t.Parallel()
	dir, _ := soundLedger(t)
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := advance(s, ledgertest.FeedOf(tenantA)); err != nil {
			t.Fatal(err)
		}
	}
	feeds, err := s.Feeds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	head := feeds[0].Head
	live := copyOf(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log := file(live, sqlite.FileName+"-wal")
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var last int // the frame after which the last transaction begins
	const frame = sqlite.PageSize + 24
	frames := (len(whole) - 32) / frame
	for n := range frames - 1 {
		if size := whole[32+n*frame+4:][:4]; !bytes.Equal(size, make([]byte, 4)) {
			last = n + 1
		}
	}
	judge := func(what string, mayLose bool) {
		t.Helper()
		bad := copyOf(t, live)
		s, err := openStory(bad)
		if err != nil {
			if drover.KindOf(err) != drover.Broken {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		defer func() { _ = s.Close() }()
		feeds, err := s.Feeds(t.Context())
		if err != nil {
			return
		}
		if feeds[0].Head != head && !(mayLose && feeds[0].Head == head-rowsPerCommit) {
			t.Errorf("%s: opened, and ends at %d instead of %d", what, feeds[0].Head, head)
		}
	}
	judge("sound", false)
	for at := 0; at < len(whole); at += 1499 {
		if err := os.WriteFile(log, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		flip(t, log, int64(at))
		judge(fmt.Sprintf("byte %d", at), at >= 32+last*frame)
	}
	for what, size := range map[string]int{"gone": -1, "empty": 0} {
		if err := os.WriteFile(log, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if size < 0 {
			if err := os.Remove(log); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := openStory(copyOf(t, live)); drover.KindOf(err) != drover.Broken {
			t.Errorf("the log is %s: %v", what, err)
			_ = s.Close()
		}
	}
}

// TestForeignFiles: what is not the ledger that was left here is refused, and
// not touched.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	dir, _ := soundLedger(t)
	other, _ := soundLedger(t)
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`CREATE TABLE t (x); INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		do   func(dir string) error
		says string
	}{
		"the file is gone":  {func(dir string) error { return os.Remove(file(dir, sqlite.FileName)) }, "is gone"},
		"the file is empty": {func(dir string) error { return os.Truncate(file(dir, sqlite.FileName), 0) }, "cut short"},
		"the file is cut":   {func(dir string) error { return os.Truncate(file(dir, sqlite.FileName), 8192) }, "changed since it was closed"},
		"the file is a text": {func(dir string) error {
			return os.WriteFile(file(dir, sqlite.FileName), bytes.Repeat([]byte("text "), 1000), 0o600)
		}, "not a SQLite file"},
		"the file is somebody else's": {func(dir string) error { return put(foreign, file(dir, sqlite.FileName)) }, "not a drover ledger"},
		"the file is another ledger": {func(dir string) error {
			return put(file(other, sqlite.FileName), file(dir, sqlite.FileName))
		}, "changed since it was closed"},
		"the state is damaged": {func(dir string) error {
			return os.WriteFile(file(dir, sqlite.StateName), []byte("drover"), 0o600)
		}, "is damaged"},
		"others may write": {func(dir string) error { return os.Chmod(filepath.Join(dir, "ledger"), 0o777) }, "chmod 700"},
	} {
		bad := copyOf(t, dir)
		if err := c.do(bad); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(file(bad, sqlite.FileName))
		if _, err := openStory(bad); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
		if after, _ := os.ReadFile(file(bad, sqlite.FileName)); !bytes.Equal(before, after) {
			t.Errorf("%s: it was changed", what)
		}
	}
}

func put(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}

// TestDamagedBlock: a body that does not open ends the process, by name.
func TestDamagedBlock(t *testing.T) {
	dir, _ := soundLedger(t)
	if err := os.Remove(file(dir, sqlite.StateName)); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", file(dir, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	var n, first, last uint64
	if err := db.QueryRow(`SELECT n, first, last FROM blocks JOIN feeds USING (fid) WHERE tenant = ? ORDER BY first LIMIT 1`, string(tenantA)).Scan(&n, &first, &last); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE blocks SET body = zeroblob(length(body)) WHERE n = ?`, int64(n)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	_, err = s.After(t.Context(), ledgertest.FeedOf(tenantA), 0, 1, 0)
	if drover.KindOf(err) != drover.Broken || !strings.Contains(err.Error(), fmt.Sprintf("revisions %d to %d", first, last)) {
		t.Errorf("a damaged block: %v", err)
	}
}

// TestElsewhere: a ledger knows where it lives, and adopting it makes a new
// incarnation that reads what the old one wrote (reference faults S15, S23).
func TestElsewhere(t *testing.T) {
	t.Parallel()
	dir, tells := soundLedger(t)
	opt := sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault")), Place: "elsewhere"}
	if _, err := sqlite.Open(t.Context(), opt); !errors.Is(err, ledger.ErrElsewhere) {
		t.Errorf("opened elsewhere: %v", err)
	}
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	old := s.Identity()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sqlite.Adopt(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if _, err := openStory(dir); !errors.Is(err, ledger.ErrElsewhere) {
		t.Errorf("opened where it was before: %v", err)
	}
	if s, err = sqlite.Open(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if id := s.Identity(); id.ID != old.ID || id.Incarnation == old.Incarnation {
		t.Errorf("identity %+v, was %+v", id, old)
	}
	if _, err := advance(s, ledgertest.FeedOf(tenantA)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, err := range s.Revisions(t.Context(), ledgertest.FeedOf(tenantA), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Sum != sha256.Sum256(r.Raw) {
			t.Errorf("revision %d differs", r.Seq)
		}
		n++
	}
	if n == 0 || !strings.Contains(tells, old.Incarnation) {
		t.Errorf("%d revisions", n)
	}
	if found, err := s.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("check: %v, %v", found, err)
	}
}

// TestErasure: the wrapped key of a removed tenant stands nowhere in the files
// any more, whatever they went through before (design §7).
func TestErasure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openVault(t, filepath.Join(dir, "vault"))
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := range 300 {
		id := drover.TenantID(fmt.Sprintf("%08d-0000-4000-8000-00000000000a", (i*7919)%300)) // in no order, so that pages split
		if err := s.AddTenant(t.Context(), ledgertest.Tenant(id, fmt.Sprintf("tenant-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	db, err := sql.Open("sqlite", file(dir, sqlite.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	left := func(wrapped []byte) (n int) {
		for _, name := range []string{sqlite.FileName, sqlite.FileName + "-wal"} {
			b, err := os.ReadFile(file(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			n += bytes.Count(b, wrapped[len(wrapped)-48:])
		}
		return n
	}
	for i := range 300 {
		if i%10 != 3 {
			continue
		}
		id := drover.TenantID(fmt.Sprintf("%08d-0000-4000-8000-00000000000a", i))
		var wrapped []byte
		if err := db.QueryRow(`SELECT wrapped FROM tenants WHERE id = ?`, string(id)).Scan(&wrapped); err != nil {
			t.Fatal(err)
		}
		if left(wrapped) == 0 {
			t.Fatal("the test looks for the wrong thing")
		}
		if err := s.RemoveTenant(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if n := left(wrapped); n > 0 {
			t.Errorf("tenant %s: its key is still there %d times", id, n)
		}
	}
}

// TestEmptyReadWritesNothing (design §4).
func TestEmptyReadWritesNothing(t *testing.T) {
	dir, _ := soundLedger(t)
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	f := ledgertest.FeedOf(tenantA)
	st, err := s.Take(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	log := func() [32]byte {
		b, err := os.ReadFile(file(dir, sqlite.FileName+"-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(b)
	}
	before := log()
	for range 10 {
		if _, err := s.Commit(t.Context(), ledger.Commit{Feed: f, Epoch: st.Epoch, Whole: drover.NoInstant}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Commit(t.Context(), ledger.Commit{Feed: f, Epoch: st.Epoch - 1, Whole: drover.NoInstant}); !errors.Is(err, ledger.ErrMoved) {
		t.Errorf("an empty commit of an old epoch: %v", err)
	}
	if log() != before {
		t.Error("something was written")
	}
}
