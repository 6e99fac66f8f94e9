// Package composed makes what a soak test gives a parser: ten million inputs
// that are the same on every machine and in every run. A fuzz target is led to
// new code by what it covers and gets through some thousand inputs a second;
// these are composed of whole values, so that most of them go deep, and come
// many times as fast.
package composed

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TenMillion is how many inputs a soak test gives.
const TenMillion = 10_000_000

// Each calls check n times, on all processors at once, each time with random
// numbers of its own, and returns n. check ends its test with t.Fatal for a
// finding. DROVER_INPUTS is another n.
func Each(t *testing.T, n int, check func(t *testing.T, rng *rand.Rand)) int {
	t.Helper()
	if s := os.Getenv("DROVER_INPUTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal("DROVER_INPUTS: ", err)
		}
	}
	workers := runtime.GOMAXPROCS(0)
	done := make([]int, workers)
	t.Run("all", func(t *testing.T) { // ends when its parts have
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				source := rand.NewPCG(0, 0)
				rng := rand.New(source)
				for i := w; i < n; i += workers {
					source.Seed(1, uint64(i))
					check(t, rng)
					done[w]++
				}
			})
		}
	})
	sum := 0
	for _, d := range done {
		sum += d
	}
	if sum != n {
		t.Errorf("%d inputs of %d", sum, n)
	}
	return sum
}

// Damage changes a text in up to four places: a stretch is left out, doubled or
// put elsewhere, a byte or a piece is put in, the text is cut. Half of
// the texts stay as they are.
func Damage(rng *rand.Rand, text []byte, pieces ...string) []byte {
	for range max(0, rng.IntN(8)-3) {
		i, j := rng.IntN(len(text)+1), rng.IntN(len(text)+1)
		if rng.IntN(2) == 0 {
			j = min(i+rng.IntN(4), len(text)) // a short stretch
		}
		a, b := min(i, j), max(i, j)
		switch rng.IntN(6) {
		case 0:
			text = slices.Concat(text[:a], text[b:])
		case 1:
			text = slices.Concat(text[:b], text[a:b], text[b:])
		case 2:
			at := rng.IntN(len(text) + 1)
			text = slices.Concat(text[:at], text[a:b], text[at:])
		case 3:
			text = slices.Concat(text[:i], []byte{byte(rng.Uint32())}, text[i:])
		case 4:
			if len(pieces) > 0 {
				text = slices.Concat(text[:i], []byte(pieces[rng.IntN(len(pieces))]), text[i:])
			}
		default:
			if rng.IntN(4) == 0 {
				text = text[:i:i]
			} else if len(text) > 0 {
				text = slices.Clone(text)
				text[min(i, len(text)-1)] ^= 1 << rng.IntN(8)
			}
		}
	}
	return text
}

// texts are the insides of JSON strings that a parser may trip over.
var texts = []string{
	"", "a", "A", "new", "high", "2026-03-02T08:03:41.5033333Z", `\u0061`, `\"`, `\\`, `\\\"`, `\/`, `\n`, `\u0000`, `\ud83d\ude00`, "\U0001F600", `\ud7ff\ue000`, `\ud800\udc00`, `\uDBFF\uDFFF`, "\ufffd", `\ufffd`, "\u2028",
	"]}", `[{\"`, ",", "é", "e\u0301", "0123456789abcdef", "#microsoft.graph.security.deviceEvidence", "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
}

// broken are those that a strict parser refuses; they are rare.
var broken = []string{`\ud83d`, `\ude00\ud83d`, `\udfff`, "\xff", "\xed\xa0\x80", "\x01", "\t"}

var numbers = []string{"0", "-0", "1", "-1", "1.0", "10e-1", "0.1e1", "1E+0", "100", "1e2", "9007199254740993", "9007199254740992", "1e999", "-2.5e+3", "0e9", "1e2147483648", "10e2147483647", "1e-99999999999", "18446744073709551616", "0.30000000000000004"}

// JSON appends a value, nested up to depth levels. Names of members are drawn
// from names, and so are some texts. It is what encoding/json takes, but for
// control characters in strings. These are rare, and so are names that stand
// twice, half surrogate pairs and what is no UTF-8.
func JSON(rng *rand.Rand, b []byte, depth int, names []string) []byte {
	kind := rng.IntN(10)
	if depth <= 0 {
		kind = rng.IntN(5)
	}
	switch kind {
	case 0:
		return append(b, []string{"null", "true", "false"}[rng.IntN(3)]...)
	case 1, 2:
		return append(b, numbers[rng.IntN(len(numbers))]...)
	case 3, 4:
		return Text(rng, b, names)
	case 5, 6:
		b = append(b, '[')
		for i := range rng.IntN(4) {
			if i > 0 {
				b = append(b, ',')
			}
			b = JSON(rng, space(rng, b), depth-1, names)
			b = space(rng, b)
		}
		return append(b, ']')
	}
	return Object(rng, b, depth, names)
}

// Object appends an object whose values are nested up to depth-1 levels.
func Object(rng *rand.Rand, b []byte, depth int, names []string) []byte {
	b = append(b, '{')
	first, stride := rng.IntN(len(names)), 1+2*rng.IntN(2)
	for i := range rng.IntN(6) {
		if i > 0 {
			b = append(b, ',')
		}
		if b = space(rng, b); rng.IntN(8) == 0 {
			b = Text(rng, b, names)
		} else {
			b = name(rng, append(b, '"'), names[(first+i*stride)%len(names)])
			b = append(b, '"')
		}
		b = space(rng, b)
		b = JSON(rng, space(rng, append(b, ':')), depth-1, names)
		b = space(rng, b)
	}
	return append(b, '}')
}

// Nested appends a value that is nested in so many objects and arrays.
func Nested(rng *rand.Rand, b []byte, levels int, names []string) []byte {
	closers := make([]byte, levels)
	for i := range closers {
		if rng.IntN(2) == 0 {
			b, closers[levels-1-i] = append(b, '['), ']'
		} else {
			b, closers[levels-1-i] = append(b, `{"a":`...), '}'
		}
	}
	return append(JSON(rng, b, 1, names), closers...)
}

// Text appends a string: a name, or a text that a parser may trip over.
func Text(rng *rand.Rand, b []byte, names []string) []byte {
	b = append(b, '"')
	switch n := rng.IntN(len(names) + len(texts)); {
	case n < len(names):
		b = name(rng, b, names[n])
	case rng.IntN(32) == 0:
		b = append(b, broken[rng.IntN(len(broken))]...)
	default:
		for range 1 + rng.IntN(3)/2 {
			b = append(b, texts[rng.IntN(len(texts))]...)
		}
	}
	return append(b, '"')
}

// name appends a name, here and there escaped in part.
func name(rng *rand.Rand, b []byte, name string) []byte {
	if rng.IntN(16) > 0 {
		return append(b, name...)
	}
	for _, c := range []byte(name) {
		if rng.IntN(3) == 0 {
			b = fmt.Appendf(b, `\u%04x`, c)
		} else {
			b = append(b, c)
		}
	}
	return b
}

// blanks are what may stand between tokens; mostly nothing does.
const blanks = " \n\t\r"

func space(rng *rand.Rand, b []byte) []byte {
	if n := rng.IntN(32); n < len(blanks) {
		return append(b, strings.Repeat(blanks[n:n+1], 1+n%2)...)
	}
	return b
}
