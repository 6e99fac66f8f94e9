// Package file is the sink that appends records to files, one line each.
//
// It promises: once per record, across kill -9 and power cuts, as long as one
// process writes and nobody else changes the files. A record counts as taken
// when it was fsynced; where the file ended then is kept in the ledger with the
// place (the lane's mark), so that after a crash the file itself tells which
// lines of the batch it has. Only whole lines are left standing.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"drover"
)

// Options of a Sink. Root is required.
type Options struct {
	Root string // directory below which everything stands
	// Path of a file below Root; {tenant}, {customer} and {source}… see
	// Fields. Default "{customer}/{tenant}.ndjson".
	Path     string
	MaxBytes int64            // a file is put away when it is larger; 0: 256 MiB
	MaxAge   time.Duration    // or older; 0: 24 h
	Now      func() time.Time // time.Now by default
}

// Fields are the names that a path may hold: IDs and slugs only, never
// anything that an alert or a person wrote.
var Fields = []string{"tenant", "customer", "name"}

// lockName keeps a second process out of Root.
const lockName = ".drover.lock"

// Sink appends to files.
type Sink struct {
	opt  Options
	root *os.Root
	lock *os.File

	mu    sync.Mutex
	lanes map[string]*lane
}

var (
	_     drover.Sink  = (*Sink)(nil)
	_     drover.Asker = (*Sink)(nil)
	field              = regexp.MustCompile(`\{([^{}]*)\}`)
)

// CheckPath says what is wrong with a path template.
func CheckPath(p string) error {
	for _, m := range field.FindAllStringSubmatch(p, -1) {
		known := false
		for _, f := range Fields {
			known = known || f == m[1]
		}
		if !known {
			return fmt.Errorf("{%s} is not known in a path; known are: {%s}", m[1], strings.Join(Fields, "}, {"))
		}
	}
	plain := field.ReplaceAllString(p, "x")
	if plain == "" || strings.ContainsAny(plain, "{}\x00\\") || path.IsAbs(plain) || path.Clean(plain) != plain || strings.HasPrefix(plain, "..") || !fs.ValidPath(plain) {
		return fmt.Errorf("%q is no path below the root: use names, slashes and {tenant}, {customer}, {name}", p)
	}
	for _, part := range strings.Split(plain, "/") {
		if strings.HasPrefix(part, ".") || len(part) > 200 {
			return fmt.Errorf("%q is no path below the root: a part begins with a dot or is too long", p)
		}
	}
	return nil
}

// New opens the root and keeps other processes out of it.
func New(opt Options) (*Sink, error) {
	if opt.Path == "" {
		opt.Path = "{customer}/{tenant}.ndjson"
	}
	if err := CheckPath(opt.Path); err != nil {
		return nil, err
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 256 << 20
	}
	if opt.MaxAge <= 0 {
		opt.MaxAge = 24 * time.Hour
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := os.MkdirAll(opt.Root, 0o700); err != nil {
		return nil, fmt.Errorf("make the sink's directory: %w", err)
	}
	root, err := os.OpenRoot(opt.Root)
	if err != nil {
		return nil, fmt.Errorf("open the sink's directory: %w", err)
	}
	lock, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = lock.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				err = fmt.Errorf("another process writes to %s", opt.Root)
			}
		}
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("lock the sink's directory: %w", err)
	}
	return &Sink{opt: opt, root: root, lock: lock, lanes: make(map[string]*lane)}, nil
}

// Lane is the path of the tenant's file.
func (s *Sink) Lane(t drover.Tenant) string {
	return field.ReplaceAllStringFunc(s.opt.Path, func(f string) string {
		switch f {
		case "{tenant}":
			return string(t.ID)
		case "{customer}":
			return string(t.Customer)
		default:
			return t.Name
		}
	})
}

// lane returns the open file of a path.
func (s *Sink) lane(name string) (*lane, error) {
	if err := CheckPath(name); err != nil || strings.ContainsAny(name, "{}") {
		return nil, &drover.Error{Op: "write to a file", Kind: drover.Denied, Err: fmt.Errorf("%q is not below the root", name)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[name]
	if l == nil {
		l = &lane{s: s, name: name}
		s.lanes[name] = l
	}
	return l, nil
}

// Check writes a file, fsyncs it and takes it away again.
func (s *Sink) Check(context.Context) (string, error) {
	const probe = ".drover.probe"
	f, err := s.root.OpenFile(probe, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, werr := f.WriteString("probe\n")
		err = errors.Join(werr, f.Sync(), f.Close(), s.root.Remove(probe))
	}
	if err != nil {
		return "", diskError("check the file sink", err)
	}
	return "once: fsynced before it counts, and never written twice by this process, across crashes", nil
}

// Close closes all files.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, l := range s.lanes {
		errs = append(errs, l.close())
	}
	return errors.Join(append(errs, s.lock.Close(), s.root.Close())...)
}

// diskError says what a disk's error means: full passes, the rest needs
// somebody.
func diskError(op string, err error) error {
	e := &drover.Error{Op: op, Kind: drover.Denied, Err: err, Hint: "check that the directory is there, on a disk that can be written, and ours"}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e.Kind, e.Hint = drover.Transient, "the disk is full: make room; drover goes on by itself"
	}
	return e
}
