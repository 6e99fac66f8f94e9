package ledger

import (
	"crypto/sha256"

	"drover"
)

func alertHash(id string) drover.Hash { return sha256.Sum256([]byte(id)) }
