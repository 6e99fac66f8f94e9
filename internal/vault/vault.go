// Package vault seals what must not be read from a stolen disk: credentials
// and alert bodies. A master key from outside the ledger wraps one data key per
// tenant; destroying a tenant's wrapped key makes everything sealed with it
// unreadable (design §7).
//
// Everything is AES-256-GCM with random nonces. A sealed value carries a format
// version and the ID of the key that sealed it, and is bound to associated data
// that is not stored in it: what was sealed for one tenant, cloud or place
// cannot be opened as another's.
package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	prefix   = "drover-key-1:"
)

// Vault holds master keys. The newest seals; all open. Safe for concurrent use.
type Vault struct {
	newest string
	keys   map[string]cipher.AEAD
}

// Source says where the master key comes from: exactly one of its members.
type Source struct {
	File       string // a file that only its owner can read
	Env        string // an environment variable, removed once read
	Credential string // the name of a systemd credential
}

// Create makes a new master key in a file that must not exist yet.
func Create(path string) error {
	id, key := make([]byte, idSize), make([]byte, keySize)
	_, _ = rand.Read(id)
	_, _ = rand.Read(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create the master key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create the master key: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s%s:%s\n", prefix, hex.EncodeToString(id), base64.StdEncoding.EncodeToString(key))
	err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
	if err != nil {
		return fmt.Errorf("create the master key: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maxKeyFile bounds what is read as a key file: some hundred keys.
const maxKeyFile = 16 << 10

// Open reads the master key. A file that others can read is refused.
func Open(src Source) (*Vault, error) {
	set := 0
	for _, s := range []string{src.File, src.Env, src.Credential} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		return nil, errors.New("name exactly one source of the master key: a file, an environment variable or a systemd credential")
	}
	switch {
	case src.Env != "":
		text := os.Getenv(src.Env)
		if err := os.Unsetenv(src.Env); err != nil {
			return nil, err
		}
		if text == "" {
			return nil, fmt.Errorf("the environment variable %s, which should hold the master key, is empty", src.Env)
		}
		return parse([]byte(text), "environment variable "+src.Env)
	case src.Credential != "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" || strings.ContainsAny(src.Credential, "/\x00") {
			return nil, fmt.Errorf("there is no systemd credential %q: set LoadCredential= in the unit", src.Credential)
		}
		return openFile(filepath.Join(dir, src.Credential))
	}
	return openFile(src.File)
}

// openFile reads a key file that belongs to us and that nobody else can read.
func openFile(path string) (*Vault, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("the master key %s is a symbolic link; name the file itself", path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no master key at %s; restore it from where it is kept: without it nothing in the ledger can be read: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read the master key %s; type: chmod 600 %s", path, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return nil, fmt.Errorf("the master key %s belongs to another user; type: chown %d %s", path, os.Geteuid(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	return parse(text, path)
}

// parse reads one key a line; the last one is the newest.
func parse(text []byte, where string) (*Vault, error) {
	v := &Vault{keys: make(map[string]cipher.AEAD)}
	for line := range bytes.Lines(text) {
		fields := strings.Split(strings.TrimPrefix(string(bytes.TrimSpace(line)), prefix), ":")
		if !bytes.HasPrefix(line, []byte(prefix)) || len(fields) != 2 {
			return nil, fmt.Errorf("%s holds no drover master key", where)
		}
		id, err1 := hex.DecodeString(fields[0])
		key, err2 := base64.StdEncoding.DecodeString(fields[1])
		if err1 != nil || err2 != nil || len(id) != idSize || len(key) != keySize {
			return nil, fmt.Errorf("%s holds a damaged master key", where)
		}
		aead, err := newAEAD(key)
		if err != nil {
			return nil, err
		}
		v.newest = string(id)
		v.keys[v.newest] = aead
	}
	if v.newest == "" {
		return nil, fmt.Errorf("%s holds no drover master key", where)
	}
	return v, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// KeyID names the key that seals, in hex. It is not secret.
func (v *Vault) KeyID() string { return hex.EncodeToString([]byte(v.newest)) }

// KeyIDOf names the key that sealed a value.
func (v *Vault) KeyIDOf(sealed []byte) (string, error) {
	if len(sealed) < header || sealed[0] != version1 {
		return "", ErrTampered
	}
	return hex.EncodeToString(sealed[1:header]), nil
}

// Seal seals plain, bound to binding.
func (v *Vault) Seal(plain []byte, binding string) ([]byte, error) {
	out := append([]byte{version1}, v.newest...)
	return v.keys[v.newest].Seal(out, nil, plain, aad(out[:header], []byte(binding))), nil
}

// Open opens what Seal sealed under the same binding.
func (v *Vault) Open(sealed []byte, binding string) ([]byte, error) {
	if len(sealed) < header || sealed[0] != version1 {
		return nil, ErrTampered
	}
	aead := v.keys[string(sealed[1:header])]
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
	_, _ = rand.Read(key)
	wrapped, err := v.Seal(key, "data key\x00"+binding)
	if err != nil {
		return nil, nil, err
	}
	aead, err := newAEAD(key)
	return &DataKey{aead}, wrapped, err
}

// Unwrap opens a wrapped data key.
func (v *Vault) Unwrap(wrapped []byte, binding string) (*DataKey, error) {
	key, err := v.Open(wrapped, "data key\x00"+binding)
	if err != nil {
		return nil, fmt.Errorf("open the tenant's data key: %w", err)
	}
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
