package vault

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"drover/internal/fault"
)

// Rotation is what became of the master keys.
type Rotation struct {
	// New is the ID of the key that seals, Old those of the keys that it
	// follows, in hex.
	New string   `json:"new"`
	Old []string `json:"old"`
	// Resumed: the new key was there already, put there by an earlier attempt
	// or by a person.
	Resumed bool `json:"resumed"`
	// Kept: the old keys can still be read where the keys are kept. Why, if
	// drover cannot take them away.
	Kept bool   `json:"old_kept"`
	Why  string `json:"why_kept,omitempty"`
}

// Errors of Rotate. Nothing has changed then.
var (
	// ErrOneKey: the place can be written by a person only, who has not put a
	// second key there yet.
	ErrOneKey = errors.New("it holds one key only")
	// ErrOtherKeys: the place does not hold what this vault has.
	ErrOtherKeys = errors.New("it holds other keys than those in use")
)

// Rotate lets a new master key follow those of v, at the place k from which
// they were read. First the place holds both, durably; then v has both, and
// rewrap seals anew what the old ones have sealed; only when that is durable
// the old ones are taken away, from the place and from v, unless keepOld is
// set. Stopped at any point, everything can be opened, and the next call goes on:
// a place that holds several keys needs no new one (reference
// faults-and-invariants T13).
//
// Where only a person can write, the person puts the new key there before and
// takes the old ones away afterwards.
func Rotate(ctx context.Context, k Keeper, v *Vault, keepOld bool, rewrap func(context.Context) error) (Rotation, error) {
	have, why := v.now.Load(), k.ReadOnly()
	var text []byte
	if why == "" {
		var err error
		if text, err = k.Read(ctx); err != nil {
			return Rotation{}, fmt.Errorf("read the master key: %w", err)
		}
		defer func() { clear(text) }()
		there, err := parse(bytes.Clone(text), k.String())
		if err != nil {
			return Rotation{}, err
		}
		if !there.has(have) {
			return Rotation{}, fmt.Errorf("%s: %w", k, ErrOtherKeys)
		}
		have = there
	}
	resumed := len(have.ids) > 1
	if !resumed {
		if why != "" {
			return Rotation{}, fmt.Errorf("%s: %w", k, ErrOneKey)
		}
		fault.At(fault.VaultRotate)
		both := joined(text, newLine())
		clear(text)
		text = both
		want, err := parse(bytes.Clone(text), k.String())
		if err != nil {
			return Rotation{}, err
		}
		if err := k.Write(ctx, text); err != nil {
			return Rotation{}, err
		}
		fault.At(fault.VaultRotate)
		// Nothing is sealed with a key that has not been read from its place.
		if have, err = read(ctx, k); err != nil {
			return Rotation{}, fmt.Errorf("read the new master key: %w", err)
		}
		if !slices.Equal(have.ids, want.ids) {
			return Rotation{}, fmt.Errorf("%s: %w", k, ErrOtherKeys)
		}
	}
	v.now.Store(have)
	r := Rotation{New: v.KeyID(), Resumed: resumed, Kept: keepOld || why != "", Why: why}
	for _, id := range have.ids[:len(have.ids)-1] {
		r.Old = append(r.Old, hex.EncodeToString([]byte(id)))
	}
	fault.At(fault.VaultRotate)
	if err := rewrap(ctx); err != nil {
		return r, err
	}
	fault.At(fault.VaultRotate)
	if keepOld {
		return r, nil
	}
	last := &ring{ids: []string{have.newest()}, keys: map[string]cipher.AEAD{have.newest(): have.keys[have.newest()]}}
	if why == "" {
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		if err := k.Write(ctx, append(bytes.Clone(lines[len(lines)-1]), '\n')); err != nil {
			return r, fmt.Errorf("take away the old master key: %w", err)
		}
		fault.At(fault.VaultRotate)
	}
	v.now.Store(last)
	return r, nil
}
