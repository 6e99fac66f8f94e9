package file

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"drover"
)

// ReadBack calls visit with each whole line that the files of a tenant's source
// hold, in the order in which they were written: those that were put away, then
// the current one. A path that several tenants share is read whole. mark is the
// lane's, as the ledger keeps it. all is false if a file of the path that was
// once written has been taken away since, so that what is not met may lie there.
// The line is valid until visit returns. It may be called beside Deliver; a
// batch that is being written may be met in part.
func (s *Sink) ReadBack(ctx context.Context, t drover.Tenant, src drover.SourceID, mark []byte, visit func(line []byte) error) (all bool, err error) {
	m, err := readMark(s.Lane(t), mark)
	if err != nil {
		return false, err
	}
	l := &log{s: s, name: fileOf(s.Lane(t), src)}
	marked := m.Files[l.name]
	all = true
	// The current file is opened before the names are listed: one that is put
	// away in between is then met under both names, and known again.
	current, err := s.disk.open(l.name)
	var info fs.FileInfo
	switch {
	case errors.Is(err, fs.ErrNotExist):
		all = marked.Size == 0
	case err != nil:
		return false, diskError("open "+l.name, err)
	default:
		defer func() { _ = current.Close() }() // only read
		if info, err = current.Stat(); err != nil {
			return false, diskError("open "+l.name, err)
		}
	}
	away, err := l.away()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	have := make(map[int]bool)
	for _, p := range away {
		have[p.n] = true
		f, err := s.disk.open(p.name)
		if err != nil {
			return false, diskError("open "+p.name, err)
		}
		twice := false
		if is, err := f.Stat(); err == nil && info != nil {
			twice = os.SameFile(is, info)
		}
		if !twice {
			err = visitLines(ctx, f, visit)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return false, err
		}
	}
	for n := range marked.N {
		all = all && have[n]
	}
	if current != nil {
		err = visitLines(ctx, current, visit)
	}
	return all, err
}

// visitLines calls visit with the whole lines of a file.
func visitLines(ctx context.Context, f io.ReaderAt, visit func(line []byte) error) error {
	return eachLine(io.NewSectionReader(f, 0, 1<<62), func(line []byte, whole bool) error {
		if !whole {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return visit(line)
	})
}
