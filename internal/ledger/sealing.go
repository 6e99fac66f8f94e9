package ledger

import (
	"context"

	"drover"
)

// Authorities are the sign-in hosts of the clouds by name. A credential is
// bound to both and neither is stored beside it: they must be brought along to
// open one.
type Authorities map[string]string

// Sealing is about the master key, with which the store's vault seals data
// keys and the credentials of no tenant.
type Sealing interface {
	// Rewrap seals anew with the vault's newest master key what older ones have
	// sealed, in small transactions, each durable when it ends; it returns how
	// many it has sealed. When it returns nil, nothing that an older key has
	// sealed is in the store's files any more. Stopped at any point and
	// called again, it goes on. What cannot be opened ends it with an error
	// that names it.
	Rewrap(ctx context.Context, a Authorities) (int, error)
	// Seals opens every data key and every credential, and tells what it found.
	// It is for an operator, and slow.
	Seals(ctx context.Context, a Authorities) (Seals, error)
	// SealedCredentials lists the credentials without opening them.
	SealedCredentials(ctx context.Context) ([]SealedCredential, error)
}

// Seals says what is sealed by what.
type Seals struct {
	// Keys counts what each master key has sealed, by its ID in hex.
	Keys map[string]int
	// DataKeys and Credentials count what was opened.
	DataKeys, Credentials int
	Bad                   []BadSeal
}

// BadSeal is something that does not open.
type BadSeal struct {
	Tenant     drover.TenantID // "" for a credential of no tenant
	Credential string          // its kind, "" for the tenant's data key
	Err        error
}

// SealedCredential is a credential as it is stored.
type SealedCredential struct {
	Tenant          drover.TenantID
	App, Kind       string
	Stored, Expires drover.Instant
}
