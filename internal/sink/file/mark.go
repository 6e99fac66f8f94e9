package file

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"

	"drover"
)

// mark is what the ledger keeps for a lane: how far each of its files was
// settled. No inode and no incarnation is in it: it holds for a restored copy
// of the directory and of the ledger.
type mark struct {
	Version int              `json:"v"`
	Files   map[string]state `json:"files"`
}

// state is how far one path was settled.
type state struct {
	N     int   `json:"n"`    // number of the current file; it is put away under it
	Size  int64 `json:"size"` // of the current file, settled
	Begun int64 `json:"begun,omitempty"`
	// Head identifies the file: a hash of its first HeadLen bytes.
	Head    string `json:"head,omitempty"`
	HeadLen int    `json:"head_len,omitempty"`
	// Old is where records of an older life lie: the ledger was restored from
	// a state in which it did not know of them.
	Old *stretch `json:"old,omitempty"`
}

// stretch is a part of the files of one path.
type stretch struct {
	FromN int   `json:"from_n"`
	From  int64 `json:"from"`
	ToN   int   `json:"to_n"`
	To    int64 `json:"to"`
}

const markVersion = 1

// maxHead is how many bytes identify a file. Each record of format json is
// longer, and its event ID lies in them.
const maxHead = 256

func headOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// setHead notes the file's identity by its first bytes.
func (s *state) setHead(first []byte) {
	first = first[:min(len(first), maxHead)]
	s.Head, s.HeadLen = headOf(first), len(first)
}

// same reports whether two states say the same.
func (s state) same(t state) bool {
	if (s.Old == nil) != (t.Old == nil) || s.Old != nil && *s.Old != *t.Old {
		return false
	}
	s.Old, t.Old = nil, nil
	return s == t
}

// readMark decodes a mark; nil is that of a lane which has none yet.
func readMark(lane string, b []byte) (mark, error) {
	m := mark{Version: markVersion}
	if b != nil {
		err := json.Unmarshal(b, &m)
		if err == nil && m.Version != markVersion {
			err = errors.New("it was written by another version of drover")
		}
		if err != nil {
			return m, &drover.Error{Op: "read the mark of " + lane, Kind: drover.Broken, Err: err}
		}
	}
	m.Files = maps.Clone(m.Files)
	if m.Files == nil {
		m.Files = make(map[string]state)
	}
	return m, nil
}

func (m mark) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic("a mark of numbers and names cannot be encoded: " + err.Error())
	}
	return b
}
