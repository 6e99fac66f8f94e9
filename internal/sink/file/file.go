// Package file is the sink that appends records to files, one line each.
//
// It promises: once per record, across kill -9 and power cuts, as long as one
// process writes and nobody else changes the files. A record counts as taken
// when it was fsynced. Where the file ended then is kept in the ledger with
// the place (the lane's mark), so that after a crash the file itself tells
// which lines of the batch it has. Only whole lines are left standing. What
// somebody else wrote is never cut away and never built upon: the lane parks
// and says so (reference faults-and-invariants D18, D19, D24, S23, U09).
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"drover"
	"drover/internal/config"
)

// Options of a Sink. Root is required.
type Options struct {
	Root string // directory below which everything stands
	// Path is a template for the files below Root; it may hold what
	// config.CheckPath allows. Default "{customer}/{tenant}.ndjson".
	Path     string
	Sink     drover.SinkID    // what {sink} stands for
	MaxBytes int64            // a file of at least that size is put away before the next batch; 0: 256 MiB
	MaxAge   time.Duration    // or when it was begun that long ago; 0: 24 h
	Mode     fs.FileMode      // of files; directories get the same and may be entered; 0: 0600
	Now      func() time.Time // time.Now by default
}

// lockName keeps a second process out of Root.
const lockName = ".drover.lock"

// Sink appends to files. It holds no file open between two batches, so their
// number is not bounded by what the system allows.
type Sink struct {
	opt  Options
	disk disk
	root *os.Root
	lock *os.File

	mu    sync.Mutex
	lanes map[string]*lane
}

var (
	_ drover.Sink  = (*Sink)(nil)
	_ drover.Asker = (*Sink)(nil)
)

// New opens the root, makes it if it is not there, and keeps other processes
// out of it until Close.
func New(opt Options) (*Sink, error) {
	if opt.Path == "" {
		opt.Path = "{customer}/{tenant}.ndjson"
	}
	if err := config.CheckPath(opt.Path); err != nil {
		return nil, err
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 256 << 20
	}
	if opt.MaxAge <= 0 {
		opt.MaxAge = 24 * time.Hour
	}
	if opt.Mode == 0 {
		opt.Mode = 0o600
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := os.MkdirAll(opt.Root, dirMode(opt.Mode)); err != nil {
		return nil, fmt.Errorf("make the sink's directory: %w", err)
	}
	if err := syncParent(opt.Root); err != nil {
		return nil, fmt.Errorf("make the sink's directory durable: %w", err)
	}
	root, err := os.OpenRoot(opt.Root)
	if err != nil {
		return nil, fmt.Errorf("open the sink's directory: %w", err)
	}
	lock, err := lockRoot(root, opt.Root)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the sink's directory: %w", err), root.Close())
	}
	return &Sink{opt: opt, disk: rooted{root}, root: root, lock: lock, lanes: make(map[string]*lane)}, nil
}

// dirMode adds the right to enter where there is one to read.
func dirMode(m fs.FileMode) fs.FileMode { return m.Perm() | m.Perm()>>2&0o111 }

// syncParent makes the name of a directory durable.
func syncParent(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(abs))
	if errors.Is(err, fs.ErrPermission) {
		return nil // somebody else's directory: the name in it was made by them
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockRoot takes the lock of a root. The kernel gives it back when the process
// ends, however it ends.
func lockRoot(root *os.Root, shown string) (*os.File, error) {
	lock, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &drover.Error{Op: "write below " + shown, Kind: drover.Denied, Err: errors.New("another process writes there"), Hint: "give each drover, and each of its sinks, a root of its own"}
		}
		return nil, err
	}
	return lock, nil
}

// Check writes a hidden file, fsyncs it and takes it away again.
func (s *Sink) Check(context.Context) (string, error) {
	const probe = ".drover.probe"
	if err := s.disk.remove(probe); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", diskError("check the file sink", err)
	}
	f, err := s.disk.create(probe, 0o600)
	if err == nil {
		_, werr := f.WriteAt([]byte("probe\n"), 0)
		err = errors.Join(werr, f.Sync(), f.Close(), s.disk.remove(probe))
	}
	if err != nil {
		return "", diskError("check the file sink", err)
	}
	return "once: a record counts when it is fsynced, and this process never writes it twice, across crashes and power cuts", nil
}

// Close lets other processes into the root.
func (s *Sink) Close() error {
	return errors.Join(s.lock.Close(), s.root.Close())
}
