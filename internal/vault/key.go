package vault

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keyPrefix begins every line of a key file: drover-key-1:<id>:<base64>.
const keyPrefix = "drover-key-1:"

// maxKeyFile bounds what is read as a key file: more than a hundred keys.
const maxKeyFile = 16 << 10

// Source says where the master key comes from: exactly one of its members.
type Source struct {
	File       string // a file that only its owner can read
	Env        string // an environment variable, removed once read
	Credential string // the name of a systemd credential (LoadCredential=)
	Keeper     Keeper // another place
}

// Place returns the one place that s names.
func (s Source) Place() (Keeper, error) {
	var named []Keeper
	if s.File != "" {
		named = append(named, file(s.File))
	}
	if s.Env != "" {
		named = append(named, env(s.Env))
	}
	if s.Credential != "" {
		named = append(named, credential(s.Credential))
	}
	if s.Keeper != nil {
		named = append(named, s.Keeper)
	}
	if len(named) != 1 {
		return nil, errors.New("name exactly one source of the master key: a file, an environment variable, a systemd credential, the system's keyring or a Key Vault")
	}
	return named[0], nil
}

// Open reads the master key from the one place that src names. A key that
// others could read or exchange is refused, with the command that mends it.
func Open(src Source) (*Vault, error) {
	k, err := src.Place()
	if err != nil {
		return nil, err
	}
	return OpenFrom(context.Background(), k)
}

// Create makes a new master key with a random ID in a file that must not exist
// yet. When it returns nil, the file is on disk.
func Create(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the master key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w: %w", path, ErrThere, err)
	}
	if err != nil {
		return fmt.Errorf("create the master key: %w", err)
	}
	line := newLine()
	defer clear(line)
	_, err = f.Write(line)
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(dir)); err != nil {
		// Half a key would be in the way of the next attempt.
		return fmt.Errorf("create the master key: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}

// Append puts a new master key behind those of a file. It seals from the next
// start on.
func Append(path string) error {
	k := file(path)
	text, err := k.Read(context.Background())
	if err != nil {
		return err
	}
	defer clear(text)
	if _, err := parse(bytes.Clone(text), path); err != nil {
		return err
	}
	both := joined(text, newLine())
	defer clear(both)
	return k.Write(context.Background(), both)
}

// newLine is a new random key with a random ID, as its line.
func newLine() []byte {
	id, key := make([]byte, idSize), make([]byte, keySize)
	defer clear(key)
	_, _ = rand.Read(id)
	_, _ = rand.Read(key)
	line := hex.AppendEncode([]byte(keyPrefix), id)
	line = base64.StdEncoding.AppendEncode(append(line, ':'), key)
	return append(line, '\n')
}

// joined is a text with a line behind it.
func joined(text, line []byte) []byte {
	text = bytes.TrimRight(text, "\r\n")
	out := make([]byte, 0, len(text)+1+len(line))
	return append(append(append(out, text...), '\n'), line...)
}

// Line is a master key as text: its ID in hex and the key itself.
type Line struct {
	ID  string
	Key []byte
}

// Lines reads a text of keys, one a line, for a keeper that keeps them in
// another form. where names the place; the errors tell nothing of the text.
func Lines(text []byte, where string) (lines []Line, err error) {
	seen := make(map[string]bool)
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte(keyPrefix))
		hexID, b64, colon := bytes.Cut(rest, []byte(":"))
		if !ok || !colon {
			return nil, fmt.Errorf("%s holds no drover master key", where)
		}
		id, err := hex.DecodeString(string(hexID))
		key, n := make([]byte, base64.StdEncoding.DecodedLen(len(b64))), 0
		if err == nil {
			n, err = base64.StdEncoding.Decode(key, b64)
		}
		if err != nil || len(id) != idSize || n != keySize {
			return nil, fmt.Errorf("%s holds a damaged master key; restore it from where it is kept", where)
		}
		if seen[string(id)] {
			return nil, fmt.Errorf("%s holds the master key %s twice; remove one of the lines", where, hex.EncodeToString(id))
		}
		seen[string(id)] = true
		lines = append(lines, Line{hex.EncodeToString(id), key[:n]})
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s holds no drover master key", where)
	}
	return lines, nil
}

// Text is l as it stands in a text of keys.
func (l Line) Text() []byte {
	out := append([]byte(keyPrefix), l.ID...)
	out = base64.StdEncoding.AppendEncode(append(out, ':'), l.Key)
	return append(out, '\n')
}

// parse reads one key a line; the last one is the newest. text is wiped. Its
// errors tell nothing of it.
func parse(text []byte, where string) (*ring, error) {
	defer clear(text)
	lines, err := Lines(text, where)
	if err != nil {
		return nil, err
	}
	r := &ring{keys: make(map[string]cipher.AEAD)}
	for _, l := range lines {
		aead, err := newAEAD(l.Key)
		if err != nil {
			return nil, err
		}
		clear(l.Key)
		id, _ := hex.DecodeString(l.ID) // it was read as one
		r.ids = append(r.ids, string(id))
		r.keys[string(id)] = aead
	}
	return r, nil
}
