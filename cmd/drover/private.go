package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// errThere says that nothing is overwritten.
var errThere = errors.New("it is there already; name another, or replace it with --force")

// writePrivate puts a file that only its owner may read in its place, whole or
// not at all, in a folder that is made if need be. Without replace a file that
// is there is left alone.
func writePrivate(path string, data []byte, replace bool) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".drover-*") // 0600 from its first moment on
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if replace {
		err = os.Rename(f.Name(), path)
	} else if err = os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) { // unlike a rename it replaces nothing
		err = fmt.Errorf("%s: %w", path, errThere)
	} else if err == nil {
		err = os.Remove(f.Name())
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
