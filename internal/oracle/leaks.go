package oracle

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
)

// window is the length of the parts of a secret that are searched for: any 16
// bytes in a row of any spelling count as a leak.
const window = 16

// Secret is something that must not stand in an output: a canary password, a
// token, or the mark that one tenant's alerts carry, when the outputs are
// another tenant's.
type Secret struct {
	Name  string // what findings call it; never the value
	Value string // at least 8 bytes
}

// Leaks searches outputs (logs, errors, metrics, pages, process lists, stores)
// for secrets: as they are, as JSON, URL-encoded, in base64 (both alphabets, at
// any alignment), in hex, and each 16 bytes of any of these. A finding names
// secret, spelling, output and position; it never holds the value. Outputs are
// streamed.
func Leaks(secrets []Secret, outputs []Log) ([]Finding, error) {
	s, err := newSearch(secrets)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	for _, out := range outputs {
		hits, err := s.file(out)
		if err != nil {
			return nil, err
		}
		if len(hits) > 0 {
			findings = append(findings, Finding{Fault: Leak, Tenant: out.Tenant, Place: out.Name, Count: len(hits), Examples: hits})
		}
	}
	return findings, nil
}

// AddLeaks puts the findings of Leaks into a verdict.
func (v *Verdict) AddLeaks(found []Finding) { v.Findings = append(slices.Clone(found), v.Findings...) }

// needle is a part of a spelling of a secret.
type needle struct {
	secret   int
	spelling string
	bytes    string
}

// search holds all needles, by a hash of their first bytes.
type search struct {
	secrets []Secret
	size    int // of what is hashed
	filter  [1 << 16]bool
	needles map[uint64][]needle
	longest int
	power   uint64 // hashBase to the power of size-1
}

const hashBase = 0x100000001b3

func newSearch(secrets []Secret) (*search, error) {
	if len(secrets) == 0 {
		return nil, errors.New("there are no secrets to search for")
	}
	s := &search{secrets: secrets, size: window, needles: make(map[uint64][]needle)}
	var all []needle
	for i, x := range secrets {
		if len(x.Value) < 8 {
			return nil, fmt.Errorf("secret %q is shorter than 8 bytes: it would be found by chance", x.Name)
		}
		for name, text := range spellings(x.Value) {
			if len(text) <= window {
				all = append(all, needle{i, name, text})
				s.size = min(s.size, len(text))
				continue
			}
			for k := 0; k+window <= len(text); k++ {
				all = append(all, needle{i, name, text[k : k+window]})
			}
		}
	}
	s.power = 1
	for range s.size - 1 {
		s.power *= hashBase
	}
	for _, n := range all {
		s.longest = max(s.longest, len(n.bytes))
		h := uint64(0)
		for _, c := range []byte(n.bytes[:s.size]) {
			h = h*hashBase + uint64(c)
		}
		if !slices.ContainsFunc(s.needles[h], func(o needle) bool { return o.bytes == n.bytes }) {
			s.needles[h] = append(s.needles[h], n)
			s.filter[fold(h)] = true
		}
	}
	return s, nil
}

func fold(h uint64) uint16 { return uint16(h ^ h>>16 ^ h>>32 ^ h>>48) }

// spellings are the forms in which a value could stand in an output.
func spellings(v string) map[string]string {
	m := map[string]string{"plain": v, "hex": hex.EncodeToString([]byte(v)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(v)))}
	if b, err := json.Marshal(v); err == nil {
		m["json"] = string(b[1 : len(b)-1])
	}
	m["url"] = url.QueryEscape(v)
	m["url path"] = url.PathEscape(v)
	m["url lower"] = lowerEscapes(m["url"])
	var every strings.Builder
	for _, c := range []byte(v) {
		fmt.Fprintf(&every, "%%%02X", c)
	}
	m["url every byte"] = every.String()
	// Base64 of a text that holds the value somewhere: three alignments, cut to
	// the characters that depend on the value alone.
	for shift := range 3 {
		in := append(make([]byte, shift), v...)
		first := (shift*8 + 5) / 6
		last := len(in) * 8 / 6
		for name, enc := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			m[fmt.Sprintf("%s+%d", name, shift)] = enc.EncodeToString(in)[first:last]
		}
	}
	return m
}

// lowerEscapes turns %2F into %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], strings.ToLower(string(b[i+1:i+3])))
		}
	}
	return string(b)
}

// maxHits bounds the examples of one output.
const maxHits = 10

// file searches one output, at most maxHits cases: one for each secret and
// spelling.
func (s *search) file(out Log) (hits []Example, err error) {
	f, err := out.Open()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", out.Name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	seen := make(map[string]bool)
	buf := make([]byte, 1<<20)
	kept, offset := 0, int64(0) // bytes carried over; position of buf[0]
	for {
		n, readErr := io.ReadFull(f, buf[kept:])
		part := buf[:kept+n]
		last := readErr != nil
		if last && !errors.Is(readErr, io.EOF) && !errors.Is(readErr, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("read %s: %w", out.Name, readErr)
		}
		s.scan(part, func(n needle, at int) {
			key := fmt.Sprint(n.secret, n.spelling)
			if !seen[key] && len(hits) < maxHits {
				seen[key] = true
				hits = append(hits, Example{Rev: -1, Where: fmt.Sprintf("%s, byte %d", out.Name, offset+int64(at)), Detail: s.secrets[n.secret].Name + " as " + n.spelling})
			}
		})
		if last {
			return hits, nil
		}
		keep := min(s.longest-1, len(part))
		offset += int64(len(part) - keep)
		kept = copy(buf, part[len(part)-keep:])
	}
}

// scan looks at each position with a rolling hash.
func (s *search) scan(b []byte, found func(n needle, at int)) {
	if len(b) < s.size {
		return
	}
	h := uint64(0)
	for i, c := range b {
		if i >= s.size {
			h -= uint64(b[i-s.size]) * s.power
		}
		h = h*hashBase + uint64(c)
		if i < s.size-1 || !s.filter[fold(h)] {
			continue
		}
		at := i - s.size + 1
		for _, n := range s.needles[h] {
			if len(b)-at >= len(n.bytes) && string(b[at:at+len(n.bytes)]) == n.bytes {
				found(n, at)
			}
		}
	}
}
