package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"

	"drover"
)

// piece is a file of the path, with where to begin in it.
type piece struct {
	name    string
	n       int
	from    int64
	current bool
}

// recover looks at what lies behind a mark.
//
// After kill -9 or a power cut that is a part of the batch under way: its
// whole lines are kept and the rest is cut. After the ledger was restored from
// an older state it may be much more, over several files: lines of drover's
// own, which are kept, and remembered so that their records are not written
// again (state.Old). Whole lines of anybody else end it with Denied.
func (l *log) recover(marked state, recs []drover.Record, index []int, has []bool) error {
	l.known = nil
	if err := l.ready(marked); err != nil {
		return err
	}
	away, err := l.away()
	if err != nil {
		return err
	}
	l.state = marked
	if marked.Old != nil {
		if err := l.learn(away, *marked.Old); err != nil {
			return err
		}
	}
	pieces, err := l.behind(marked, away)
	if err != nil {
		return err
	}
	s := newScan()
	if len(pieces) > 0 {
		s.prepare(recs, index, has)
	}
	for _, p := range pieces {
		if err := l.scan(s, p); err != nil {
			return err
		}
	}
	if s.others > 0 {
		old := stretch{FromN: marked.N, From: marked.Size, ToN: l.state.N, To: l.state.Size}
		if len(pieces) > 0 && pieces[0].n != marked.N {
			old.FromN, old.From = pieces[0].n, pieces[0].from
		}
		if marked.Old != nil {
			old.FromN, old.From = marked.Old.FromN, marked.Old.From
		}
		l.state.Old = &old
		if l.known == nil {
			l.known = make(known)
		}
		maps.Copy(l.known, s.seen)
		if len(l.known) > maxKnown {
			return l.foreign(fmt.Errorf("behind the place that the ledger knows lie more than %d records", maxKnown))
		}
	}
	l.older = append(l.older, s.older...)
	for _, i := range s.found {
		delete(l.known, keyOf(&recs[i]))
		has[i] = true
	}
	if len(l.known) == 0 {
		l.known, l.state.Old = nil, nil
	}
	l.ok = true
	return l.recall(recs, index, has)
}

// ready sees to the directories. Where something was settled they were there;
// an empty tree in place of a disk that is not mounted is not written to.
func (l *log) ready(marked state) error {
	if marked.Size > 0 {
		if _, err := l.s.disk.stat(path.Dir(l.name)); err != nil {
			return diskError("open "+l.name, err)
		}
	}
	if l.dirs {
		return nil
	}
	if err := l.ensureDirs(); err != nil {
		return err
	}
	l.dirs = true
	return nil
}

// away lists the files of the path that were put away, by number.
func (l *log) away() ([]piece, error) {
	dir := path.Dir(l.name)
	names, err := l.s.disk.names(dir)
	if err != nil {
		l.dirs = false
		return nil, diskError("read the directory of "+l.name, err)
	}
	pattern := awayNames(l.name)
	var out []piece
	for _, name := range names {
		if m := pattern.FindStringSubmatch(name); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return nil, err // nine digits fit
			}
			out = append(out, piece{name: path.Join(dir, name), n: n})
		}
	}
	slices.SortFunc(out, func(a, b piece) int { return a.n - b.n })
	return out, nil
}

// behind lists what lies behind a mark, and sets l.state to the beginning of
// the current file or to the mark in it.
func (l *log) behind(marked state, away []piece) ([]piece, error) {
	var out []piece
	put := false // the file of the mark was put away
	for _, p := range away {
		if p.n < marked.N {
			continue
		}
		if p.n == marked.N {
			is, err := l.is(p.name, marked)
			if err != nil {
				return nil, err
			}
			if is {
				p.from = marked.Size
			}
			put = true
		}
		out = append(out, p)
	}
	n := marked.N
	if len(out) > 0 {
		n = out[len(out)-1].n + 1
	}
	_, err := l.s.disk.stat(l.name)
	absent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !absent {
		return nil, diskError("open "+l.name, err)
	}
	is := false
	if !put && n == marked.N && !absent {
		if is, err = l.is(l.name, marked); err != nil {
			return nil, err
		}
	}
	switch {
	case is: // the usual
	case n == marked.N && marked.Size > 0:
		// Somebody moved the file away, as our hints advise.
		l.state = state{N: n + 1, Old: marked.Old}
	default:
		l.state = state{N: n, Old: marked.Old}
	}
	if !absent {
		out = append(out, piece{name: l.name, n: l.state.N, from: l.state.Size, current: true})
	}
	return out, nil
}

// is reports whether a file is that of a mark, by how it begins. A file that
// is, and is shorter, has lost what was settled.
func (l *log) is(name string, marked state) (bool, error) {
	if marked.Size == 0 {
		return true, nil
	}
	f, err := l.s.disk.open(name)
	if err != nil {
		return false, diskError("open "+name, err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return false, diskError("open "+name, err)
	}
	first := make([]byte, min(int64(marked.HeadLen), info.Size()))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(len(first))), first); err != nil {
		return false, diskError("read "+name, err)
	}
	if len(first) == marked.HeadLen && headOf(first) != marked.Head {
		return false, nil
	}
	var last [1]byte
	if info.Size() >= marked.Size {
		if _, err := f.ReadAt(last[:], marked.Size-1); err != nil {
			return false, diskError("read "+name, err)
		}
		if last[0] == '\n' {
			return true, nil
		}
	}
	return false, &drover.Error{Op: "write to " + l.name, Kind: drover.Denied, Err: fmt.Errorf("%s is %d bytes long, and was written and fsynced up to %d", name, info.Size(), marked.Size),
		Hint: "somebody cut it, or the disk lost what it had confirmed: check the disk, then move the file away and drover begins a new one; what is missing in it is in the ledger"}
}

func (l *log) foreign(err error) error {
	return &drover.Error{Op: "write to " + l.name, Kind: drover.Denied, Err: err,
		Hint: "only drover may write there: move the file to another directory, and drover begins a new one"}
}

// scan reads the whole lines of a piece. The current file is then cut behind
// the last that stays, and fsynced.
func (l *log) scan(s *scan, p piece) error {
	f, err := l.s.disk.open(p.name)
	if err != nil {
		return diskError("open "+p.name, err)
	}
	defer func() { _ = f.Close() }() // what counts was fsynced before
	info, err := f.Stat()
	if err != nil {
		return diskError("open "+p.name, err)
	}
	s.n, s.base = p.n, p.from
	end, err := s.read(io.NewSectionReader(f, p.from, max(info.Size()-p.from, 0)))
	if errors.Is(err, errForeign) {
		return l.foreign(fmt.Errorf("%s was changed by someone else", p.name))
	}
	if err != nil {
		return diskError("read "+p.name, err)
	}
	end += p.from
	if !p.current {
		return nil
	}
	if info.Size() > end {
		if err := f.Truncate(end); err != nil {
			return diskError("cut a torn line off "+p.name, err)
		}
	}
	if s.others == 0 {
		if err := rewrite(f, p.from, end); err != nil {
			return diskError("write again to "+p.name, err)
		}
	}
	if err := f.Sync(); err != nil {
		return syncError(p.name, err)
	}
	if l.state.Begun == 0 {
		// Another process may have made the name without making it durable.
		if err := l.s.disk.syncDir(path.Dir(p.name)); err != nil {
			return diskError("make the name of "+p.name+" durable", err)
		}
		l.state.Begun = l.s.opt.Now().Unix()
	}
	if l.state.HeadLen == 0 && end > 0 {
		first := make([]byte, min(end, maxHead))
		if _, err := f.ReadAt(first, 0); err != nil {
			return diskError("read "+p.name, err)
		}
		l.state.setHead(first)
	}
	l.state.Size = end
	return nil
}

// learn reads the records of an older life.
func (l *log) learn(away []piece, old stretch) error {
	l.known = make(known)
	n := l.state.N
	if len(away) > 0 {
		n = max(n, away[len(away)-1].n+1)
	}
	for _, p := range append(slices.Clone(away), piece{name: l.name, n: n, current: true}) {
		if p.n < old.FromN || p.n > old.ToN {
			continue
		}
		from, to := int64(0), int64(-1)
		if p.n == old.FromN {
			from = old.From
		}
		if p.n == old.ToN {
			to = old.To
		}
		if err := l.learnPiece(p, from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return diskError("read "+p.name, err)
		}
	}
	return nil
}

func (l *log) learnPiece(p piece, from, to int64) error {
	f, err := l.s.disk.open(p.name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if to < 0 || to > info.Size() {
		to = info.Size()
	}
	at := from
	return eachLine(io.NewSectionReader(f, from, max(to-from, 0)), func(line []byte, whole bool) error {
		if k, ok := keyOfLine(line); ok && whole {
			l.known[k] = spot{p.n, at}
		}
		at += int64(len(line)) + 1
		return nil
	})
}
