package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"drover/internal/fault"
)

// file keeps the keys in a file that only its owner can read.
type file string

func (f file) String() string { return string(f) }

// ReadOnly: a link is how orchestrators mount what they keep themselves.
func (f file) ReadOnly() string {
	if info, err := os.Lstat(string(f)); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Sprintf("%s is a symbolic link, made by whatever keeps the key: it must be changed there", string(f))
	}
	return ""
}

func (f file) Read(context.Context) ([]byte, error) {
	dir, name := filepath.Split(string(f))
	if dir == "" {
		dir = "."
	}
	return readFile(dir, name, 0o077)
}

func (f file) Write(_ context.Context, text []byte) error { return WriteFile(string(f), text) }

// newSuffix is that of a key file while it is written. The name is always the
// same one, so that what a kill left there is written over by the next attempt.
const newSuffix = ".new"

// WriteFile puts a text in the place of a file, whole or not at all, for its
// owner alone. When it returns nil, it is on disk. One that is there keeps its
// owner and its permissions.
func WriteFile(path string, text []byte) (err error) {
	mode, uid, gid := fs.FileMode(0o600), -1, -1
	if info, err := os.Lstat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("write the master key: %s is not a file", path)
		}
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	dir, fresh := filepath.Dir(path), path+newSuffix
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write the master key: %w", err)
	}
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write the master key: %w", err)
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the master key: %w", err)
	}
	fault.At(fault.VaultWrite)
	_, err = f.Write(text)
	if err == nil && (uid >= 0 && uid != os.Geteuid() || gid >= 0 && gid != os.Getegid()) {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	fault.At(fault.VaultWrite)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the master key: %w", errors.Join(err, os.Remove(fresh)))
	}
	fault.At(fault.VaultWrite)
	if err = os.Rename(fresh, path); err != nil {
		return fmt.Errorf("write the master key: %w", errors.Join(err, os.Remove(fresh)))
	}
	fault.At(fault.VaultWrite)
	if err = syncDir(dir); err != nil {
		return fmt.Errorf("write the master key: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// env keeps the keys in an environment variable, which is removed once read:
// no child process gets it.
type env string

func (e env) String() string { return "the environment variable " + string(e) }

func (e env) ReadOnly() string {
	return "an environment variable is set by whoever starts drover: it must be changed there"
}

func (e env) Write(context.Context, []byte) error { return errors.New(e.ReadOnly()) }

// taken are the variables that were read.
var taken sync.Map

func (e env) Read(context.Context) ([]byte, error) {
	text := os.Getenv(string(e))
	if err := os.Unsetenv(string(e)); err != nil {
		return nil, fmt.Errorf("remove the master key from the environment: %w", err)
	}
	if _, read := taken.Load(e); text == "" && read {
		return nil, fmt.Errorf("%s was read and removed at the start: %w", e, ErrTaken)
	}
	if text == "" {
		return nil, fmt.Errorf("the environment variable %s, which should hold the master key, is empty", string(e))
	}
	taken.Store(e, true)
	return []byte(text), nil
}

// ErrTaken: the key can be read from its place only once.
var ErrTaken = errors.New("it can be read only once")

// credential keeps the keys in a systemd credential.
type credential string

func (c credential) String() string { return "the systemd credential " + string(c) }

func (c credential) ReadOnly() string {
	return "a systemd credential is read by systemd when it starts the service: it must be changed where LoadCredential= takes it from"
}

func (c credential) Write(context.Context, []byte) error { return errors.New(c.ReadOnly()) }

func (c credential) Read(context.Context) ([]byte, error) {
	dir, name := os.Getenv("CREDENTIALS_DIRECTORY"), string(c)
	if dir == "" || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return nil, fmt.Errorf("there is no systemd credential %q: set LoadCredential= in the unit", name)
	}
	// systemd gives a service without root its credential by an access
	// list, which shows as a readable group; the directory is the service's
	// alone. Only the world and writers are looked for there.
	return readFile(dir, name, 0o027)
}

// ReadFile reads a file that belongs to us and that nobody else may read, as
// that of a master key.
func ReadFile(path string) ([]byte, error) { return file(path).Read(context.Background()) }

// readFile reads a key file that belongs to us and shows none of the
// forbidden permissions. A symbolic link is followed inside of the directory
// (orchestrators mount secrets that way) and refused elsewhere.
func readFile(dir, name string, forbidden fs.FileMode) ([]byte, error) {
	path := filepath.Join(dir, name)
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	defer func() { _ = root.Close() }()
	// O_NONBLOCK: a pipe in the key's place must not hold the start.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(path, err)
	}
	if err != nil {
		if info, lerr := root.Lstat(name); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("the master key %s is a symbolic link to elsewhere; name the file itself", path)
		}
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the master key %s is not a file", path)
	}
	if info.Mode().Perm()&forbidden != 0 {
		return nil, fmt.Errorf("others can read or change the master key %s; type: chmod 600 %s", path, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return nil, fmt.Errorf("the master key %s belongs to another user; type: chown %d %s", path, os.Geteuid(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	if len(text) > maxKeyFile {
		clear(text)
		return nil, fmt.Errorf("%s is too large to be a key file", path)
	}
	return text, nil
}

func missing(path string, err error) error {
	return fmt.Errorf("%w at %s; restore it from where it is kept, without it nothing in the ledger can be read: %w", ErrNoKey, path, err)
}
