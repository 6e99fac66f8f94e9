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
// streamed; a secret takes about 200 times its length of memory.
//
// What stands in outputs on purpose is given as public: 16 bytes that a secret
// shares with an output are no leak where 12 in a row of them are public.
func Leaks(secrets []Secret, outputs []Log, public ...string) ([]Finding, error) {
	s, err := newSearch(secrets, public)
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

// block is the length of what is looked up, and stride the distance between the
// blocks of a spelling that are: any window holds exactly one of them whole, so
// that an index of every ninth finds every window.
const (
	block  = 8
	stride = window - block + 1
)

// needle is a block of a spelling with all that a window around it can hold.
type needle struct {
	secret   int32
	before   int32 // bytes of around that stand before the block
	spelling string
	around   string
}

// search holds all needles by their blocks.
type search struct {
	secrets []Secret
	public  []string
	filter  [1 << 16]bool // of blocks, folded
	needles map[uint64][]needle
}

func newSearch(secrets []Secret, public []string) (*search, error) {
	if len(secrets) == 0 {
		return nil, errors.New("there are no secrets to search for")
	}
	s := &search{secrets: secrets, public: public, needles: make(map[uint64][]needle)}
	for i, x := range secrets {
		if len(x.Value) < block {
			return nil, fmt.Errorf("secret %q is shorter than 8 bytes: it would be found by chance", x.Name)
		}
		for name, text := range spellings(x.Value) {
			for k := 0; k+block <= len(text); k += stride {
				before := min(k, window-block)
				s.add(text[k:k+block], needle{int32(i), int32(before), name, text[k-before : min(k+window, len(text))]})
				if len(text) < window { // it is a leak as a whole only
					break
				}
			}
		}
	}
	return s, nil
}

func (s *search) add(key string, n needle) {
	h := uint64(0)
	for _, c := range []byte(key) {
		h = h<<8 | uint64(c)
	}
	if !slices.ContainsFunc(s.needles[h], func(o needle) bool { return o.before == n.before && o.around == n.around }) {
		s.needles[h] = append(s.needles[h], n)
		s.filter[fold(h)] = true
	}
}

func fold(h uint64) uint16 { return uint16(h * 0x9e3779b97f4a7c15 >> 48) }

// spellings are the forms in which a value could stand in an output.
func spellings(v string) map[string]string {
	m := map[string]string{"plain": v, "hex": hex.EncodeToString([]byte(v)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(v)))}
	if b, err := json.Marshal(v); err == nil {
		m["json"] = string(b[1 : len(b)-1])
		m["json, slashes escaped"] = strings.ReplaceAll(m["json"], "/", `\/`)
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
		keep := min(window-1, len(part))
		offset += int64(len(part) - keep)
		kept = copy(buf, part[len(part)-keep:])
	}
}

// scan looks at each position.
func (s *search) scan(b []byte, found func(n needle, at int)) {
	h := uint64(0)
	for i, c := range b {
		h = h<<8 | uint64(c)
		if i < block-1 || !s.filter[fold(h)] {
			continue
		}
		at := i - block + 1
		for _, n := range s.needles[h] {
			if left, run := n.run(b, at); len(run) >= min(window, len(n.around)) && !s.open(run) {
				found(n, at-left)
			}
		}
	}
}

// run is what of n stands in b, whose block is at a place there, and how much of
// it before the block.
func (n needle) run(b []byte, at int) (left int, run string) {
	k, right := int(n.before), block
	for left < min(k, at) && n.around[k-left-1] == b[at-left-1] {
		left++
	}
	for right < min(len(n.around)-k, len(b)-at) && n.around[k+right] == b[at+right] {
		right++
	}
	return left, n.around[k-left : k+right]
}

// chance is how many bytes beside a public value may be those of a secret too: a
// number or a letter behind an ID is, in some of a thousand texts.
const chance = 4

// open says that all windows of a run are public, but for what is chance.
func (s *search) open(run string) bool {
	if len(s.public) == 0 {
		return false
	}
	size := min(window, len(run))
	part := min(window-chance, size)
	for k := 0; k+size <= len(run); k++ {
		if !slices.ContainsFunc(s.public, func(p string) bool {
			for i := k; i+part <= k+size; i++ {
				if strings.Contains(p, run[i:i+part]) {
					return true
				}
			}
			return false
		}) {
			return false
		}
	}
	return true
}
