package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"drover/internal/ledger"
)

// stateName is a small text beside the ledger that says how its last process
// left it. SQLite cannot tell a log that was deleted from one that was never
// there, nor a file whose bits have turned; with the state, we can.
const stateName = "ledger.state"

// How the last process left the ledger.
type condition uint8

const (
	unknown condition = iota // no state: a new ledger, or one put there by hand
	between                  // opening or closing: the log may be there or not
	inUse                    // not closed: the log must be there
	closed                   // closed: the file is as it was, byte for byte
)

var conditions = [...]string{"", "between", "in use", "closed"}

// sumLimit is the largest file that is read whole at opening and closing. What
// is larger is proved block by block, when it is read.
const sumLimit = 256 << 20

// state is what ledger.state says.
type state struct {
	dir string
	id  string // of the ledger
	condition
	size int64 // of the closed file; 0: too large to be read whole
	sum  uint32
}

const stateForm = "drover ledger %s\n%s\n%d %08x\n"

// readState reads how the ledger was left.
func readState(dir string) (*state, error) {
	s := &state{dir: dir}
	f, err := os.Open(filepath.Join(dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return nil, err
	}
	var word string
	if lines := strings.SplitN(string(text), "\n", 3); len(lines) == 3 {
		word = lines[1]
	}
	for c := between; c <= closed; c++ {
		if conditions[c] == word {
			s.condition = c
			_, err = fmt.Sscanf(string(text), strings.Replace(stateForm, "%s\n%s", "%s\n"+word, 1), &s.id, &s.size, &s.sum)
			if err == nil {
				return s, nil
			}
		}
	}
	return nil, broken("read how the ledger was left", fmt.Errorf("%s is damaged; if ledger.db is sound, remove it", filepath.Join(dir, stateName)))
}

// write makes a condition durable.
func (s *state) write(_ context.Context, c condition) error {
	if s.condition == c && c != closed {
		return nil
	}
	if c != closed {
		s.size, s.sum = 0, 0
	}
	text := fmt.Appendf(nil, stateForm, s.id, conditions[c], s.size, s.sum)
	err := s.put(text)
	if errors.Is(err, ledger.ErrFull) && c == between && s.condition == inUse {
		err = s.overwrite(text)
	}
	if err != nil {
		return classify("note the state of the ledger", err)
	}
	s.condition = c
	return nil
}

// put writes the state beside its name and then gives it the name.
func (s *state) put(text []byte) error {
	path := filepath.Join(s.dir, stateName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(s.dir)
	}
	return noSpace(err)
}

// overwrite writes the state where it stands, which takes no space: a full disk
// must not keep a ledger from being closed. The text is not shorter than what
// is there, and both lie in one sector.
func (s *state) overwrite(text []byte) error {
	f, err := os.OpenFile(filepath.Join(s.dir, stateName), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(text, 0)
	return noSpace(errors.Join(err, f.Sync(), f.Close()))
}

// close sums up the file and notes that it is closed.
func (s *state) close(ctx context.Context) (err error) {
	if s.size, s.sum, err = sumOf(filepath.Join(s.dir, fileName)); err != nil {
		return fmt.Errorf("sum up the ledger: %w", err)
	}
	return s.write(ctx, closed)
}

// verify says what is wrong with the files, judged by how they were left.
func (s *state) verify() error {
	op := "check the ledger"
	path := filepath.Join(s.dir, fileName)
	info, err := os.Stat(path + "-wal")
	logged := err == nil && info.Size() > 0
	switch {
	case s.condition == inUse && !logged:
		return broken(op, fmt.Errorf("its write-ahead log %s-wal is gone, and with it the last commits; restore the directory", fileName))
	case s.condition != closed && logged:
		return checkLog(path + "-wal")
	case s.condition != closed || s.size == 0:
		return nil
	}
	size, sum, err := sumOf(path)
	if err != nil {
		return classify(op, err)
	}
	if size != s.size || sum != s.sum {
		return broken(op, fmt.Errorf("%s has changed since it was closed (%d bytes, sum %08x; was %d bytes, sum %08x); restore it, or remove %s to open it as it is", fileName, size, sum, s.size, s.sum, stateName))
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumOf reads a file whole, unless it is too large: then its size is 0.
func sumOf(path string) (size int64, sum uint32, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Size() > sumLimit {
		return 0, 0, err
	}
	h := crc32.New(castagnoli)
	size, err = io.Copy(h, bufio.NewReaderSize(f, 1<<20))
	return size, h.Sum32(), err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
