package sqlite

// AddMigration makes a later program of this one.
func AddMigration(statements ...string) (undo func()) {
	migrations = append(migrations, statements)
	return func() { migrations = migrations[:len(migrations)-1] }
}

// Names of the files, for tests that damage them.
const (
	FileName  = fileName
	StateName = stateName
)

// PageSize is that of a new ledger.
const PageSize = pageSize
