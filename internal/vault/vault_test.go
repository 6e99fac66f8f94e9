package vault

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newVault(t *testing.T) (*Vault, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys", "master.key")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	v, err := Open(Source{File: path})
	if err != nil {
		t.Fatal(err)
	}
	return v, path
}

func TestWhatIsSealedOpensOnlyUnderItsBinding(t *testing.T) {
	v, _ := newVault(t)
	sealed, err := v.Seal([]byte("hello"), "tenant a")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := v.Open(sealed, "tenant a"); err != nil || string(plain) != "hello" {
		t.Fatalf("got %q, %v", plain, err)
	}
	if _, err := v.Open(sealed, "tenant b"); !errors.Is(err, ErrTampered) {
		t.Errorf("another binding: got %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := v.Open(bad, "tenant a"); err == nil {
			t.Errorf("byte %d flipped: opened", i)
		}
	}
	other, _ := newVault(t)
	if _, err := other.Open(sealed, "tenant a"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another vault: got %v", err)
	}
	for n := range sealed {
		if _, err := v.Open(sealed[:n], "tenant a"); err == nil {
			t.Errorf("cut to %d bytes: opened", n)
		}
	}
}

func TestADataKeyIsReadableOnlyThroughItsVaultAndBinding(t *testing.T) {
	v, path := newVault(t)
	k, wrapped, err := v.NewDataKey("tenant a")
	if err != nil {
		t.Fatal(err)
	}
	body := k.Seal(nil, []byte("body"), []byte("place"))
	if len(body) != len("body")+Overhead {
		t.Errorf("overhead is %d", len(body)-4)
	}
	again, err := Open(Source{File: path})
	if err != nil {
		t.Fatal(err)
	}
	k2, err := again.Unwrap(wrapped, "tenant a")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := k2.Open(nil, body, []byte("place")); err != nil || string(plain) != "body" {
		t.Errorf("got %q, %v", plain, err)
	}
	if _, err := k2.Open(nil, body, []byte("another place")); !errors.Is(err, ErrTampered) {
		t.Errorf("another place: got %v", err)
	}
	if _, err := again.Unwrap(wrapped, "tenant b"); !errors.Is(err, ErrTampered) {
		t.Errorf("another binding: got %v", err)
	}
}

func TestAKeyThatOthersCanReadIsRefused(t *testing.T) {
	_, path := newVault(t)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Source{File: path})
	if err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
		t.Errorf("got %v", err)
	}
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Source{File: link}); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("link: got %v", err)
	}
}

func TestAKeyFromTheEnvironmentIsRemovedFromIt(t *testing.T) {
	_, path := newVault(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DROVER_TEST_KEY", string(text))
	if _, err := Open(Source{Env: "DROVER_TEST_KEY"}); err != nil {
		t.Fatal(err)
	}
	if got := os.Getenv("DROVER_TEST_KEY"); got != "" {
		t.Error("the key is still in the environment")
	}
}

func TestANewKeySealsAndTheOldOneStillOpens(t *testing.T) {
	v, path := newVault(t)
	sealed, err := v.Seal([]byte("old"), "x")
	if err != nil {
		t.Fatal(err)
	}
	second := path + ".2"
	if err := Create(second); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(path)
	b, _ := os.ReadFile(second)
	if err := os.WriteFile(path, append(a, b...), 0o600); err != nil {
		t.Fatal(err)
	}
	both, err := Open(Source{File: path})
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := both.Open(sealed, "x"); err != nil || string(plain) != "old" {
		t.Errorf("old key: got %q, %v", plain, err)
	}
	if both.KeyID() == v.KeyID() {
		t.Error("the new key does not seal")
	}
}

func TestABadSourceSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("not a key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		src  Source
		want string
	}{
		"none":               {Source{}, "exactly one source"},
		"two":                {Source{File: "a", Env: "b"}, "exactly one source"},
		"missing file":       {Source{File: filepath.Join(dir, "none")}, "no master key at"},
		"junk":               {Source{File: junk}, "no drover master key"},
		"empty variable":     {Source{Env: "DROVER_TEST_NOT_SET"}, "is empty"},
		"no such credential": {Source{Credential: "x"}, "LoadCredential"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(tt.src); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
