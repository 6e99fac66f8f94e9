package vault

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestANewKeyIsForItsOwnerAlone(t *testing.T) {
	_, path := newVault(t)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %o", info.Mode().Perm())
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if dir.Mode().Perm() != 0o700 {
		t.Errorf("the directory's mode is %o", dir.Mode().Perm())
	}
	text, _ := os.ReadFile(path)
	parts := strings.Split(strings.TrimSpace(string(text)), ":")
	if len(parts) != 3 || parts[0] != "drover-key-1" || len(parts[1]) != 16 || len(parts[2]) != 44 {
		t.Errorf("the file has another form: %d parts", len(parts))
	}
}

func TestCreateNeverReplacesAKey(t *testing.T) {
	_, path := newVault(t)
	before, _ := os.ReadFile(path)
	if err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the key was replaced")
	}
}

func TestAKeyThatOthersCanReadIsRefused(t *testing.T) {
	_, path := newVault(t)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o601, 0o644, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Source{File: path}); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: got %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Source{File: path}); err != nil {
			t.Errorf("mode %o: got %v", mode, err)
		}
	}
}

func TestAKeyOfAnotherUserIsRefused(t *testing.T) {
	_, path := newVault(t)
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Skip("only root can give a file away")
	}
	if _, err := Open(Source{File: path}); err == nil || !strings.Contains(err.Error(), "chown") {
		t.Errorf("got %v", err)
	}
}

func TestALinkIsFollowedOnlyInsideOfTheKeysDirectory(t *testing.T) {
	_, path := newVault(t)
	away := filepath.Join(t.TempDir(), "master.key")
	if err := os.Symlink(path, away); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Source{File: away}); err == nil || !strings.Contains(err.Error(), "symbolic link to elsewhere") {
		t.Errorf("link to elsewhere: got %v", err)
	}
	// The way in which orchestrators mount secrets: key -> ..data/key, ..data -> a directory.
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "..2026"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Create(filepath.Join(dir, "..2026", "key")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("..2026", filepath.Join(dir, "..data")), os.Symlink("..data/key", filepath.Join(dir, "key"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Source{File: filepath.Join(dir, "key")}); err != nil {
		t.Errorf("link inside: got %v", err)
	}
}

func TestAPipeInTheKeysPlaceDoesNotHoldTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Source{File: path}); err == nil || !strings.Contains(err.Error(), "not a file") {
		t.Errorf("got %v", err)
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
	if _, there := os.LookupEnv("DROVER_TEST_KEY"); there {
		t.Error("the key is still in the environment")
	}
	t.Setenv("DROVER_TEST_KEY", "not a key")
	if _, err := Open(Source{Env: "DROVER_TEST_KEY"}); err == nil {
		t.Error("junk was taken")
	}
	if _, there := os.LookupEnv("DROVER_TEST_KEY"); there {
		t.Error("what was refused is still in the environment")
	}
}

func TestASystemdCredentialIsReadFromItsDirectory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "master")
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for mode, good := range map[fs.FileMode]bool{0o400: true, 0o440: true, 0o444: false, 0o460: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Source{Credential: "master"}); (err == nil) != good {
			t.Errorf("mode %o: got %v", mode, err)
		}
	}
	for _, name := range []string{"../master", "/etc/passwd", "a/b", "..", "."} {
		if _, err := Open(Source{Credential: name}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestANewKeySealsAndTheOldOneStillOpens(t *testing.T) {
	v, path := newVault(t)
	sealed, err := v.Seal([]byte("old"), "x")
	if err != nil {
		t.Fatal(err)
	}
	_, wrapped, err := v.NewDataKey("tenant a")
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
	if _, err := both.Unwrap(wrapped, "tenant a"); err != nil {
		t.Errorf("data key under the old key: got %v", err)
	}
	if both.KeyID() == v.KeyID() {
		t.Error("the new key does not seal")
	}
	newer, _ := both.Seal([]byte("new"), "x")
	if _, err := v.Open(newer, "x"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("the old vault opened the new key's seal: %v", err)
	}
}

func TestABadSourceSaysWhatToDoAndShowsNothing(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) Source {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Source{File: path}
	}
	const key = "bm90LWEtcmVhbC1rZXktYnV0LTMyLWJ5dGVzLWxvbmc="
	line := "drover-key-1:0102030405060708:" + key + "\n"
	for name, tt := range map[string]struct {
		src  Source
		want string
	}{
		"none":                 {Source{}, "exactly one source"},
		"two":                  {Source{File: "a", Env: "b"}, "exactly one source"},
		"missing file":         {Source{File: filepath.Join(dir, "none")}, "no master key at"},
		"missing directory":    {Source{File: filepath.Join(dir, "none", "none")}, "no master key at"},
		"empty":                {file("empty", ""), "no drover master key"},
		"junk":                 {file("junk", "not a key "+key), "no drover master key"},
		"no ID":                {file("noid", "drover-key-1:"+key), "no drover master key"},
		"short ID":             {file("shortid", "drover-key-1:0102:"+key), "damaged"},
		"ID is no hex":         {file("hex", "drover-key-1:zz02030405060708:"+key), "damaged"},
		"short key":            {file("short", "drover-key-1:0102030405060708:"+key[:20]), "damaged"},
		"key is no base64":     {file("b64", "drover-key-1:0102030405060708:!"+key[1:]), "damaged"},
		"good key, then junk":  {file("tail", line+key), "no drover master key"},
		"one ID twice":         {file("twice", line+line), "twice"},
		"too large":            {file("large", strings.Repeat(line, 1000)), "too large"},
		"empty variable":       {Source{Env: "DROVER_TEST_NOT_SET"}, "is empty"},
		"no such credential":   {Source{Credential: "x"}, "LoadCredential"},
		"a directory as a key": {Source{File: dir}, "not a file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(tt.src)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), key[:10]) {
				t.Error("the error shows the key")
			}
		})
	}
}
