package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/proof"
	"drover/internal/vault"
)

// keyOf returns the vault whose key lies in dir, making it if there is none.
func keyOf(dir string) (*vault.Vault, error) {
	path := filepath.Join(dir, "master.key")
	if v, err := vault.Open(vault.Source{File: path}); err == nil {
		return v, nil
	}
	if err := vault.Create(path); err != nil {
		return nil, err
	}
	return vault.Open(vault.Source{File: path})
}

func openVault(t testing.TB, dir string) *vault.Vault {
	t.Helper()
	v, err := keyOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, dir string, clock func() time.Time) ledger.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault")), Clock: clock, Place: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	ledgertest.Run(t, open, func(t testing.TB, id, figure string) { proof.Ran(t, id, "%s", figure) })
}

// TestStoreWithoutMemory: nothing depends on what is kept in memory.
//
//citest:plain what TestStore does, otherwise opened
func TestStoreWithoutMemory(t *testing.T) {
	ledgertest.Run(t, func(t testing.TB, dir string, clock func() time.Time) ledger.Store {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault")), Clock: clock, Place: "test", Recent: -1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, nil)
}
