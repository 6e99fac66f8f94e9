// Package vault seals what must not be read from a stolen disk: credentials
// and alert bodies. A master key from outside the ledger wraps one data key per
// tenant; destroying a tenant's wrapped key makes everything sealed with it
// unreadable (design §7).
//
// Everything is AES-256-GCM with random nonces. A sealed value carries a format
// version and the ID of the key that sealed it, and is bound to associated data
// that is not stored in it: what was sealed for one tenant, cloud or place
// cannot be opened as another's. With random nonces one key may seal about
// 2^32 values; a tenant's key seals one value per stored block, so that is
// centuries away.
//
// Its promises (reference faults-and-invariants C03, T11, T13, I15): the master
// key comes from exactly one place that only its owner can read; there is no
// fallback to plain text; several master keys can be read at once, so that one
// can follow another (Rotate).
package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
)

// Errors of opening.
var (
	// ErrWrongKey: sealed by a key that this vault does not have.
	ErrWrongKey = errors.New("sealed with another key")
	// ErrTampered: the seal is broken, or the value is bound to something else.
	ErrTampered = errors.New("the seal does not hold: the value was changed, or belongs to something else")
)

const (
	keySize  = 32
	idSize   = 8
	version1 = 1
	header   = 1 + idSize
)

// Vault holds master keys. The newest seals; all open. Safe for concurrent use.
type Vault struct{ now atomic.Pointer[ring] }

// ring is the keys of one moment; it is never changed.
type ring struct {
	ids  []string // the newest last
	keys map[string]cipher.AEAD
}

func (r *ring) newest() string { return r.ids[len(r.ids)-1] }

// has reports whether all keys of another ring are among these.
func (r *ring) has(other *ring) bool {
	for _, id := range other.ids {
		if r.keys[id] == nil {
			return false
		}
	}
	return true
}

// vault makes one that has these keys.
func (r *ring) vault() *Vault {
	v := &Vault{}
	v.now.Store(r)
	return v
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// KeyID names the key that seals, in hex. It is not secret.
func (v *Vault) KeyID() string { return hex.EncodeToString([]byte(v.now.Load().newest())) }

// KeyIDs names all keys that open, in hex, the one that seals last.
func (v *Vault) KeyIDs() (ids []string) {
	for _, id := range v.now.Load().ids {
		ids = append(ids, hex.EncodeToString([]byte(id)))
	}
	return ids
}

// Header is how everything begins that the newest key seals.
func (v *Vault) Header() []byte { return append([]byte{version1}, v.now.Load().newest()...) }

// KeyIDOf names the key that sealed a value.
func (v *Vault) KeyIDOf(sealed []byte) (string, error) {
	if len(sealed) < header || sealed[0] != version1 {
		return "", ErrTampered
	}
	return hex.EncodeToString(sealed[1:header]), nil
}

// Seal seals plain, bound to binding.
func (v *Vault) Seal(plain []byte, binding string) ([]byte, error) {
	now := v.now.Load()
	out := append([]byte{version1}, now.newest()...)
	return now.keys[now.newest()].Seal(out, nil, plain, aad(out[:header], []byte(binding))), nil
}

// Open opens what Seal sealed under the same binding.
func (v *Vault) Open(sealed []byte, binding string) ([]byte, error) {
	if len(sealed) < header || sealed[0] != version1 {
		return nil, ErrTampered
	}
	aead := v.now.Load().keys[string(sealed[1:header])]
	if aead == nil {
		return nil, fmt.Errorf("%w: %x", ErrWrongKey, sealed[1:header])
	}
	plain, err := aead.Open(nil, nil, sealed[header:], aad(sealed[:header], []byte(binding)))
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// aad joins the header and the binding, so that neither can be exchanged.
func aad(head, binding []byte) []byte { return append(bytes.Clone(head), binding...) }

// DataKey seals the bodies of one tenant.
type DataKey struct{ aead cipher.AEAD }

// NewDataKey makes a data key and returns it together with its wrapped form,
// bound to binding, which is what is stored.
func (v *Vault) NewDataKey(binding string) (*DataKey, []byte, error) {
	key := make([]byte, keySize)
	defer clear(key)
	_, _ = rand.Read(key)
	wrapped, err := v.Seal(key, DataKeyBinding(binding))
	if err != nil {
		return nil, nil, err
	}
	aead, err := newAEAD(key)
	return &DataKey{aead}, wrapped, err
}

// DataKeyBinding is the binding, for Seal and Open, of a data key that was made
// or is unwrapped under a binding.
func DataKeyBinding(binding string) string { return "data key\x00" + binding }

// Unwrap opens a wrapped data key.
func (v *Vault) Unwrap(wrapped []byte, binding string) (*DataKey, error) {
	key, err := v.Open(wrapped, DataKeyBinding(binding))
	if err != nil {
		return nil, fmt.Errorf("open the tenant's data key: %w", err)
	}
	defer clear(key)
	aead, err := newAEAD(key)
	return &DataKey{aead}, err
}

// Seal appends the sealed plain to dst.
func (k *DataKey) Seal(dst, plain, aad []byte) []byte {
	return k.aead.Seal(append(dst, version1), nil, plain, aad)
}

// Open appends what Seal sealed to dst.
func (k *DataKey) Open(dst, sealed, aad []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != version1 {
		return nil, ErrTampered
	}
	out, err := k.aead.Open(dst, nil, sealed[1:], aad)
	if err != nil {
		return nil, ErrTampered
	}
	return out, nil
}

// Overhead is how much longer than its plain text a body sealed by a DataKey is.
const Overhead = 1 + 12 + 16
