// Package leak looks for secrets where none may be: in files, logs and answers,
// in clear and in every shape that they take on the way there (reference
// faults-and-invariants R8).
package leak

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// part is how much of a secret must be found in one piece. Shorter secrets are
// not looked for.
const part = 16

// Search knows what must not be found. The zero value knows nothing.
type Search struct {
	parts map[[part]byte]string
	n     int
}

// Add names a value, whole and in parts of 16 bytes, as it is, in base64 of both
// alphabets wherever its groups begin, in hex of both cases, and as a URL and
// JSON write it.
func (s *Search) Add(name, value string) {
	if len(value) < part {
		return
	}
	if s.parts == nil {
		s.parts = make(map[[part]byte]string)
	}
	s.n++
	shapes := map[string]string{"in clear": value, "in hex": hex.EncodeToString([]byte(value)), "in HEX": strings.ToUpper(hex.EncodeToString([]byte(value))),
		"in a URL": url.QueryEscape(value), "in a path": url.PathEscape(value), "with slashes escaped": strings.ReplaceAll(value, "/", `\/`)}
	for at := range 3 {
		shapes[fmt.Sprint("in base64, ", at)] = base64.RawStdEncoding.EncodeToString([]byte(value[at:]))
		shapes[fmt.Sprint("in base64 for URLs, ", at)] = base64.RawURLEncoding.EncodeToString([]byte(value[at:]))
	}
	for shape, text := range shapes {
		if strings.HasPrefix(shape, "in base64") {
			text = text[:len(text)-len(text)%4] // what is behind it belongs to the last group too
		}
		for i := 0; i+part <= len(text); i += part {
			s.one(text[i:], name+" "+shape)
		}
		if len(text) >= part {
			s.one(text[len(text)-part:], name+" "+shape)
		}
	}
}

func (s *Search) one(text, name string) {
	key := [part]byte([]byte(text[:part]))
	if _, there := s.parts[key]; !there {
		s.parts[key] = name
	}
}

// Forgive takes away what may be found: parts of a value that stands in clear
// on purpose, wherever they begin.
func (s *Search) Forgive(value string) {
	for i := 0; i+part <= len(value); i++ {
		delete(s.parts, [part]byte([]byte(value[i:i+part])))
	}
}

// Values is how many values are looked for.
func (s *Search) Values() int { return s.n }

// In names what a text holds, sorted.
func (s *Search) In(text []byte) (found []string) {
	seen := make(map[string]bool)
	for i := 0; i+part <= len(text); i++ {
		if name, ok := s.parts[[part]byte(text[i:i+part])]; ok && !seen[name] {
			seen[name] = true
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// Below names what the files of a directory hold, and how many files and bytes
// there were.
func (s *Search) Below(dir string) (found []string, files int, size int64, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files, size = files+1, size+int64(len(b))
		for _, f := range s.In(b) {
			found = append(found, filepath.Base(path)+": "+f)
		}
		return nil
	})
	return found, files, size, err
}
