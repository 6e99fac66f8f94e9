package keyring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gokeyring "github.com/zalando/go-keyring"

	"drover"
	"drover/internal/proof"
	"drover/internal/vault"
)

// insideEnv marks a run of this test program inside of a session of its own.
const insideEnv = "DROVER_TEST_KEYRING_INSIDE"

func TestMain(m *testing.M) {
	if how := os.Getenv(insideEnv); how != "" {
		if err := inside(how); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("well")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// inside is what is tried in a session with a real Secret Service.
func inside(how string) error {
	ctx, k := context.Background(), New("drover-test")
	if how == "locked" {
		if _, err := k.Read(ctx); err == nil {
			return fmt.Errorf("a locked keyring gives: %w", err)
		} else if drover.HintOf(err) == "" {
			return fmt.Errorf("no way out: %w", err)
		}
		return nil
	}
	if _, err := k.Read(ctx); !errors.Is(err, vault.ErrNoKey) {
		return fmt.Errorf("an empty keyring gives: %w", err)
	}
	if err := vault.CreateAt(ctx, k); err != nil {
		return err
	}
	if err := vault.CreateAt(ctx, k); !errors.Is(err, vault.ErrThere) {
		return fmt.Errorf("made twice: %w", err)
	}
	v, err := vault.OpenFrom(ctx, k)
	if err != nil {
		return err
	}
	old := v.KeyID()
	sealed, err := v.Seal([]byte("plain"), "x")
	if err != nil {
		return err
	}
	r, err := vault.Rotate(ctx, k, v, false, func(context.Context) error {
		both, err := vault.OpenFrom(ctx, New("drover-test"))
		if err != nil {
			return err
		}
		if ids := both.KeyIDs(); len(ids) != 2 || ids[0] != old {
			return fmt.Errorf("while one follows the other the keyring holds %v", ids)
		}
		plain, err := v.Open(sealed, "x")
		if err == nil {
			sealed, err = v.Seal(plain, "x")
		}
		return err
	})
	if err != nil {
		return err
	}
	last, err := vault.OpenFrom(ctx, New("drover-test"))
	if err != nil {
		return err
	}
	if ids := last.KeyIDs(); len(ids) != 1 || ids[0] != r.New || r.New == old {
		return fmt.Errorf("in the end the keyring holds %v", ids)
	}
	if plain, err := last.Open(sealed, "x"); err != nil || string(plain) != "plain" {
		return fmt.Errorf("sealed anew: %w", err)
	}
	if out, err := exec.Command("secret-tool", "lookup", "service", "drover", "username", "drover-test").Output(); err == nil && !strings.HasPrefix(string(out), "drover-key-1:"+r.New+":") {
		return errors.New("another client of the keyring finds something else")
	}
	return nil
}

// TestARealSecretServiceKeepsTheKey runs GNOME Keyring in a session bus of its
// own, with an empty home.
func TestARealSecretServiceKeepsTheKey(t *testing.T) {
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon"} {
		if _, err := exec.LookPath(program); err != nil {
			proof.NotHere(t, "vault.keyring", "there is no %s", program)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for how, unlock := range map[string]string{
		"open":   `printf pass | gnome-keyring-daemon --unlock --components=secrets >/dev/null`,
		"locked": `gnome-keyring-daemon --start --components=secrets >/dev/null`,
	} {
		home := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c", unlock+` && "$0"`, self)
		cmd.Env = append(os.Environ(), insideEnv+"="+how, "HOME="+home, "XDG_DATA_HOME="+filepath.Join(home, "data"), "XDG_RUNTIME_DIR="+home, "DBUS_SESSION_BUS_ADDRESS=")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "well") {
			t.Errorf("%s: %v\n%s", how, err, out)
		}
	}
	proof.Ran(t, "vault.keyring", "GNOME Keyring in a session of its own: made, read, followed by another; locked: refused with the way out")
}

func TestWithoutASessionNoKeyringIsStarted(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	_, err := New("x").Read(t.Context())
	if !errors.Is(err, errSession) || !strings.Contains(drover.HintOf(err), "key_credential") {
		t.Errorf("reading: %v", err)
	}
	if err := New("x").Write(t.Context(), nil); !errors.Is(err, errSession) {
		t.Errorf("writing: %v", err)
	}
}

func TestWhatAKeyringAnswersIsToldWithTheWayOut(t *testing.T) {
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
	gokeyring.MockInit()
	k := New("x")
	if _, err := k.Read(t.Context()); !errors.Is(err, vault.ErrNoKey) || drover.KindOf(err) != drover.Denied || drover.HintOf(err) == "" {
		t.Errorf("empty: %v", err)
	}
	if err := k.Write(t.Context(), []byte("text")); err != nil {
		t.Error(err)
	}
	if text, err := k.Read(t.Context()); err != nil || string(text) != "text" {
		t.Errorf("read %v", err)
	}
	gokeyring.MockInitWithError(errors.New("no"))
	if _, err := k.Read(t.Context()); err == nil || errors.Is(err, vault.ErrNoKey) || drover.HintOf(err) == "" {
		t.Errorf("broken: %v", err)
	}
}
