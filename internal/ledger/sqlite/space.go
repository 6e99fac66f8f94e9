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
	left  int64 // what the volume has left beyond the reserve
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

const selectPages = `SELECT page_count, freelist_count, page_size FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()`

// measure notes how full the ledger is.
func (w *writer) measure(ctx context.Context) {
	t := &tx{s: w.session, ctx: ctx}
	var pages, free, size int64
	if !t.row(selectPages).scan(&pages, &free, &size) {
		return
	}
	s := &w.space
	s.used, s.left, s.mean, s.logPages = (pages-free)*size, 0, 0, logPages
	if avail, total := volume(w.dir); total > 0 {
		keep := min(reserve, total/16)
		s.left = avail + free*size - keep
		s.logPages = min(logPages, int(keep/4/size))
		s.pressed = s.pressed || s.left < 0
	}
	if s.limit > 0 && s.used >= int64(crowded*float64(s.limit)) {
		t.row(`SELECT CAST(coalesce(avg(bytes), 0) AS INTEGER) FROM feeds WHERE bytes > 0`).scan(&s.mean)
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
		var pages, free, size int64
		tx.row(selectPages).scan(&pages, &free, &size)
		out.Used, out.Free, out.Limit = (pages-free)*size, free*size, s.opt.Limit
		return tx.err
	})
	avail, _ := volume(s.opt.Dir)
	if out.Free += avail; out.Limit > 0 {
		out.Free = max(0, min(out.Free, out.Limit-out.Used))
	}
	return out, err
}
