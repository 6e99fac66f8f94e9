// Package sqlitetest opens an embedded ledger for a test that needs a real one.
package sqlitetest

import (
	"path/filepath"
	"testing"

	"drover/internal/ledger/sqlite"
	"drover/internal/vault"
)

// Open makes a master key and a ledger sealed with it in dir, where neither may
// be yet, and opens the ledger with opt, of which Dir and Vault are filled in.
// The caller closes it.
func Open(t testing.TB, dir string, opt sqlite.Options) *sqlite.Store {
	t.Helper()
	key := filepath.Join(dir, "keys", "k")
	if err := vault.Create(key); err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(vault.Source{File: key})
	if err != nil {
		t.Fatal(err)
	}
	opt.Dir, opt.Vault = filepath.Join(dir, "ledger"), v
	store, err := sqlite.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return store
}
