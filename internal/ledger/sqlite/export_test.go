package sqlite

import "context"

// AddMigration makes a later program of this one.
func AddMigration(statements ...string) (undo func()) {
	migrations = append(migrations, statements)
	return func() { migrations = migrations[:len(migrations)-1] }
}

// Names of the files, for tests that damage them.
const (
	FileName  = fileName
	StateName = stateName
	LockName  = lockName
)

// NetworkFS names the file systems that are refused, by their magic numbers.
var NetworkFS = networkFS

// PretendFS makes every directory lie on a file system.
func PretendFS(magic int64) (undo func()) {
	fsType = func(string) (int64, bool) { return magic, true }
	return func() { fsType = statfsType }
}

// PageSize is that of a new ledger.
const PageSize = pageSize

// AtLeast reports whether a version of SQLite is new enough.
var AtLeast = atLeast

// WantSetting asserts another value of a setting than the one that is set.
func WantSetting(name, want string) (undo func()) {
	for i := range settings {
		if s := &settings[i]; s.name == name {
			old := s.want
			s.want = want
			return func() { s.want = old }
		}
	}
	panic("there is no setting " + name)
}

// RewrapOneByOne makes every seal a transaction of its own.
func RewrapOneByOne() { rewrapRows = 1 }

// SealedByTheMasterKey returns every value that the master key has sealed.
func SealedByTheMasterKey(t interface{ Fatal(...any) }, s *Store) (out [][]byte) {
	if err := s.read(context.Background(), func(tx *tx) error {
		var b []byte
		for rows := tx.query(`SELECT wrapped FROM tenants WHERE wrapped IS NOT NULL UNION ALL SELECT sealed FROM credentials WHERE tenant = ''`); rows.next(&b); b = nil {
			out = append(out, b)
		}
		return tx.err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// Waiting is how many pieces of work wait for the writer.
func Waiting(s *Store) int { return len(s.w.queue) }
