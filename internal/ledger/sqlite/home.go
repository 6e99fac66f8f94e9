package sqlite

import (
	"fmt"
	"os"
)

// home are the names under which the writer's files must be found. SQLite goes
// on writing to a file whose name is gone, and whoever restarts would find
// nothing of it; a lock whose name is gone keeps nobody out.
type home struct {
	path  string // of the ledger
	files []named
}

// named is an open file and its name.
type named struct {
	path string
	info os.FileInfo
}

// add remembers the file that has a name now.
func (h *home) add(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	h.files = append(h.files, named{path, info})
	return nil
}

// check returns an error if a name leads to another file, or to none. The first
// time it remembers what is there: the ledger and its log are open by then.
func (h *home) check() error {
	if h.files == nil {
		for _, suffix := range []string{"", "-wal"} {
			if err := h.add(h.path + suffix); err != nil {
				return broken("find the ledger", err)
			}
		}
	}
	for _, f := range h.files {
		if info, err := os.Lstat(f.path); err != nil || !os.SameFile(info, f.info) {
			return broken("find the ledger", fmt.Errorf("%s was removed or exchanged while it was in use", f.path))
		}
	}
	return nil
}
