//go:build soak

package sqlite_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"drover/internal/proof"
	"drover/internal/vault"
)

// rotated judges a ledger: everything that was sealed can be read.
func rotated(dir string) (unreadable int, err error) {
	v, err := vault.Open(vault.Source{File: filepath.Join(dir, "vault", "master.key")})
	if err != nil {
		return rotateTenants + 5, err
	}
	s, err := openWith(dir, v)
	if err != nil {
		return rotateTenants + 5, err
	}
	unreadable, err = readable(s)
	return unreadable, errors.Join(err, s.Close())
}

// TestTenThousandKillsOfAKeyThatFollowsAnother kills rotations at drawn places,
// again and again until each has ended, 10,000 times (reference faults T13).
func TestTenThousandKillsOfAKeyThatFollowsAnother(t *testing.T) {
	const kills = 10_000
	base := t.TempDir()
	sealed := rotateBase(t, base)
	oldKey := openVault(t, filepath.Join(base, "vault")).KeyID()
	if b, err := os.ReadFile(filepath.Join(base, "vault", "master.key")); err != nil || os.WriteFile(filepath.Join(base, "old.key"), b, 0o600) != nil {
		t.Fatal(err)
	}
	var killed, unreadable, ended atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		r := rand.New(rand.NewPCG(13, uint64(w)))
		wg.Go(func() {
			for killed.Load() < kills && !t.Failed() {
				dir, err := os.MkdirTemp("", "rotate-")
				if err != nil || copyPrivate(base, dir) != nil {
					t.Error("copy the ledger", err)
					return
				}
				for {
					at := killRotation(t, dir, 1+r.IntN(40))
					n, err := rotated(dir)
					if n > 0 || err != nil {
						t.Errorf("%s: unreadable %d, %v", at, n, err)
					}
					unreadable.Add(int64(n))
					if at == "" || t.Failed() {
						break
					}
					killed.Add(1)
				}
				n, err := finished(dir, oldKey, sealed)
				if unreadable.Add(int64(n)); err != nil {
					t.Error(err)
				}
				ended.Add(1)
				_ = os.RemoveAll(dir)
			}
		})
	}
	wg.Wait()
	proof.Ran(t, "T13", "%s: unreadable secrets %d; %d rotations went on to their end, and the old key is refused", fmt.Sprint(killed.Load(), " kills"), unreadable.Load(), ended.Load())
}
