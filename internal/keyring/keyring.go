// Package keyring keeps the master keys in the keyring of the operating system:
// the Secret Service on Linux (GNOME Keyring, KWallet, KeePassXC), the Keychain
// on macOS. It is for a drover that somebody runs in a session of their own; a
// service has no session, and no keyring.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	keyring "github.com/zalando/go-keyring"

	"drover"
	"drover/internal/vault"
)

// service is what the entry is filed under.
const service = "drover"

// patience is how long an answer is waited for. A locked keyring asks a person
// for its password, who may not be there.
const patience = 20 * time.Second

// Keeper is a vault.Keeper. One process has one for each entry.
type Keeper struct {
	account string

	mu   sync.Mutex
	open chan answer // the question that has not been answered yet
}

type answer struct {
	text string
	err  error
}

var _ vault.Keeper = (*Keeper)(nil)

// New names an entry. It asks nobody yet.
func New(account string) *Keeper { return &Keeper{account: account} }

// String names the place.
func (k *Keeper) String() string {
	return "the entry " + k.account + " of " + service + " in the keyring"
}

// ReadOnly is "": whoever may read the entry may write it.
func (k *Keeper) ReadOnly() string { return "" }

// Read returns the entry; see vault.Keeper. The library waits without end for
// a keyring that waits for a person, so there is one question at a time, and
// whoever asks again waits for the same answer.
func (k *Keeper) Read(ctx context.Context) ([]byte, error) {
	if err := session(); err != nil {
		return nil, k.explain("read the master key", err)
	}
	k.mu.Lock()
	if k.open == nil {
		ask := make(chan answer, 1)
		k.open = ask
		go func() {
			text, err := keyring.Get(service, k.account)
			ask <- answer{text, err}
		}()
	}
	ask := k.open
	k.mu.Unlock()
	a, err := wait(ctx, ask)
	if err == nil {
		k.mu.Lock()
		k.open = nil
		k.mu.Unlock()
		err = a.err
	}
	if err != nil {
		return nil, k.explain("read the master key", err)
	}
	return []byte(a.text), nil
}

// Write replaces the entry; see vault.Keeper. The keyring does it whole or not
// at all.
func (k *Keeper) Write(ctx context.Context, text []byte) error {
	if err := session(); err != nil {
		return k.explain("write the master key", err)
	}
	ask := make(chan answer, 1)
	go func() { ask <- answer{err: keyring.Set(service, k.account, string(text))} }()
	a, err := wait(ctx, ask)
	if err == nil {
		err = a.err
	}
	if err != nil {
		return k.explain("write the master key", err)
	}
	return nil
}

// errWaits: the keyring gives no answer.
var errWaits = errors.New("the keyring gives no answer: it is locked, and waits for its password")

func wait(ctx context.Context, ask chan answer) (answer, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case a := <-ask:
		return a, nil
	case <-timer.C:
		return answer{}, errWaits
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

// errSession: there is nobody to ask.
var errSession = errors.New("there is no session bus, so no keyring")

// session reports whether there is a session bus. The library would start one
// of its own, with an empty keyring behind it.
func session() error {
	if runtime.GOOS == "darwin" || os.Getenv("DBUS_SESSION_BUS_ADDRESS") != "" {
		return nil
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "bus")); err == nil {
			return nil
		}
	}
	return errSession
}

func (k *Keeper) explain(op string, err error) error {
	e := &drover.Error{Op: op, Kind: drover.Denied, Err: fmt.Errorf("%s: %w", k, err)}
	switch {
	case errors.Is(err, keyring.ErrNotFound):
		e.Err = fmt.Errorf("%w: %s is not there", vault.ErrNoKey, k)
		e.Hint = "unlock the keyring that holds it, or put it back from where it is kept apart from the ledger; without it nothing in the ledger can be read"
	case errors.Is(err, errWaits):
		e.Kind, e.Hint = drover.Transient, "unlock the keyring; drover goes on by itself"
	case errors.Is(err, errSession):
		e.Hint = "start drover in the session of the user whose keyring it is; a service has none: use a systemd credential (key_credential) instead"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Kind = drover.Transient
	default:
		e.Hint = "is a keyring running in this session (GNOME Keyring, KWallet, KeePassXC with the Secret Service), and is it unlocked?"
	}
	return e
}
