package drover

import "errors"

// Refresh is the refresh token of a signed-in person by which a tenant is read,
// as it is kept.
type Refresh struct {
	Token    Secret
	Previous Secret  // until Token has worked once
	Version  uint64  // of what was loaded; 0: there was none
	At       Instant // when Entra last took or gave it, by our clock; to a day, since only then it is stored
}

// ErrRefreshChanged is what saving a Refresh returns when the version has
// changed since it was loaded.
var ErrRefreshChanged = errors.New("the refresh token was changed by someone else in the meantime")
