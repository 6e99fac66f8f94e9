package drover

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Secret is a value that must not be shown: a client secret, a token, a key.
// It prints as "[redacted]" in every verb, in JSON, YAML and logs; only Reveal
// and Bytes give it out.
type Secret struct {
	_ [0]func() // two secrets are compared by Equal
	// Behind two pointers: where a Secret is an unexported member of something
	// that is printed, fmt calls none of its methods and shows what it finds,
	// for a verb that does not fit even what one pointer leads to.
	v **[]byte
}

const redacted = "[redacted]"

// NewSecret wraps a copy of s.
func NewSecret[T string | []byte](s T) Secret {
	b := append([]byte(nil), s...)
	p := &b
	return Secret{v: &p}
}

// Reveal returns the value. Its callers are few and each sends it to the one
// place that it is for.
func (s Secret) Reveal() string { return string(s.Bytes()) }

// Bytes returns the value without a copy; it must not be changed or kept.
func (s Secret) Bytes() []byte {
	if s.v == nil {
		return nil
	}
	return **s.v
}

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return len(s.Bytes()) == 0 }

// Equal compares in constant time for values of one length.
func (s Secret) Equal(t Secret) bool { return subtle.ConstantTimeCompare(s.Bytes(), t.Bytes()) == 1 }

// String is "[redacted]".
func (s Secret) String() string { return redacted }

// GoString is "[redacted]".
func (s Secret) GoString() string { return redacted }

// MarshalText is "[redacted]": a secret that is encoded by mistake is not shown.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue is "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format writes "[redacted]" for every verb, so that none shows the bytes.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }
