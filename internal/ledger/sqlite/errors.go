package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"drover"
	"drover/internal/ledger"
)

// broken makes an error after which the process must stop.
func broken(op string, err error) error {
	var e *drover.Error
	if errors.As(err, &e) {
		return err
	}
	return &drover.Error{Op: op, Kind: drover.Broken, Err: err, Hint: "stop drover, look at the disk, and run: drover ledger check"}
}

// classify turns the driver's errors into what callers act on: full is
// passing, everything else that the disk or the file did is not.
func classify(op string, err error) error {
	if err == nil || isOurs(err) {
		return err
	}
	var e *driver.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", op, err)
	}
	if e.Code() == lib.SQLITE_IOERR_SHMSIZE { // the log's index found no space; nothing was written
		return fmt.Errorf("%s: %w", op, ledger.ErrFull)
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%s: %w", op, ledger.ErrFull)
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_INTERRUPT:
		return &drover.Error{Op: op, Kind: drover.Transient, Err: err}
	}
	return broken(op, err)
}

// noSpace makes the system's word for a full disk ours.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ledger.ErrFull, err)
	}
	return err
}

// errClosed answers whoever comes after Close.
var errClosed = errors.New("the ledger is closed")

// isOurs reports whether err already says what a caller should do.
func isOurs(err error) bool {
	var e *drover.Error
	for _, known := range []error{ledger.ErrMoved, ledger.ErrNotFound, ledger.ErrConflict, ledger.ErrHeld, ledger.ErrFull, ledger.ErrElsewhere, ledger.ErrLocked} {
		if errors.Is(err, known) {
			return true
		}
	}
	return errors.As(err, &e)
}

// isDisk reports whether the disk failed, or what it gave makes no sense:
// SQLite calls some errors of reading so.
func isDisk(err error) bool {
	var e *driver.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_IOERR:
		return e.Code() != lib.SQLITE_IOERR_SHMSIZE
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return true
	}
	return false
}

// isConstraint reports whether a row was refused by the schema, such as a key
// that is there already.
func isConstraint(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == lib.SQLITE_CONSTRAINT
}
