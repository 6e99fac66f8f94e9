package sqlite

import (
	"context"
	"errors"
	"fmt"

	"drover/internal/fault"
)

// The write-ahead log is brought into the file by the writer, after the callers
// of a commit have their answers. SQLite would do it by itself, but it would
// not tell of an error.
const (
	logBytes  = 8 << 20  // from here on the log is brought into the file, on small volumes earlier
	logTooBig = 64 << 20 // from here on readers are waited for

	// About what a transaction writes beside what its callers count, and how
	// often between two checkpoints the log is looked at: looking takes locks.
	perCommit = 64 << 10
	logLooks  = 8
)

// checkpoint brings the log into the file when it has grown enough, or when
// space is short: its place in the log can then be used again. A reader that is
// in the way only delays it.
func (w *writer) checkpoint(ctx context.Context) {
	if w.broken.Load() != nil || !w.space.pressed && w.logged < w.space.logPages*int(w.space.pageSize)/logLooks {
		return
	}
	w.logged = 0
	pages, _, err := w.checkpointLog(ctx, "NOOP")
	if err == nil && (pages >= w.space.logPages || w.space.pressed && pages > 0) {
		mode := "PASSIVE"
		if int64(pages)*w.space.pageSize >= logTooBig {
			mode = "RESTART"
		}
		fault.At(fault.LedgerCheckpoint)
		_, _, err = w.checkpointLog(ctx, mode)
	}
	if err != nil {
		_ = w.failed("bring the log", err) // the next caller is told, if it does not pass
	}
	w.space.pressed = false
}

// checkpointLog returns how many pages the log had and whether readers were in
// the way.
func (w *writer) checkpointLog(ctx context.Context, mode string) (pages int, busy bool, err error) {
	var done int
	st, err := w.prepared(ctx, `PRAGMA wal_checkpoint(`+mode+`)`)
	if err == nil {
		err = st.QueryRowContext(ctx).Scan(&busy, &pages, &done)
	}
	return pages, busy, err
}

// errReaders: readers were in the way for longer than they may be.
var errReaders = errors.New("the log could not be emptied, a reader is in the way")

// emptyLog brings the log into the file and cuts it to nothing, so that what
// was overwritten in the file stands nowhere any more. An empty log would look
// like one that was lost, so the state says so until there is one again.
func (w *writer) emptyLog(ctx context.Context, state *state) error {
	if err := state.write(ctx, between); err != nil {
		return err
	}
	_, busy, err := w.checkpointLog(ctx, "TRUNCATE")
	if err != nil {
		return w.failed("empty the log", err)
	}
	if err := w.now(ctx, func(tx *tx) error {
		tx.exec(`UPDATE meta SET v = CAST(CAST(v AS INTEGER) + 1 AS TEXT) WHERE k = 'ready'`)
		return tx.err
	}); err != nil {
		return err
	}
	if err := state.write(ctx, inUse); err != nil {
		return err
	}
	if busy {
		return fmt.Errorf("empty the log: %w", errReaders)
	}
	return nil
}
