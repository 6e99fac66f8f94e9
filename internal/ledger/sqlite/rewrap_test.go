package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"drover"
	"drover/internal/fault"
	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
	"drover/internal/vault"
)

// rotatePoint is pointEnv for a child whose failpoints count from the open
// ledger on.
const rotatePoint = "DROVER_TEST_LEDGER_ROTATE"

// rotateHomes are the clouds of the ledger that is sealed anew.
var rotateHomes = ledger.Authorities{"worldwide": "https://login.microsoftonline.com", "lab": "https://login.lab.test"}

const rotateTenants = 2

func rotateTenant(i int) drover.TenantID {
	return drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
}

// rotateCredentials are those of the ledger, with their values: one of each
// tenant, and two of none, which the master key itself seals.
func rotateCredentials() (list []ledger.Credential) {
	add := func(id drover.TenantID, app, cloud, secret string) {
		k := ledger.CredentialKey{Tenant: id, App: app, Kind: "refresh_token", Cloud: cloud, Authority: rotateHomes[cloud]}
		list = append(list, ledger.Credential{CredentialKey: k, Secret: drover.NewSecret(secret), Expires: drover.NoInstant})
	}
	for i := range rotateTenants {
		add(rotateTenant(i), "default", "worldwide", fmt.Sprintf("0.refresh-of-tenant-%d", i))
	}
	add("", "partner", "lab", "0.refresh-of-the-partner")
	// One that is longer than a page.
	add("", "partner-2", "worldwide", strings.Repeat("0.a-long-refresh-token-", 500))
	return list
}

// rotateBase makes a ledger with its key, and returns what the key has sealed,
// as it stands in the files.
func rotateBase(t *testing.T, dir string) (sealed [][]byte) {
	t.Helper()
	s, err := openStory(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rotateTenants {
		x := ledgertest.Tenant(rotateTenant(i), fmt.Sprint("tenant-", i))
		x.Customer = drover.CustomerID(strings.Repeat("c", 2000*i)) // one row that is longer than a page
		if err := s.AddTenant(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		if _, err := advance(s, ledgertest.FeedOf(x.ID)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range rotateCredentials() {
		if _, err := s.PutCredential(t.Context(), c, 0); err != nil {
			t.Fatal(err)
		}
	}
	sealed = sqlite.SealedByTheMasterKey(t, s)
	if len(sealed) != rotateTenants+2 {
		t.Fatalf("the master key sealed %d values", len(sealed))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return sealed
}

// rotateKey lets a new key follow in dir, as drover vault rotate does.
func rotateKey(s *sqlite.Store, v *vault.Vault, dir string) (vault.Rotation, error) {
	k, err := vault.Source{File: filepath.Join(dir, "vault", "master.key")}.Place()
	if err != nil {
		return vault.Rotation{}, err
	}
	return vault.Rotate(context.Background(), k, v, false, func(ctx context.Context) error {
		_, err := s.Rewrap(ctx, rotateHomes)
		return err
	})
}

func rotateChild(dir string) error {
	sqlite.RewrapOneByOne()
	v, err := keyOf(filepath.Join(dir, "vault"))
	if err != nil {
		return err
	}
	s, err := openWith(dir, v)
	if err != nil {
		return err
	}
	armKill(os.Getenv(rotatePoint))
	_, err = rotateKey(s, v, dir)
	return err
}

// readable judges an open ledger.
func readable(s *sqlite.Store) (unreadable int, err error) {
	seals, err := s.Seals(context.Background(), rotateHomes)
	if err != nil {
		return 1, err
	}
	unreadable = len(seals.Bad)
	if n := seals.DataKeys + seals.Credentials; n != 2*rotateTenants+2 {
		err = errors.Join(err, fmt.Errorf("%d seals open", n))
	}
	for _, want := range rotateCredentials() {
		got, gerr := s.Credential(context.Background(), want.CredentialKey)
		if gerr != nil || !got.Secret.Equal(want.Secret) {
			unreadable, err = unreadable+1, errors.Join(err, fmt.Errorf("the credential of %q and %s: %w", want.Tenant, want.App, gerr))
		}
	}
	for i := range rotateTenants {
		for _, rerr := range s.Revisions(context.Background(), ledgertest.FeedOf(rotateTenant(i)), 1) {
			if rerr != nil {
				unreadable, err = unreadable+1, errors.Join(err, rerr)
				break
			}
		}
	}
	return unreadable, err
}

// finished judges what a kill has left, goes on, and judges the end: one key,
// and nothing of the old one anywhere.
func finished(dir, oldKey string, sealed [][]byte) (unreadable int, err error) {
	v, err := vault.Open(vault.Source{File: filepath.Join(dir, "vault", "master.key")})
	if err != nil {
		return rotateTenants + 5, err
	}
	s, err := openWith(dir, v)
	if err != nil {
		return rotateTenants + 5, err
	}
	defer func() { _ = s.Close() }()
	if unreadable, err = readable(s); err != nil {
		return unreadable, err
	}
	r, err := rotateKey(s, v, dir)
	if err != nil {
		return unreadable, err
	}
	if keys := v.KeyIDs(); len(keys) != 1 || keys[0] != r.New || slices.Contains(keys, oldKey) {
		return unreadable, fmt.Errorf("the keys in the end are %v", keys)
	}
	last, err := vault.Open(vault.Source{File: filepath.Join(dir, "vault", "master.key")})
	if err != nil || !slices.Equal(last.KeyIDs(), v.KeyIDs()) {
		return unreadable, fmt.Errorf("the file in the end: %w", err)
	}
	n, err := readable(s)
	if unreadable += n; err != nil {
		return unreadable, fmt.Errorf("in the end: %w", err)
	}
	if err := errors.Join(onlyOf(filepath.Join(dir, "ledger"), sealed), s.Close()); err != nil {
		return unreadable, err
	}
	return unreadable, errors.Join(oldIsRefused(dir), onlyOf(filepath.Join(dir, "ledger"), sealed))
}

// oldIsRefused opens the ledger with the key of before.
func oldIsRefused(dir string) error {
	old, err := vault.Open(vault.Source{File: filepath.Join(dir, "old.key")})
	if err != nil {
		return err
	}
	s, err := openWith(dir, old)
	if err == nil {
		_ = s.Close()
	}
	if !errors.Is(err, vault.ErrWrongKey) {
		return fmt.Errorf("the old key: %w", err)
	}
	for _, e := range []string{"master.key.new", "master.key.1"} {
		if _, err := os.Lstat(filepath.Join(dir, "vault", e)); err == nil {
			return fmt.Errorf("%s is left", e)
		}
	}
	return nil
}

// onlyOf looks for what the old key has sealed in every file of a directory.
func onlyOf(dir string, sealed [][]byte) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, s := range sealed {
			// The head alone stands before the end of a page.
			if bytes.Contains(b, s[:40]) {
				return fmt.Errorf("%s still holds value %d as the old key has sealed it", path, i)
			}
		}
		return nil
	})
}

// TestAKeyThatFollowsAnotherMayBeKilledAnywhere kills a rotation at every
// failpoint, each seal a commit of its own (reference faults T13).
//
//citest:plain one killed child after the other
func TestAKeyThatFollowsAnotherMayBeKilledAnywhere(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	sealed := rotateBase(t, base)
	oldKey := openVault(t, filepath.Join(base, "vault")).KeyID()
	if b, err := os.ReadFile(filepath.Join(base, "vault", "master.key")); err != nil || os.WriteFile(filepath.Join(base, "old.key"), b, 0o600) != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	hit, lost := make(map[string]int), 0
	var next atomic.Int64
	var over atomic.Bool
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for !over.Load() && !t.Failed() {
				n := int(next.Add(1))
				dir := t.TempDir()
				if err := copyPrivate(base, dir); err != nil {
					t.Error(err)
					return
				}
				at := killRotation(t, dir, n)
				unreadable, err := finished(dir, oldKey, sealed)
				if unreadable > 0 || err != nil {
					t.Errorf("point %d, %s: unreadable %d, %v", n, at, unreadable, err)
				}
				mu.Lock()
				lost += unreadable
				if at != "" {
					hit[at]++
				}
				mu.Unlock()
				if at == "" {
					over.Store(true)
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for name, least := range map[string]int{fault.VaultRotate: 5, fault.VaultWrite: 8, fault.LedgerBegin: rotateTenants + 2, fault.LedgerBeforeCommit: rotateTenants + 2, fault.LedgerAfterCommit: rotateTenants + 2} {
		if hit[name] < least {
			t.Errorf("killed %d times at %s, there are %d or more", hit[name], name, least)
		}
	}
	for _, n := range hit {
		total += n
	}
	t.Logf("points=%d %v", total, hit)
	proof.Ran(t, "T13", "killed at each of %d places: unreadable secrets %d; every rotation went on to its end, and the old key is refused", total, lost)
}

// copyPrivate copies a directory for its owner alone.
func copyPrivate(from, to string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}

// killRotation kills a rotation at its n-th failpoint, and returns which that
// was, "" if it ended before.
func killRotation(t *testing.T, dir string, n int) (at string) {
	cmd := spawn(t, "rotate", dir, "")
	cmd.Env = append(cmd.Env, rotatePoint+"="+fmt.Sprint(n))
	out, err := cmd.Output()
	_, _ = fmt.Sscanf(string(out), "killed: %s", &at)
	if at == "" && err != nil {
		t.Errorf("point %d: %v %s", n, err, out)
	}
	return at
}

// TestWhatIsAddedWhileAKeyFollowsIsSealedByTheNewOne adds tenants and
// credentials all through rotations.
func TestWhatIsAddedWhileAKeyFollowsIsSealedByTheNewOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rotateBase(t, dir)
	v := openVault(t, filepath.Join(dir, "vault"))
	s, err := openWith(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	var added sync.WaitGroup
	for w := range 4 {
		added.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				x := ledgertest.Tenant(drover.TenantID(fmt.Sprintf("00000000-0000-4000-9%03d-%012d", w, i)), fmt.Sprint("new-", w, "-", i))
				k := ledger.CredentialKey{App: x.Name, Kind: "refresh_token", Cloud: "lab", Authority: rotateHomes["lab"]}
				_, err := s.PutCredential(t.Context(), ledger.Credential{CredentialKey: k, Secret: drover.NewSecret("x")}, 0)
				if err = errors.Join(err, s.AddTenant(t.Context(), x)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		if _, err := rotateKey(s, v, dir); err != nil {
			t.Error(err)
		}
	}
	stop()
	added.Wait()
	seals, err := s.Seals(t.Context(), rotateHomes)
	if err != nil || len(seals.Bad) > 0 || len(seals.Keys) != 1 || seals.Keys[v.KeyID()] < rotateTenants+2 {
		t.Errorf("sealed by %v, bad %v, %v", seals.Keys, seals.Bad, err)
	}
}

func TestAValueThatDoesNotOpenKeepsBothKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rotateBase(t, dir)
	v := openVault(t, filepath.Join(dir, "vault"))
	s, err := openWith(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	old := v.KeyID()
	gone := rotateHomes["lab"]
	k, err := vault.Source{File: filepath.Join(dir, "vault", "master.key")}.Place()
	if err != nil {
		t.Fatal(err)
	}
	_, err = vault.Rotate(t.Context(), k, v, false, func(ctx context.Context) error {
		_, err := s.Rewrap(ctx, ledger.Authorities{"worldwide": rotateHomes["worldwide"]})
		return err
	})
	if drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), "of the app partner") || !strings.Contains(drover.HintOf(err), "put the cloud back") {
		t.Errorf("without the cloud %s: %v", gone, err)
	}
	if both := openVault(t, filepath.Join(dir, "vault")); len(both.KeyIDs()) != 2 || both.KeyIDs()[0] != old {
		t.Errorf("the keys are %v", both.KeyIDs())
	}
	if r, err := rotateKey(s, v, dir); err != nil || !r.Resumed || !slices.Equal(r.Old, []string{old}) {
		t.Errorf("with it again: %+v, %v", r, err)
	}
}

// TestNothingElseIsSealedWithTheMasterKey finds every place of this package
// that seals with the vault: whoever adds one must give it to Rewrap and Seals.
func TestNothingElseIsSealedWithTheMasterKey(t *testing.T) {
	known := map[string]bool{"tenants.go AddTenant": true, "credentials.go sealCredential": true, "rewrap.go reseal": true}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`\.Vault\.(Seal|NewDataKey)\(`)
	head := regexp.MustCompile(`^func (?:\([^)]*\) )?(\w+)`)
	found := make(map[string]bool)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		in := ""
		for line := range strings.Lines(string(b)) {
			if m := head.FindStringSubmatch(line); m != nil {
				in = m[1]
			}
			if call.MatchString(line) {
				found[name+" "+in] = true
			}
		}
	}
	for place := range found {
		if !known[place] {
			t.Errorf("%s seals with the master key: let Rewrap and Seals know, then name it here", place)
		}
	}
	for place := range known {
		if !found[place] {
			t.Errorf("%s seals nothing any more", place)
		}
	}
}

// TestWhatWaitsForTheWriterIsSealedByTheKeyOfThen: what was asked for before a
// key followed and is written after it must not come behind Rewrap with an old
// seal.
func TestWhatWaitsForTheWriterIsSealedByTheKeyOfThen(t *testing.T) {
	dir := t.TempDir()
	v := openVault(t, filepath.Join(dir, "vault"))
	s, err := openWith(dir, v)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	disarm := fault.Arm(func(at string) {
		if at == fault.LedgerBegin {
			once.Do(func() { close(held) })
			<-release
		}
	})
	defer disarm()
	var wg sync.WaitGroup
	done := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() { done(s.Ready(t.Context())) })
	<-held
	wg.Go(func() { done(s.AddTenant(t.Context(), ledgertest.Tenant(tenantA, "a"))) })
	wg.Go(func() {
		_, err := s.PutCredential(t.Context(), ledger.Credential{CredentialKey: ledger.CredentialKey{App: "a", Kind: "k", Cloud: "lab", Authority: rotateHomes["lab"]}}, 0)
		done(err)
	})
	for sqlite.Waiting(s) < 2 {
		runtime.Gosched()
	}
	k, err := vault.Source{File: filepath.Join(dir, "vault", "master.key")}.Place()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Rotate(t.Context(), k, v, true, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	close(release)
	wg.Wait()
	if seals, err := s.Seals(t.Context(), rotateHomes); err != nil || len(seals.Keys) != 1 || seals.Keys[v.KeyID()] != 2 {
		t.Errorf("sealed by %v, %v; the newest is %s", seals.Keys, err, v.KeyID())
	}
}
