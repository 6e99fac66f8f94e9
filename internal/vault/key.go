package vault

import (
	"bytes"
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
	"syscall"
)

// keyPrefix begins every line of a key file: drover-key-1:<id>:<base64>.
const keyPrefix = "drover-key-1:"

// maxKeyFile bounds what is read as a key file: more than a hundred keys.
const maxKeyFile = 16 << 10

// Source says where the master key comes from: exactly one of its members.
type Source struct {
	File       string // a file that only its owner can read
	Env        string // an environment variable, removed once read
	Credential string // the name of a systemd credential (LoadCredential=)
}

// Create makes a new master key with a random ID in a file that must not exist
// yet. When it returns nil, the file is on disk.
func Create(path string) error {
	id, key := make([]byte, idSize), make([]byte, keySize)
	_, _ = rand.Read(id)
	_, _ = rand.Read(key)
	defer clear(key)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the master key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create the master key: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s%s:%s\n", keyPrefix, hex.EncodeToString(id), base64.StdEncoding.EncodeToString(key))
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(dir)); err != nil {
		// Half a key would be in the way of the next attempt.
		return fmt.Errorf("create the master key: %w", errors.Join(err, os.Remove(path)))
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

// Open reads the master key from the one place that src names. A key that
// others could read or exchange is refused, with the command that mends it.
func Open(src Source) (*Vault, error) {
	set := 0
	for _, s := range []string{src.File, src.Env, src.Credential} {
		if s != "" {
			set++
		}
	}
	switch {
	case set != 1:
		return nil, errors.New("name exactly one source of the master key: a file, an environment variable or a systemd credential")
	case src.Env != "":
		text := os.Getenv(src.Env)
		if err := os.Unsetenv(src.Env); err != nil {
			return nil, fmt.Errorf("remove the master key from the environment: %w", err)
		}
		if text == "" {
			return nil, fmt.Errorf("the environment variable %s, which should hold the master key, is empty", src.Env)
		}
		return parse([]byte(text), "the environment variable "+src.Env)
	case src.Credential != "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" || !filepath.IsLocal(src.Credential) || filepath.Base(src.Credential) != src.Credential {
			return nil, fmt.Errorf("there is no systemd credential %q: set LoadCredential= in the unit", src.Credential)
		}
		// systemd gives a service without root its credential by an access
		// list, which shows as a readable group; the directory is the service's
		// alone. Only the world and writers are looked for there.
		return openFile(dir, src.Credential, 0o027)
	}
	dir, name := filepath.Split(src.File)
	if dir == "" {
		dir = "."
	}
	return openFile(dir, name, 0o077)
}

// openFile reads a key file that belongs to us and shows none of the
// forbidden permissions. A symbolic link is followed inside of the directory
// (orchestrators mount secrets that way) and refused elsewhere.
func openFile(dir, name string, forbidden fs.FileMode) (*Vault, error) {
	path := filepath.Join(dir, name)
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	defer func() { _ = root.Close() }()
	// O_NONBLOCK: a pipe in the key's place must not hold the start.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(path, err)
	}
	if err != nil {
		if info, lerr := root.Lstat(name); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("the master key %s is a symbolic link to elsewhere; name the file itself", path)
		}
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open the master key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the master key %s is not a file", path)
	}
	if info.Mode().Perm()&forbidden != 0 {
		return nil, fmt.Errorf("others can read or change the master key %s; type: chmod 600 %s", path, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return nil, fmt.Errorf("the master key %s belongs to another user; type: chown %d %s", path, os.Geteuid(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the master key: %w", err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("%s is too large to be a key file", path)
	}
	return parse(text, path)
}

func missing(path string, err error) error {
	return fmt.Errorf("there is no master key at %s; restore it from where it is kept, without it nothing in the ledger can be read: %w", path, err)
}

// parse reads one key a line; the last one is the newest. text is wiped. Its
// errors tell nothing of it.
func parse(text []byte, where string) (*Vault, error) {
	defer clear(text)
	v := &Vault{keys: make(map[string]cipher.AEAD)}
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte(keyPrefix))
		hexID, b64, colon := bytes.Cut(rest, []byte(":"))
		if !ok || !colon {
			return nil, fmt.Errorf("%s holds no drover master key", where)
		}
		id, err := hex.DecodeString(string(hexID))
		key, n := make([]byte, base64.StdEncoding.DecodedLen(len(b64))), 0
		if err == nil {
			n, err = base64.StdEncoding.Decode(key, b64)
		}
		if err != nil || len(id) != idSize || n != keySize {
			return nil, fmt.Errorf("%s holds a damaged master key; restore it from where it is kept", where)
		}
		if v.keys[string(id)] != nil {
			return nil, fmt.Errorf("%s holds the master key %s twice; remove one of the lines", where, hex.EncodeToString(id))
		}
		aead, err := newAEAD(key[:n])
		if err != nil {
			return nil, err
		}
		clear(key)
		v.newest = string(id)
		v.keys[v.newest] = aead
	}
	if v.newest == "" {
		return nil, fmt.Errorf("%s holds no drover master key", where)
	}
	return v, nil
}
