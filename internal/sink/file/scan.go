package file

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"drover"
)

// scan is what the lines behind a mark turn out to be.
type scan struct {
	recs   []drover.Record
	lines  map[string][]int // of the batch, by their bytes
	ids    map[key]int      // and by event ID
	older  []int            // of found, those that stand there otherwise
	found  []int            // records of the batch, in the order of the file
	seen   known            // event IDs of all whole lines that stay
	n      int              // number of the file that is read
	base   int64            // where in it
	others int              // lines of drover's own that are not of the batch
}

var errForeign = errors.New("a line that is not drover's")

// newScan is empty of records until prepare.
func newScan() *scan { return &scan{seen: make(known)} }

// prepare makes the records of a batch known, before the first line is read.
func (s *scan) prepare(recs []drover.Record, index []int, has []bool) {
	s.recs = recs
	s.lines, s.ids = make(map[string][]int, len(index)), make(map[key]int, len(index))
	for _, i := range index {
		if !has[i] {
			s.lines[string(recs[i].Body)] = append(s.lines[string(recs[i].Body)], i)
			s.ids[keyOf(&recs[i])] = i
		}
	}
}

// read takes the lines of r and returns where the last that stays ends.
// Behind a line that a power cut left in pieces (it holds zero bytes) nothing
// stays: nothing behind it was ever confirmed.
func (s *scan) read(r io.Reader) (end int64, err error) {
	broken := false
	err = eachLine(r, func(line []byte, whole bool) error {
		i, ours := s.match(line)
		otherwise := false
		k, own := keyOfLine(line)
		if !ours && own {
			i, ours = s.ids[k]
			ours = ours && sameRow(s.recs[i].Source, line, s.recs[i].Body)
			otherwise = ours
		}
		switch {
		case !whole, bytes.IndexByte(line, 0) >= 0:
			broken = true
		case !ours && !own:
			return errForeign
		}
		if broken {
			return nil
		}
		if own {
			s.seen[k] = spot{s.n, s.base + end}
		}
		end += int64(len(line)) + 1
		if ours {
			s.found = append(s.found, i)
			if otherwise {
				s.older = append(s.older, i)
			}
		} else {
			s.others++
		}
		return nil
	})
	return end, err
}

// match finds the record of the batch that a line is, byte for byte. Format
// raw may write one line for two records; each line counts for one.
func (s *scan) match(line []byte) (i int, ok bool) {
	list := s.lines[string(line)]
	if len(list) == 0 {
		return 0, false
	}
	if len(list) > 1 {
		s.lines[string(line)] = list[1:]
	}
	return list[0], true
}

// eachLine calls f for each line, without its end; whole is false for a last
// one that has none.
func eachLine(r io.Reader, f func(line []byte, whole bool) error) error {
	in := bufio.NewReaderSize(r, 256<<10)
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case err != nil && err != io.EOF:
			return err
		}
		if long != nil {
			part = append(long, part...)
			long = nil
		}
		line, whole := bytes.CutSuffix(part, []byte("\n"))
		if len(part) > 0 {
			if ferr := f(line, whole); ferr != nil {
				return ferr
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}
