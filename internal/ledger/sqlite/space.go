package sqlite

import (
	"context"
	"fmt"
	"syscall"

	"drover/internal/ledger"
)

// space is what the writer knows of how full the ledger is. Its numbers are
// those of the last commit.
type space struct {
	limit int64 // bytes; 0: as much as the volume has
	used  int64 // pages in use; free pages inside the file count as free
	free  int64 // free pages inside the file
	left  int64 // what the volume has left beyond the reserve

	pageSize int64
	// mean is what a feed takes in the mean, once the ledger is nearly full:
	// feeds that take more than twice of it are stopped first.
	mean int64
	// logPages is how long the log may get: the file grows by no more than that
	// when it is brought in, so that it must not eat up the reserve.
	logPages int
	// pressed: there was no space, or there will be none soon.
	pressed bool
}

// What is left for deliveries, whose outcome frees space, when reading has
// stopped; on small volumes a sixteenth of them.
const reserve = 32 << 20

// crowded is the part of the limit from which on large feeds have to wait.
const crowded = 0.9

// full returns ErrFull if the ledger must not grow.
func (s *space) full() error {
	switch {
	case s.limit > 0 && s.used >= s.limit:
		return fmt.Errorf("the ledger has reached its limit of %d bytes: %w", s.limit, ledger.ErrFull)
	case s.left < 0:
		return fmt.Errorf("the volume of the ledger has %d bytes less left than are kept for deliveries: %w", -s.left, ledger.ErrFull)
	}
	return nil
}

// crowds returns ErrFull if a feed that takes so many bytes has to wait for
// the others.
func (s *space) crowds(bytes int64) error {
	if s.mean > 0 && bytes > 2*s.mean {
		return fmt.Errorf("the ledger is nearly full, and this feed takes %d bytes of it, more than twice the mean: %w", bytes, ledger.ErrFull)
	}
	return nil
}

// pages returns how many pages the file has, how many of them are free, and
// how large one is.
func pages(tx *tx) (count, free, size int64, ok bool) {
	ok = tx.row(`PRAGMA page_count`).scan(&count) && tx.row(`PRAGMA freelist_count`).scan(&free) && tx.row(`PRAGMA page_size`).scan(&size)
	return count, free, size, ok
}

// measured is how full the ledger is as a transaction leaves it. It is asked
// inside: outside, each question would be a read transaction of its own.
func (w *writer) measured(t *tx) (now space, ok bool) {
	s := w.space
	count, free, size, ok := pages(t)
	if !ok {
		return s, false
	}
	s.used, s.free, s.mean, s.pageSize = (count-free)*size, free*size, 0, size
	if s.limit > 0 && s.used >= int64(crowded*float64(s.limit)) {
		t.row(`SELECT CAST(coalesce(avg(bytes), 0) AS INTEGER) FROM feeds WHERE bytes > 0`).scan(&s.mean)
	}
	return s, t.err == nil
}

// onVolume notes what the volume has left.
func (s *space) onVolume(dir string) {
	s.left, s.logPages = 0, int(logBytes/s.pageSize)
	if avail, total := volume(dir); total > 0 {
		keep := min(reserve, total/16)
		s.left = avail + s.free - keep
		s.logPages = min(s.logPages, int(keep/4/s.pageSize))
		s.pressed = s.pressed || s.left < 0
	}
}

// volume is what the volume has free for us, and in all; 0, 0 if it does not
// say.
func volume(dir string) (avail, total int64) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize
}

// Space says how full the ledger is.
func (s *Store) Space(ctx context.Context) (out ledger.Space, err error) {
	err = s.read(ctx, func(tx *tx) error {
		count, free, size, _ := pages(tx)
		out.Used, out.Free, out.Limit = (count-free)*size, free*size, s.opt.Limit
		return tx.err
	})
	avail, _ := volume(s.opt.Dir)
	if out.Free += avail; out.Limit > 0 {
		out.Free = max(0, min(out.Free, out.Limit-out.Used))
	}
	return out, err
}
