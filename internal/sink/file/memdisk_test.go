package file

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// memDisk is a directory in memory that knows what an fsync has made durable,
// fails on order, and can be had as a power cut would leave it.
type memDisk struct {
	step func() // before each change

	live map[string]*inode // names as they are
	kept map[string]*inode // names that are durable
	ops  []nameOp          // changes of names since, in order

	left   int   // bytes until the disk is full; below 0: no limit
	fails  error // of the next change
	after  int   // that many changes from now
	nosync bool  // a disk that lies: fsync does nothing
}

type nameOp struct {
	from, to string // from "": created
	node     *inode
}

// inode is a file or a directory.
type inode struct {
	dir     bool
	data    []byte
	durable []byte
	pending []write
}

// write is a change of a content; cut is a truncation to off.
type write struct {
	off  int64
	data []byte
	cut  bool
}

func newMemDisk(step func()) *memDisk {
	d := &memDisk{step: step, live: make(map[string]*inode), kept: make(map[string]*inode), left: -1}
	d.live["."] = &inode{dir: true}
	d.kept["."] = d.live["."]
	return d
}

// change is called before each change.
func (d *memDisk) change(op, name string) error {
	if d.step != nil {
		d.step()
	}
	if d.fails != nil {
		if d.after == 0 {
			return &fs.PathError{Op: op, Path: name, Err: d.fails}
		}
		d.after--
	}
	return nil
}

func (d *memDisk) get(op, name string) (*inode, error) {
	n := d.live[name]
	if n == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

func (d *memDisk) open(name string) (handle, error) {
	n, err := d.get("open", name)
	if err != nil {
		return nil, err
	}
	return &memFile{d, n, name}, nil
}

func (d *memDisk) add(op, name string, n *inode) error {
	if err := d.change(op, name); err != nil {
		return err
	}
	if _, err := d.get(op, path.Dir(name)); err != nil {
		return err
	}
	if d.live[name] != nil {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrExist}
	}
	d.live[name] = n
	d.ops = append(d.ops, nameOp{to: name, node: n})
	return nil
}

func (d *memDisk) create(name string, _ fs.FileMode) (handle, error) {
	n := &inode{}
	if err := d.add("create", name, n); err != nil {
		return nil, err
	}
	return &memFile{d, n, name}, nil
}

func (d *memDisk) mkdir(name string, _ fs.FileMode) error {
	if d.live[name] != nil {
		return fs.ErrExist
	}
	return d.add("mkdir", name, &inode{dir: true})
}

func (d *memDisk) stat(name string) (fs.FileInfo, error) {
	n, err := d.get("stat", name)
	if err != nil {
		return nil, err
	}
	return memInfo{path.Base(name), n}, nil
}

func (d *memDisk) names(dir string) ([]string, error) {
	if _, err := d.get("open", dir); err != nil {
		return nil, err
	}
	var out []string
	for name := range d.live {
		if path.Dir(name) == dir && name != "." {
			out = append(out, path.Base(name))
		}
	}
	return out, nil
}

func (d *memDisk) rename(from, to string) error {
	if err := d.change("rename", from); err != nil {
		return err
	}
	n, err := d.get("rename", from)
	if err != nil {
		return err
	}
	delete(d.live, from)
	d.live[to] = n
	d.ops = append(d.ops, nameOp{from: from, to: to, node: n})
	return nil
}

func (d *memDisk) remove(name string) error {
	if _, err := d.get("remove", name); err != nil {
		return err
	}
	delete(d.live, name)
	d.ops = append(d.ops, nameOp{from: name})
	return nil
}

func (d *memDisk) syncDir(dir string) error {
	if err := d.change("fsync", dir); err != nil {
		return err
	}
	if d.nosync {
		return nil
	}
	rest := d.ops[:0]
	for _, o := range d.ops {
		if path.Dir(o.to) == dir || o.to == "" && path.Dir(o.from) == dir {
			o.apply(d.kept)
		} else {
			rest = append(rest, o)
		}
	}
	d.ops = rest
	return nil
}

func (o nameOp) apply(names map[string]*inode) {
	if o.from != "" {
		delete(names, o.from)
	}
	if o.to != "" {
		names[o.to] = o.node
	}
}

// memFile is an open file.
type memFile struct {
	d    *memDisk
	n    *inode
	name string
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.d.change("write", f.name); err != nil {
		return 0, err
	}
	var err error
	if more := int(off) + len(b) - len(f.n.data); f.d.left >= 0 && more > f.d.left {
		b = b[:max(len(b)-(more-f.d.left), 0)]
		err = &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	w := write{off: off, data: slices.Clone(b)}
	before := len(f.n.data)
	f.n.data = w.apply(f.n.data, 0, len(b))
	if f.d.left >= 0 {
		f.d.left -= len(f.n.data) - before
	}
	f.n.pending = append(f.n.pending, w)
	return len(b), err
}

func (f *memFile) Truncate(size int64) error {
	if err := f.d.change("truncate", f.name); err != nil {
		return err
	}
	w := write{off: size, cut: true}
	f.n.data = w.apply(f.n.data, 0, 0)
	f.n.pending = append(f.n.pending, w)
	return nil
}

func (f *memFile) Sync() error {
	if err := f.d.change("fsync", f.name); err != nil {
		return err
	}
	if f.d.nosync {
		return nil
	}
	f.n.durable, f.n.pending = slices.Clone(f.n.data), nil
	return nil
}

func (f *memFile) Close() error               { return nil }
func (f *memFile) Stat() (fs.FileInfo, error) { return memInfo{path.Base(f.name), f.n}, nil }

// apply writes the bytes from..to of w.
func (w write) apply(b []byte, from, to int) []byte {
	if w.cut {
		return resize(b, int(w.off))
	}
	if end := int(w.off) + to; end > len(b) && to > from {
		b = resize(b, end)
	}
	if to > from {
		copy(b[int(w.off)+from:], w.data[from:to])
	}
	return b
}

func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n:n]
	}
	return append(slices.Clip(b), make([]byte, n-len(b))...)
}

const sector = 512

// cut returns the disk as a power cut now could leave it: what was fsynced, and
// of the rest all, nothing, or any sectors of the writes.
func (d *memDisk) cut(rng *rand.Rand, step func()) *memDisk {
	out := newMemDisk(step)
	out.left = d.left
	mode := rng.IntN(3)
	names := maps.Clone(d.kept)
	for _, o := range d.ops {
		if mode == 1 || mode == 2 && rng.IntN(2) == 0 {
			break // a journal keeps the order of names; its tail is lost
		}
		o.apply(names)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		data := slices.Clone(n.durable)
		for _, w := range n.pending {
			switch {
			case mode == 0:
				data = w.apply(data, 0, len(w.data))
			case mode == 1:
			case w.cut:
				if rng.IntN(2) == 0 {
					data = w.apply(data, 0, 0)
				}
			default:
				data = torn(data, w, rng)
			}
		}
		copied := &inode{dir: n.dir, data: data, durable: slices.Clone(data)}
		out.live[name], out.kept[name] = copied, copied
	}
	return out
}

func torn(data []byte, w write, rng *rand.Rand) []byte {
	if rng.IntN(3) == 0 {
		// The length may be durable before the bytes are.
		data = resize(data, max(len(data), int(w.off)+len(w.data)))
	}
	for from := 0; from < len(w.data); {
		to := min(len(w.data), from+sector-(int(w.off)+from)%sector)
		if rng.IntN(2) == 0 {
			data = w.apply(data, from, to)
		}
		from = to
	}
	return data
}

// content returns the lines of the files of a path, those put away first.
func (d *memDisk) content(name string) string {
	pattern := awayNames(name)
	var away []string
	for n := range d.live {
		if path.Dir(n) == path.Dir(name) && pattern.MatchString(path.Base(n)) {
			away = append(away, n)
		}
	}
	number := func(s string) string {
		m := pattern.FindStringSubmatch(path.Base(s))
		return strings.Repeat("0", 9-len(m[1])) + m[1]
	}
	slices.SortFunc(away, func(a, b string) int { return strings.Compare(number(a), number(b)) })
	var out strings.Builder
	for _, n := range append(away, name) {
		if f := d.live[n]; f != nil {
			out.Write(f.data)
		}
	}
	return out.String()
}

type memInfo struct {
	name string
	n    *inode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return int64(len(i.n.data)) }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.n.dir }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.n.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
