package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"slices"

	"drover"
	"drover/internal/format"
	"drover/internal/revision"
)

// key tells a record again: its event ID.
type key [16]byte

// known are records, and where each of them lies.
type known map[key]spot

// spot is where a line begins, in the file of a number.
type spot struct {
	n  int
	at int64
}

// maxKnown bounds the records of an older life that are looked for, 32 bytes
// each and the map around them.
const maxKnown = 4_000_000

// sameRow reports whether two lines carry the same row. Between two lives of a
// ledger an event ID may stand for two contents: it holds how many contents of
// one change time the ledger had seen, and an older one has seen fewer.
func sameRow(src drover.SourceID, a, b []byte) bool {
	x, okA := format.Row(a)
	y, okB := format.Row(b)
	return okA && okB && (bytes.Equal(x, y) || revision.Same(src, x, y))
}

// oldLines reads lines of an older life.
type oldLines struct {
	l    *log
	away []piece
	f    handle
	n    int
}

// line returns the line that begins at a spot, nil if its file is gone.
func (o *oldLines) line(at spot) ([]byte, error) {
	if o.f == nil || o.n != at.n {
		o.close()
		name := o.l.name
		if at.n != o.l.state.N {
			if o.away == nil {
				away, err := o.l.away()
				if err != nil {
					return nil, err
				}
				o.away = away
			}
			i := slices.IndexFunc(o.away, func(p piece) bool { return p.n == at.n })
			if i < 0 {
				return nil, nil
			}
			name = o.away[i].name
		}
		f, err := o.l.s.disk.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, diskError("open "+name, err)
		}
		o.f, o.n = f, at.n
	}
	for size := int64(16 << 10); ; size *= 4 {
		buf := make([]byte, size)
		n, err := o.f.ReadAt(buf, at.at)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return buf[:i], nil
		}
		if errors.Is(err, io.EOF) {
			return buf[:n], nil
		}
		if err != nil {
			return nil, diskError("read "+o.l.name, err)
		}
	}
}

func (o *oldLines) close() {
	if o.f != nil {
		_ = o.f.Close() // only read
		o.f = nil
	}
}

// keyOf is the key of a record. What is no event ID is hashed.
func keyOf(r *drover.Record) key { return keyOfID(r.EventID) }

func keyOfID(id string) (k key) {
	if len(id) == 2*len(k) {
		if _, err := hex.Decode(k[:], []byte(id)); err == nil {
			return k
		}
	}
	sum := sha256.Sum256([]byte(id))
	copy(k[:], sum[:])
	return k
}

// keyOfLine is the key of a line that drover wrote in format json.
func keyOfLine(line []byte) (k key, ok bool) {
	id, ok := format.EventID(line)
	if !ok {
		return k, false
	}
	return keyOfID(id), true
}
