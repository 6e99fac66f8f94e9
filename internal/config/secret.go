package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"drover"
)

// SecretRef says where a secret is kept: exactly one place.
type SecretRef struct {
	// File that holds the secret. Only the user that runs drover may read it. A replaced file counts from the next use on.
	File string `yaml:"file" kind:"path"`
	// Environment variable that holds the secret.
	Env string `yaml:"env" kind:"word"`
	// Name of the systemd credential (LoadCredential=) that holds the secret.
	Credential string `yaml:"credential" kind:"word"`
}

// Validate checks that one place is named.
func (s *SecretRef) Validate(report Report) {
	if named(s.File, s.Env, s.Credential) != 1 {
		report("", "a secret is kept in exactly one place; write one of file, env and credential")
	}
	if strings.ContainsAny(s.Credential, "/\x00") || s.Credential == "." || s.Credential == ".." {
		report("credential", "a credential is a name as in LoadCredential=, not a path")
	}
}

// warn names what could be safer.
func (s *SecretRef) warn(say func(text string)) {
	if s != nil && s.Env != "" {
		say("an environment variable can be read by more eyes than a file; file or credential is safer")
	}
}

// maxSecret bounds a secret file: the largest tokens have a few kilobytes.
const maxSecret = 64 << 10

// Read returns the secret as it is now: a file that was replaced is read anew.
// One line end at the end is left out. A file that others can read is refused
// with the command that mends it. No error holds a part of the secret.
func (s SecretRef) Read() (drover.Secret, error) {
	var text []byte
	var err error
	var where string
	switch {
	case s.Env != "":
		where = "the environment variable " + s.Env
		value, ok := os.LookupEnv(s.Env)
		if !ok {
			return drover.Secret{}, fmt.Errorf("read a secret: %s is not set", where)
		}
		text = []byte(value)
	case s.Credential != "":
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return drover.Secret{}, fmt.Errorf("read a secret: there is no systemd credential %q; set LoadCredential= in the unit", s.Credential)
		}
		where = "the credential " + s.Credential
		// systemd keeps the directory to the service; the mode of the file
		// shows its access list, not who can read it.
		text, err = readSecret(filepath.Join(dir, s.Credential), false)
	case s.File != "":
		where = s.File
		text, err = readSecret(s.File, true)
	default:
		err = errors.New("no place is named")
	}
	if err != nil {
		return drover.Secret{}, fmt.Errorf("read a secret: %w", err)
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(bytes.TrimSpace(text)) == 0 {
		return drover.Secret{}, fmt.Errorf("read a secret: %s is empty", where)
	}
	if bytes.ContainsAny(text, "\r\n\x00") {
		return drover.Secret{}, fmt.Errorf("read a secret: %s holds more than one line; it must hold the secret and nothing else", where)
	}
	return drover.NewSecret(text), nil
}

// readSecret reads a small file. If private, it must belong to us or to root
// and nobody else may read it; the check is of the file that is then read, so
// a symbolic link (as Kubernetes makes them) hides nothing.
func readSecret(path string, private bool) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s", path)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if private && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read %s; type: chmod 600 %s", path, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); private && ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return nil, fmt.Errorf("%s belongs to another user; type: chown %d %s", path, os.Geteuid(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSecret {
		return nil, fmt.Errorf("%s is larger than 64 KiB; it must hold the secret and nothing else", path)
	}
	return text, nil
}
