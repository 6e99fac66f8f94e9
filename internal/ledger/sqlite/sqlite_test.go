package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"drover/internal/ledger"
	"drover/internal/ledger/ledgertest"
	"drover/internal/ledger/sqlite"
	"drover/internal/vault"
)

// openVault returns the vault whose key lies beside dir, never in it.
func openVault(t testing.TB, dir string) *vault.Vault {
	t.Helper()
	path := filepath.Join(dir+".keys", "master.key")
	v, err := vault.Open(vault.Source{File: path})
	if err == nil {
		return v
	}
	if err := vault.Create(path); err != nil {
		t.Fatal(err)
	}
	if v, err = vault.Open(vault.Source{File: path}); err != nil {
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

func TestStore(t *testing.T) { ledgertest.Run(t, open) }
