package vault

import (
	"bytes"
	"errors"
	"path/filepath"
	"sync"
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

func TestAnAppendedSealLeavesWhatStandsBeforeIt(t *testing.T) {
	v, _ := newVault(t)
	k, _, err := v.NewDataKey("tenant a")
	if err != nil {
		t.Fatal(err)
	}
	sealed := k.Seal([]byte("head"), []byte("body"), nil)
	if !bytes.HasPrefix(sealed, []byte("head")) {
		t.Fatalf("got %q", sealed[:4])
	}
	plain, err := k.Open([]byte("also "), sealed[4:], nil)
	if err != nil || string(plain) != "also body" {
		t.Errorf("got %q, %v", plain, err)
	}
	for n := range len(sealed) - 4 {
		if _, err := k.Open(nil, sealed[4:4+n], nil); !errors.Is(err, ErrTampered) {
			t.Errorf("cut to %d bytes: got %v", n, err)
		}
	}
}

func TestASealedValueNamesItsKeyAndHidesTheRest(t *testing.T) {
	v, _ := newVault(t)
	one, _ := v.Seal([]byte("a client secret"), "x")
	two, _ := v.Seal([]byte("a client secret"), "x")
	if bytes.Equal(one, two) {
		t.Error("two seals of one value are equal: the nonce repeats")
	}
	if bytes.Contains(one, []byte("client")) {
		t.Error("the value shows")
	}
	if id, err := v.KeyIDOf(one); err != nil || id != v.KeyID() {
		t.Errorf("got %q, %v; want %q", id, err, v.KeyID())
	}
	for _, junk := range [][]byte{nil, {}, {version1}, {9, 1, 2, 3, 4, 5, 6, 7, 8, 9}} {
		if _, err := v.KeyIDOf(junk); !errors.Is(err, ErrTampered) {
			t.Errorf("%v: got %v", junk, err)
		}
	}
}

func TestAWrappedKeyIsNoCredential(t *testing.T) {
	v, _ := newVault(t)
	_, wrapped, err := v.NewDataKey("tenant a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Open(wrapped, "tenant a"); !errors.Is(err, ErrTampered) {
		t.Errorf("got %v", err)
	}
	sealed, _ := v.Seal(make([]byte, keySize), "tenant a")
	if _, err := v.Unwrap(sealed, "tenant a"); !errors.Is(err, ErrTampered) {
		t.Errorf("a credential as a key: got %v", err)
	}
}

func TestAVaultServesManyAtOnce(t *testing.T) {
	v, _ := newVault(t)
	k, _, err := v.NewDataKey("tenant a")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			plain := bytes.Repeat([]byte{byte(i)}, 100)
			for range 50 {
				if got, err := k.Open(nil, k.Seal(nil, plain, nil), nil); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("got %v, %v", got, err)
				}
				sealed, _ := v.Seal(plain, "x")
				if got, err := v.Open(sealed, "x"); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("got %v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "master.key")
	if err := Create(path); err != nil {
		f.Fatal(err)
	}
	v, err := Open(Source{File: path})
	if err != nil {
		f.Fatal(err)
	}
	sealed, _ := v.Seal([]byte("hello"), "x")
	f.Add(sealed, "x")
	f.Add(sealed[:20], "")
	f.Fuzz(func(t *testing.T, in []byte, binding string) {
		plain, err := v.Open(in, binding)
		if err == nil && (!bytes.Equal(in, sealed) || binding != "x") {
			t.Errorf("opened what was never sealed: %q", plain)
		}
		if err != nil && !errors.Is(err, ErrTampered) && !errors.Is(err, ErrWrongKey) {
			t.Errorf("untyped error %v", err)
		}
	})
}
