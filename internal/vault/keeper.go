package vault

import (
	"context"
	"errors"
)

// ErrNoKey: the place of the master key can be reached, and holds none.
var ErrNoKey = errors.New("there is no master key")

// Keeper is the one place where the master keys are kept, as a text of one key
// a line, the newest last. It is asked at the start and when a key follows
// another, never for each value that is opened.
type Keeper interface {
	// Read returns the text, which its caller wipes. An error that wraps
	// ErrNoKey says that the place holds none; after any other one it may hold
	// one all the same. It may block for as long as ctx lets it.
	Read(ctx context.Context) ([]byte, error)
	// Write puts a text in the place of what is there, whole or not at all.
	// When it returns nil, that is durable. After an error Read tells which of
	// the two it is.
	Write(ctx context.Context, text []byte) error
	// ReadOnly says why only a person can write here, "" if Write can.
	ReadOnly() string
	// String names the place for messages. Nothing of it is secret.
	String() string
}

// OpenFrom reads the master keys from where they are kept.
func OpenFrom(ctx context.Context, k Keeper) (*Vault, error) {
	r, err := read(ctx, k)
	if err != nil {
		return nil, err
	}
	return r.vault(), nil
}

func read(ctx context.Context, k Keeper) (*ring, error) {
	text, err := k.Read(ctx)
	if err != nil {
		return nil, err
	}
	return parse(text, k.String())
}

// CreateAt makes the first master key at k, which must not hold one yet.
func CreateAt(ctx context.Context, k Keeper) error {
	if why := k.ReadOnly(); why != "" {
		return errors.New(why)
	}
	switch text, err := k.Read(ctx); {
	case err == nil:
		clear(text)
		return ErrThere
	case !errors.Is(err, ErrNoKey):
		return err
	}
	text := newLine()
	defer clear(text)
	return k.Write(ctx, text)
}

// ErrThere keeps a key from being replaced by a new one.
var ErrThere = errors.New("there is a master key already, and none is ever replaced by a new one")
