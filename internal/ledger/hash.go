package ledger

import (
	"crypto/sha256"

	"drover"
)

// alertHash is the first half of a SHA-256: 128 bits are enough to tell the
// alerts of one feed apart, and half as much to keep in an index. The other
// half is zero.
func alertHash(id string) (h drover.Hash) {
	sum := sha256.Sum256([]byte(id))
	copy(h[:16], sum[:16])
	return h
}
