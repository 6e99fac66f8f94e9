package entra

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync"

	"github.com/klauspost/compress/s2"

	"drover"
)

// packed is a token as it is kept. Tokens are most of what a feed needs in
// memory: one has 1.5 to 2.5 KB of text, and says nearly what every other one
// for its API says. Packed against one of those it has a quarter of that.
type packed struct {
	like *likeness // nil: b is the text as it is
	b    []byte    // the length of the packed claims, they, and the signature
}

// likeness is what the tokens of one API have in common.
type likeness struct {
	header string // as it is written
	claims *s2.Dict
}

// likenesses keeps those that are in use. Safe for concurrent use.
type likenesses struct {
	mu sync.Mutex
	of map[[2]string]*likeness // by resource and header
}

// maxLikenesses bounds them: three APIs and the keys that Entra signs with at a
// time are a dozen. Each has some 40 KB.
const maxLikenesses = 32

// find returns the likeness for a token of a resource, made from this one if it
// is the first; nil if there is none.
func (l *likenesses) find(resource, header string, claims []byte) *likeness {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{resource, header}
	if x, ok := l.of[key]; ok || len(l.of) >= maxLikenesses {
		return x
	}
	x := &likeness{header: header, claims: s2.MakeDict(claims, nil)}
	if x.claims == nil { // it is too short
		return nil
	}
	if l.of == nil {
		l.of = make(map[[2]string]*likeness)
	}
	l.of[key] = x
	return x
}

// partForm is how tokens write their parts. What is written in another way is kept
// as it is.
var partForm = base64.RawURLEncoding.Strict()

// pack makes a token small.
func (l *likenesses) pack(resource string, token drover.Secret) packed {
	text := string(token.Bytes())
	asItIs := packed{b: []byte(text)}
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return asItIs
	}
	claims, err := partForm.DecodeString(parts[1])
	if err != nil {
		return asItIs
	}
	signature, err := partForm.DecodeString(parts[2])
	if err != nil {
		return asItIs
	}
	x := l.find(resource, parts[0], claims)
	if x == nil {
		return asItIs
	}
	small := x.claims.Encode(make([]byte, s2.MaxEncodedLen(len(claims))), claims)
	b := make([]byte, 0, binary.MaxVarintLen32+len(small)+len(signature))
	b = binary.AppendUvarint(b, uint64(len(small)))
	p := packed{x, append(append(b, small...), signature...)}
	if string(p.text()) != text {
		return asItIs // line breaks and the like
	}
	p.b = append([]byte(nil), p.b...) // not a byte more
	return p
}

// token is what was packed.
func (p packed) token() drover.Secret {
	if p.empty() {
		return drover.Secret{}
	}
	return drover.NewSecret(p.text())
}

func (p packed) empty() bool { return len(p.b) == 0 }

// text unpacks; nil if that cannot be done, which pack sees to.
func (p packed) text() []byte {
	if p.like == nil {
		return p.b
	}
	n, skip := binary.Uvarint(p.b)
	small := p.b[skip : skip+int(n)] //nolint:gosec // a length that pack wrote
	signature := p.b[skip+len(small):]
	claims, err := p.like.claims.Decode(nil, small)
	if err != nil {
		return nil
	}
	out := make([]byte, 0, len(p.like.header)+2+partForm.EncodedLen(len(claims))+partForm.EncodedLen(len(signature)))
	out = append(append(out, p.like.header...), '.')
	out = append(partForm.AppendEncode(out, claims), '.')
	return partForm.AppendEncode(out, signature)
}
