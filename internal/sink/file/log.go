package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"drover"
	"drover/internal/fault"
)

// log is one path: the current file, and those that were put away.
type log struct {
	s     *Sink
	name  string
	state state
	ok    bool // the file ends at state.Size, and nothing has failed since
	dirs  bool // the directories are there and durable
	// known are the records of an older life that the files hold (state.Old).
	known known
	// older are the records of the batch under way that it holds from there.
	older []int
}

// settle makes the log ready to go on behind a mark: it looks at what lies
// there, marks the records that the files hold in has, makes those durable and
// cuts off what is torn. It does nothing if the file is as this log left it.
func (l *log) settle(marked state, recs []drover.Record, index []int, has []bool) error {
	l.older = nil
	if l.ok && l.state.same(marked) {
		switch info, err := l.s.disk.stat(l.name); {
		case err == nil && info.Mode().IsRegular() && info.Size() == l.state.Size,
			errors.Is(err, fs.ErrNotExist) && l.state.Size == 0 && l.state.Begun == 0:
			return l.recall(recs, index, has)
		}
	}
	l.ok = false
	return l.recover(marked, recs, index, has)
}

// recall marks the records that the files hold from an older life. One whose
// event ID is there with another row is not among them.
func (l *log) recall(recs []drover.Record, index []int, has []bool) error {
	if len(l.known) == 0 {
		return nil
	}
	old := &oldLines{l: l}
	defer old.close()
	for _, i := range index {
		k := keyOf(&recs[i])
		at, there := l.known[k]
		if !there {
			continue
		}
		line, err := old.line(at)
		if err != nil {
			l.ok = false
			return err
		}
		if !has[i] && sameRow(recs[i].Source, line, recs[i].Body) {
			has[i] = true
			l.older = append(l.older, i)
		}
		delete(l.known, k)
	}
	return nil
}

// append writes the records that has does not list, with one write, and
// fsyncs them.
func (l *log) append(b *drover.Batch, index []int, has []bool) error {
	recs := b.Records
	var todo []int
	for _, i := range index {
		if !has[i] {
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	if err := l.rotate(); err != nil {
		return err
	}
	f, err := l.open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // what counts was fsynced before
	buf, ends := b.Lines, lineEnds(recs, todo)
	if len(todo) < len(recs) || len(buf) != ends[len(ends)-1] {
		buf = lines(recs, todo, ends[len(ends)-1])
	}
	fault.At(fault.FileBeforeWrite)
	n, err := f.WriteAt(buf, l.state.Size)
	if err != nil {
		return l.partly(f, buf, n, todo, ends, has, diskError("write to "+l.name, err))
	}
	fault.At(fault.FileAfterWrite)
	if err := f.Sync(); err != nil {
		l.ok = false
		return syncError(l.name, err)
	}
	fault.At(fault.FileAfterSync)
	l.grow(buf)
	for _, i := range todo {
		has[i] = true
	}
	return nil
}

// lineEnds are the offsets behind each record, were they lines of one text.
func lineEnds(recs []drover.Record, todo []int) []int {
	ends, at := make([]int, len(todo)), 0
	for n, i := range todo {
		at += len(recs[i].Body) + 1
		ends[n] = at
	}
	return ends
}

// lines joins records to lines, size bytes in all.
func lines(recs []drover.Record, todo []int, size int) []byte {
	buf := make([]byte, 0, size)
	for _, i := range todo {
		buf = append(append(buf, recs[i].Body...), '\n')
	}
	return buf
}

// partly keeps the whole lines of a write that failed in between, and cuts off
// the rest.
func (l *log) partly(f handle, buf []byte, written int, todo, ends []int, has []bool, why error) error {
	l.ok = false
	whole := 0
	for whole < len(ends) && ends[whole] <= written {
		whole++
	}
	if buf = buf[:0]; whole > 0 {
		buf = buf[:ends[whole-1]]
	}
	if err := f.Truncate(l.state.Size + int64(len(buf))); err != nil {
		return errors.Join(why, fmt.Errorf("cut off what was written in part: %w", err))
	}
	if err := f.Sync(); err != nil {
		return errors.Join(syncError(l.name, err), why)
	}
	l.grow(buf)
	for _, i := range todo[:whole] {
		has[i] = true
	}
	l.ok = true
	return why
}

// grow notes bytes that are durable.
func (l *log) grow(b []byte) {
	if l.state.Size == 0 && len(b) > 0 {
		l.state.setHead(b)
	}
	l.state.Size += int64(len(b))
}

// open opens the current file; it is made at the first record.
func (l *log) open() (handle, error) {
	if l.state.Size == 0 && l.state.Begun == 0 {
		if err := l.begin(); err != nil {
			l.ok = false
			return nil, err
		}
	}
	f, err := l.s.disk.open(l.name)
	if err != nil {
		l.ok = false
		return nil, diskError("open "+l.name, err)
	}
	return f, nil
}

// begin makes the current file, empty and durable under its name.
func (l *log) begin() error {
	f, err := l.s.disk.create(l.name, l.s.opt.Mode)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return diskError("begin "+l.name, err)
	}
	if err := l.s.disk.syncDir(path.Dir(l.name)); err != nil {
		return diskError("make the name of "+l.name+" durable", err)
	}
	l.state.Begun = l.s.opt.Now().Unix()
	return nil
}

// rotate puts the file away if it is large or old enough. That happens between
// two batches only; the next mark speaks of the new file, and until it is
// settled the numbers in the names tell what has happened.
func (l *log) rotate() error {
	now := l.s.opt.Now()
	if l.state.Size == 0 || l.state.Size < l.s.opt.MaxBytes && now.Sub(time.Unix(l.state.Begun, 0)) < l.s.opt.MaxAge {
		return nil
	}
	l.ok = false
	to := awayName(l.name, now.UTC().Format("20060102T150405Z"), l.state.N)
	if _, err := l.s.disk.stat(to); !errors.Is(err, fs.ErrNotExist) {
		return diskError("put "+l.name+" away", errors.Join(err, fmt.Errorf("%s is there already", to)))
	}
	if err := l.s.disk.rename(l.name, to); err != nil {
		return diskError("put "+l.name+" away", err)
	}
	fault.At(fault.FileRotate)
	if err := l.s.disk.syncDir(path.Dir(l.name)); err != nil {
		return diskError("make the name of "+to+" durable", err)
	}
	l.state = state{N: l.state.N + 1, Old: l.state.Old}
	if err := l.begin(); err != nil {
		return err
	}
	l.ok = true
	return nil
}

// ensureDirs makes the directories of the path, each durable in the one above.
// A link among them is refused: it would make two customers' files one.
func (l *log) ensureDirs() error {
	for i, c := range l.name {
		if c != '/' {
			continue
		}
		dir := l.name[:i]
		if err := l.s.disk.mkdir(dir, dirMode(l.s.opt.Mode)); err != nil && !errors.Is(err, fs.ErrExist) {
			return diskError("make the directory of "+l.name, err)
		}
		info, err := l.s.disk.stat(dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s: %w", dir, errNotDir)
		}
		if err != nil {
			return diskError("make the directory of "+l.name, err)
		}
		if err := l.s.disk.syncDir(path.Dir(dir)); err != nil {
			return diskError("make the directory of "+l.name+" durable", err)
		}
	}
	return nil
}

// rewrite writes a part of a file anew and as it is. After an fsync that
// failed in a process before this one, the system may hold pages for written
// that are not; written again they count.
func rewrite(f handle, from, to int64) error {
	buf := make([]byte, min(to-from, 1<<20))
	for from < to {
		b := buf[:min(int64(len(buf)), to-from)]
		if _, err := io.ReadFull(io.NewSectionReader(f, from, int64(len(b))), b); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, from); err != nil {
			return err
		}
		from += int64(len(b))
	}
	return nil
}
