package sqlite

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// SQLite reads its log up to the first frame whose checksum is wrong and takes
// that for the end: a write that the power cut off. A bit that turned in the
// middle looks the same, and every commit behind it would be gone without a
// word. The two can be told apart: a transaction is only written once the one
// before it is on disk, so behind a torn write there is never another
// transaction (SQLite file format, write-ahead log).

const (
	walHeader   = 32
	frameHeader = 24
	walMagic    = 0x377f0682 // the last bit says which byte order the sums have
)

// walReader walks the frames of a log.
type walReader struct {
	f     io.Reader
	order binary.ByteOrder
	salt  [8]byte
	page  []byte
	head  [frameHeader]byte
}

// frame is what matters of one.
type frame struct {
	current bool // of this generation of the log
	commit  bool // the last of a transaction
	chained bool // its sum follows from the frame before it, as that stands there
	sum     [2]uint32
}

// errLog is what a damaged log is called.
var errLog = errors.New("the write-ahead log is damaged: commits stand behind a place that cannot be read; restore the directory")

// checkLog reports whether commits stand behind the first damage of a log.
func checkLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return classify("check the log", err)
	}
	defer func() { _ = f.Close() }()
	var head [walHeader]byte
	if _, err := io.ReadFull(f, head[:]); err != nil || head == [walHeader]byte{} {
		return nil // nothing was ever committed to it
	}
	magic, size := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[8:])
	w := &walReader{f: bufio.NewReaderSize(f, 1<<20), order: binary.LittleEndian, salt: [8]byte(head[16:24])}
	if magic&1 != 0 {
		w.order = binary.BigEndian
	}
	sum := w.add([2]uint32{}, head[:24])
	if magic&^1 != walMagic || size < 512 || size > 1<<16 || size&(size-1) != 0 || sum != [2]uint32{binary.BigEndian.Uint32(head[24:]), binary.BigEndian.Uint32(head[28:])} {
		// The header is one short write that is on disk before any frame is.
		return broken("check the log", fmt.Errorf("%w (header)", errLog))
	}
	w.page = make([]byte, size)
	return w.behind(sum)
}

// behind walks the frames and judges what stands behind the first damage.
func (w *walReader) behind(sum [2]uint32) error {
	torn, commits, last := false, 0, frame{sum: sum}
	for n := 0; ; n++ {
		fr, err := w.next(last.sum)
		if err != nil {
			break
		}
		if torn = torn || !fr.chained || !fr.current; torn && fr.current {
			if fr.commit {
				commits++
			}
			// Two ends of transactions, or one that another follows.
			if commits > 1 || n > 0 && fr.chained && last.current && last.commit {
				return broken("check the log", fmt.Errorf("%w (frame %d)", errLog, n+1))
			}
		}
		last = fr
	}
	return nil
}

// next reads a frame. sum is what the frame before it says of itself.
func (w *walReader) next(sum [2]uint32) (fr frame, err error) {
	if _, err := io.ReadFull(w.f, w.head[:]); err != nil {
		return fr, err
	}
	if _, err := io.ReadFull(w.f, w.page); err != nil {
		return fr, err
	}
	fr.current = [8]byte(w.head[8:16]) == w.salt
	fr.commit = binary.BigEndian.Uint32(w.head[4:]) != 0
	fr.sum = [2]uint32{binary.BigEndian.Uint32(w.head[16:]), binary.BigEndian.Uint32(w.head[20:])}
	fr.chained = w.add(w.add(sum, w.head[:8]), w.page) == fr.sum
	return fr, nil
}

// add goes on with SQLite's checksum over b.
func (w *walReader) add(sum [2]uint32, b []byte) [2]uint32 {
	a, c := sum[0], sum[1]
	for i := 0; i+8 <= len(b); i += 8 {
		a += w.order.Uint32(b[i:]) + c
		c += w.order.Uint32(b[i+4:]) + a
	}
	return [2]uint32{a, c}
}
