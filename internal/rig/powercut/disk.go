package powercut

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// file is what is known of one file: what is certainly on disk, and what was
// done since its last fsync.
type file struct {
	durable []byte
	pending []op // writes and truncations
}

// disk is the state of all files at a moment of the trace.
type disk struct {
	names map[string]*file // as the process sees them
	// kept are the names that are certainly on disk; since then, changes lists
	// what was done to names and not yet made durable, in order.
	kept    map[string]*file
	changes []op
	dirs    []string
	said    []string
}

func newDisk() *disk {
	return &disk{names: make(map[string]*file), kept: make(map[string]*file)}
}

// apply moves the disk over one recorded call.
func (d *disk) apply(o op) {
	switch o.kind {
	case opSay:
		d.said = append(d.said, string(o.data))
	case opMkdir:
		d.dirs = append(d.dirs, o.path)
	case opCreate:
		if d.names[o.path] == nil {
			d.names[o.path] = &file{}
			d.changes = append(d.changes, o)
		}
	case opWrite, opTruncate:
		d.file(o.path).pending = append(d.file(o.path).pending, o)
	case opRename:
		d.names[o.to] = d.file(o.path)
		delete(d.names, o.path)
		d.changes = append(d.changes, o)
	case opUnlink:
		delete(d.names, o.path)
		d.changes = append(d.changes, o)
	case opSync:
		d.sync(o.path)
	}
}

// file returns the file of that name; one that was there before the trace
// began is empty to us only if the root was empty, which Record's callers see
// to.
func (d *disk) file(name string) *file {
	f := d.names[name]
	if f == nil {
		f = &file{}
		d.names[name] = f
		d.changes = append(d.changes, op{kind: opCreate, path: name})
	}
	return f
}

// sync makes a file's content durable, or a directory's names. The fsync of a
// new file makes its name durable too, as journalling file systems do.
func (d *disk) sync(name string) {
	if f := d.names[name]; f != nil {
		f.durable = play(f.durable, f.pending)
		f.pending = nil
		if d.kept[name] == nil {
			d.settleNames(func(o op) bool { return o.path == name && o.kind == opCreate || o.to == name })
		}
		return
	}
	d.settleNames(func(o op) bool {
		return filepath.Dir(o.path) == name || o.to != "" && filepath.Dir(o.to) == name
	})
}

// settleNames makes the changes of names that match durable.
func (d *disk) settleNames(match func(op) bool) {
	rest := d.changes[:0]
	for _, o := range d.changes {
		if !match(o) {
			rest = append(rest, o)
			continue
		}
		rename(d.kept, o, d.names)
	}
	d.changes = rest
}

// rename applies a change of names to a set of names. live tells which file a
// new name stands for.
func rename(names map[string]*file, o op, live map[string]*file) {
	switch o.kind {
	case opCreate:
		if f := live[o.path]; f != nil {
			names[o.path] = f
		}
	case opRename:
		f := names[o.path]
		if f == nil {
			f = live[o.to]
		}
		delete(names, o.path)
		if f != nil {
			names[o.to] = f
		}
	case opUnlink:
		delete(names, o.path)
	}
}

// play applies writes and truncations to a content.
func play(content []byte, ops []op) []byte {
	content = slices.Clone(content)
	for _, o := range ops {
		content = playOne(content, o, 0, len(o.data))
	}
	return content
}

func playOne(content []byte, o op, from, to int) []byte {
	if o.kind == opTruncate {
		return resize(content, int(o.off))
	}
	if end := int(o.off) + to; end > len(content) {
		content = resize(content, end)
	}
	copy(content[int(o.off)+from:], o.data[from:to])
	return content
}

func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n]
	}
	return append(b, make([]byte, n-len(b))...)
}

// image returns the names and contents as they could be found after a cut
// now: what is durable, and a random part of the rest. In a third of the
// images all of it is there, in a third none of it.
func (d *disk) image(rng *rand.Rand) (_ map[string][]byte, tears int) {
	mode := rng.IntN(3)
	names := maps.Clone(d.kept)
	for _, o := range d.changes {
		// A journal keeps the order of changes of names; the tail is lost.
		if mode == 1 || mode == 2 && rng.IntN(2) == 0 {
			break
		}
		rename(names, o, d.names)
	}
	out := make(map[string][]byte, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f := names[name]
		content := slices.Clone(f.durable)
		for _, o := range f.pending {
			switch {
			case mode == 0:
				content = playOne(content, o, 0, len(o.data))
			case mode == 1:
			case o.kind == opTruncate:
				if rng.IntN(2) == 0 {
					content = playOne(content, o, 0, 0)
				}
			default:
				var tear bool
				if content, tear = torn(content, o, rng); tear {
					tears++
				}
			}
		}
		out[name] = content
	}
	return out, tears
}

// torn applies a write whole, not at all, or only some of its sectors, and
// reports whether it was the last.
func torn(content []byte, o op, rng *rand.Rand) (_ []byte, tear bool) {
	switch rng.IntN(4) {
	case 0:
		return content, false
	case 1, 2:
		return playOne(content, o, 0, len(o.data)), false
	}
	some, all := false, true
	for from := 0; from < len(o.data); {
		to := min(len(o.data), from+sector-int(o.off+int64(from))%sector)
		if rng.IntN(2) == 0 {
			content = playOne(content, o, from, to)
			some = true
		} else {
			all = false
		}
		from = to
	}
	return content, some && !all
}

// page is how much of a long write the system does at once: a kill can fall
// between two.
const page = 4096

// Kills builds the directory that the process would have left if it had been
// killed at each call that changes a file: before it, and in the middle of a
// write that is longer than a page. Nothing is lost then that was written; only
// what had not been done yet is not there. It stops at the first error and
// returns how many there were.
func (t *Trace) Kills(dir string, check func(Image) error) (n int, err error) {
	d := newDisk()
	for i, o := range t.ops {
		if o.kind == opSync || o.kind == opSay {
			d.apply(o)
			continue
		}
		parts := []int{0}
		if o.kind == opWrite && len(o.data) > page {
			parts = append(parts, page)
		}
		for _, part := range parts {
			files := d.seen()
			if part > 0 {
				files[o.path] = playOne(files[o.path], o, 0, part)
			}
			img := Image{Dir: filepath.Join(dir, fmt.Sprintf("kill-%d-%d", i, part)), Cut: i, Said: d.said}
			if err := write(img.Dir, d.dirs, files); err != nil {
				return n, err
			}
			if err := check(img); err != nil {
				return n, fmt.Errorf("killed at call %d of %d, %d bytes of it done: %w", i, len(t.ops), part, err)
			}
			if err := os.RemoveAll(img.Dir); err != nil {
				return n, err
			}
			n++
		}
		d.apply(o)
	}
	return n, nil
}

// seen is what other processes find: everything that was done.
func (d *disk) seen() map[string][]byte {
	out := make(map[string][]byte, len(d.names))
	for name, f := range d.names {
		out[name] = play(f.durable, f.pending)
	}
	return out
}

// Image is a directory as it could be found after a power cut, or a kill.
type Image struct {
	Dir  string
	Cut  int      // the first call that did not happen
	Said []string // what the process had said on standard output by then
	Torn int      // writes of which only a part is there
}

// Images builds n images below dir at random cuts, and calls check with each;
// the image's directory is removed afterwards. It stops at the first error.
func (t *Trace) Images(dir string, n int, seed uint64, check func(Image) error) error {
	if len(t.ops) == 0 {
		return fmt.Errorf("the trace is empty")
	}
	rng := rand.New(rand.NewPCG(seed, 3))
	cuts := make([]int, n)
	for i := range cuts {
		cuts[i] = rng.IntN(len(t.ops) + 1)
	}
	slices.Sort(cuts)
	d, at := newDisk(), 0
	for i, cut := range cuts {
		for ; at < cut; at++ {
			d.apply(t.ops[at])
		}
		files, torn := d.image(rng)
		img := Image{Dir: filepath.Join(dir, fmt.Sprintf("image-%d", i)), Cut: cut, Said: d.said, Torn: torn}
		if err := write(img.Dir, d.dirs, files); err != nil {
			return err
		}
		if err := check(img); err != nil {
			return fmt.Errorf("image %d (seed %d, cut before call %d of %d): %w", i, seed, cut, len(t.ops), err)
		}
		if err := os.RemoveAll(img.Dir); err != nil {
			return err
		}
	}
	return nil
}

func write(dir string, dirs []string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, sub := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}
