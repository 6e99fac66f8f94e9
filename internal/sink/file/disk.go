package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"drover"
)

// disk is what the sink needs of a directory. Names are relative, with
// slashes, and never lead out of it. Tests put one in its place that records,
// fails and loses power.
type disk interface {
	// open opens a regular file to read and write.
	open(name string) (handle, error)
	// create makes a file that is not there yet.
	create(name string, mode fs.FileMode) (handle, error)
	// stat says what stands under a name, links not followed.
	stat(name string) (fs.FileInfo, error)
	names(dir string) ([]string, error)
	mkdir(name string, mode fs.FileMode) error
	rename(from, to string) error
	remove(name string) error
	// syncDir makes the names in a directory durable.
	syncDir(dir string) error
}

// handle is an open file.
type handle interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

// rooted is a directory of the operating system. os.Root keeps every name
// below it, whatever links lie in the tree (reference faults U09).
type rooted struct{ *os.Root }

var (
	errNotRegular = errors.New("not a regular file")
	errNotDir     = errors.New("not a directory")
)

func (d rooted) open(name string) (handle, error) {
	// A pipe would block, a link would make two files one.
	info, err := d.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, errNotRegular)
	}
	f, err := d.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d rooted) create(name string, mode fs.FileMode) (handle, error) {
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d rooted) stat(name string) (fs.FileInfo, error)     { return d.Lstat(name) }
func (d rooted) mkdir(name string, mode fs.FileMode) error { return d.Mkdir(name, mode) }
func (d rooted) rename(from, to string) error              { return d.Rename(from, to) }
func (d rooted) remove(name string) error                  { return d.Remove(name) }

func (d rooted) names(dir string) ([]string, error) {
	f, err := d.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}

func (d rooted) syncDir(dir string) error {
	f, err := d.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// isFull reports whether a disk, or our share of it, is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// diskError says what a disk's error means: full passes, the rest needs
// somebody.
func diskError(op string, err error) error {
	e := &drover.Error{Op: op, Kind: drover.Denied, Err: err, Hint: "check that the sink's directory is there, on a disk that can be written, and ours"}
	switch {
	case isFull(err):
		e.Kind, e.Hint = drover.Transient, "the disk is full: make room; drover goes on by itself"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ENOMEM):
		e.Kind, e.Hint = drover.Transient, "the system is short of files or memory; raise the limit of open files"
	case errors.Is(err, errNotRegular):
		e.Hint = "a link, a pipe or a directory stands where the file should be; take it away"
	case errors.Is(err, errNotDir):
		e.Hint = "a link or a file stands where a directory should be; take it away"
	case errors.Is(err, syscall.EROFS):
		e.Hint = "the disk is mounted for reading only; mount it for writing"
	case errors.Is(err, fs.ErrPermission):
		e.Hint = "the user that runs drover must own the sink's directory and what is in it"
	case errors.Is(err, fs.ErrNotExist):
		e.Hint = "the sink's directory was removed or is not mounted; bring it back and start drover again"
	}
	return e
}

// syncError says what a failed fsync means. What it leaves on the disk is not
// known, and asking again would say that all is well (reference faults S05).
func syncError(name string, err error) error {
	if isFull(err) {
		return diskError("fsync "+name, err)
	}
	return &drover.Error{Op: "fsync " + name, Kind: drover.Broken, Err: err, Hint: "check the disk; after a restart drover writes again what was not confirmed"}
}
