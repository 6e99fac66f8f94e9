package entra

import (
	"context"

	"drover"
)

// Master is the one sign-in of a partner's account, by whose refresh token tokens
// of its customers' tenants are had (reference partner-gdap §1.3, §1.4). Errors
// are *drover.Error.
type Master interface {
	// Refresh returns the refresh token as it is kept now, for a tenant. It is
	// renewed elsewhere, at the partner's own endpoint.
	Refresh(ctx context.Context, t drover.Tenant) (drover.Secret, error)
	// Whose returns the error with which a tenant is refused: an error of the whole
	// app's if the partner's own endpoint refuses the sign-in too, else err, which
	// is then the tenant's own.
	Whose(ctx context.Context, t drover.Tenant, err error) error
}

// exchange gets a token at the customer's endpoint for the master's refresh token.
// The refresh token that comes along is dropped: there is one master, and a late
// writer would overwrite a newer one. What the token claims is checked as of any.
func (k *Tokens) exchange(ctx context.Context, r request) (grant, error) {
	refresh, err := r.app.Master.Refresh(ctx, r.tenant)
	if err != nil {
		return grant{}, err
	}
	g, err := k.ask(ctx, r, grantOf(refresh))
	if ended(err) {
		// It may have been renewed since; then the new one counts.
		now, again := r.app.Master.Refresh(ctx, r.tenant)
		if again == nil && !now.Equal(refresh) {
			g, err = k.ask(ctx, r, grantOf(now))
		}
	}
	if drover.KindOf(err) == drover.Denied {
		err = r.app.Master.Whose(ctx, r.tenant, err)
	}
	g.refresh = drover.Secret{}
	return g, err
}

// Forgive lets an app's tenants ask again, now that something of the app's own has
// been mended.
func (k *Tokens) Forgive(app string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, g := range k.gates {
		if key[1] == k.opt.Apps[app].ClientID {
			g.forgive()
		}
	}
}
