package sqlite_test

import (
	"path/filepath"
	"strings"
	"testing"

	"drover"
	"drover/internal/ledger/sqlite"
)

// TestAnOldSQLiteIsRefused: before 3.51.3 commits could be lost when two
// connections checkpoint at once.
func TestAnOldSQLiteIsRefused(t *testing.T) {
	for version, ok := range map[string]bool{"3.51.3": true, "3.51.10": true, "3.52.0": true, "4.0.0": true, "3.51.2": false, "3.9.9": false, "2.99.99": false, "": false, "3.51": false, "3.x.9": false} {
		if sqlite.AtLeast(version) != ok {
			t.Errorf("%q: %t", version, !ok)
		}
	}
}

// TestASettingThatDoesNotHoldIsRefused: each is set and then asked for again.
func TestASettingThatDoesNotHoldIsRefused(t *testing.T) {
	dir := t.TempDir()
	opt := sqlite.Options{Dir: filepath.Join(dir, "ledger"), Vault: openVault(t, filepath.Join(dir, "vault"))}
	s, err := sqlite.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"auto_vacuum", "journal_mode", "synchronous", "foreign_keys", "secure_delete", "wal_autocheckpoint", "cell_size_check", "trusted_schema"} {
		undo := sqlite.WantSetting(name, "another")
		_, err := sqlite.Open(t.Context(), opt)
		undo()
		if drover.KindOf(err) != drover.Broken || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
