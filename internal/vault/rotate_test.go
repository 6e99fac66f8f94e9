package vault

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func none(context.Context) error { return nil }

func TestAKeyFileIsReplacedWholeAndKeepsItsPermissions(t *testing.T) {
	v, path := newVault(t)
	old := v.KeyID()
	if err := errors.Join(os.Chmod(path, 0o400), os.WriteFile(path+newSuffix, []byte("half of a key"), 0o600)); err != nil {
		t.Fatal(err)
	}
	r, err := Rotate(t.Context(), file(path), v, false, func(context.Context) error {
		both, err := Open(Source{File: path})
		if err != nil || !slices.Equal(both.KeyIDs(), v.KeyIDs()) || both.KeyIDs()[0] != old || len(both.KeyIDs()) != 2 {
			t.Errorf("while one follows: %v", err)
		}
		return nil
	})
	if err != nil || r.Resumed || r.Kept || !slices.Equal(r.Old, []string{old}) || v.KeyID() != r.New {
		t.Errorf("%+v, %v", r, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := os.Lstat(path + newSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a part of a key file is left")
	}
	if alone, err := Open(Source{File: path}); err != nil || !slices.Equal(alone.KeyIDs(), []string{r.New}) {
		t.Errorf("in the end: %v", err)
	}
}

func TestARotationThatFailsLeavesBothKeysAndGoesOn(t *testing.T) {
	v, path := newVault(t)
	sealed, err := v.Seal([]byte("plain"), "x")
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	first, err := Rotate(t.Context(), file(path), v, false, func(context.Context) error { return no })
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	again, err := Open(Source{File: path})
	if err != nil || len(again.KeyIDs()) != 2 {
		t.Fatalf("after the failure: %v", err)
	}
	for _, x := range []*Vault{v, again} {
		if _, err := x.Open(sealed, "x"); err != nil || x.KeyID() != first.New {
			t.Errorf("after the failure: %v", err)
		}
	}
	second, err := Rotate(t.Context(), file(path), again, false, none)
	if err != nil || !second.Resumed || second.New != first.New {
		t.Errorf("%+v, %v", second, err)
	}
	if _, err := again.Open(sealed, "x"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("the old key: %v", err)
	}
}

func TestAMountedKeyIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "..data"), 0o700), Create(filepath.Join(dir, "..data", "key")), os.Symlink("..data/key", filepath.Join(dir, "key"))); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "key")
	v, err := Open(Source{File: link})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(t.Context(), file(link), v, false, none); !errors.Is(err, ErrOneKey) || !strings.Contains(file(link).ReadOnly(), "symbolic link") {
		t.Errorf("got %v", err)
	}
	if err := Append(link); err == nil {
		t.Error("a key was put behind a link")
	}
	if err := WriteFile(link, nil); err == nil {
		t.Error("the link was replaced")
	}
}

func TestAKeyBehindAnotherIsKeptAndOneTheVaultLacksIsNotTaken(t *testing.T) {
	v, path := newVault(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Append(path); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(after), string(before)) || strings.Count(string(after), "\n") != 2 {
		t.Errorf("appended: %d lines, %v", strings.Count(string(after), "\n"), err)
	}
	if err := errors.Join(os.Remove(path), Create(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(t.Context(), file(path), v, false, none); !errors.Is(err, ErrOtherKeys) {
		t.Errorf("with another key in its place: %v", err)
	}
	if err := os.WriteFile(path, []byte("junk\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Append(path); err == nil {
		t.Error("a key was put behind junk")
	}
}

func TestAVariableThatWasReadSaysSo(t *testing.T) {
	_, path := newVault(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DROVER_TEST_KEY_TAKEN", string(text))
	k := env("DROVER_TEST_KEY_TAKEN")
	if _, err := OpenFrom(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Read(t.Context()); !errors.Is(err, ErrTaken) {
		t.Errorf("a second time: %v", err)
	}
	if err := k.Write(t.Context(), text); err == nil {
		t.Error("a variable was written")
	}
}
