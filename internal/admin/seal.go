package admin

import (
	"context"
	"errors"
	"fmt"

	"drover"
)

// sealing is a delegated credential on its way over the socket.
type sealing struct {
	Tenant       string `json:"tenant"`
	RefreshToken string `json:"refresh_token"`
}

// SealTenant is API.SealTenant.
func (l *Local) SealTenant(ctx context.Context, idOrName string, refresh drover.Secret) error {
	const op = "seal the sign-in"
	t, err := l.find(ctx, op, idOrName)
	switch {
	case err != nil:
		return err
	case t.State == drover.Removed:
		return usage(op, "add it again: drover tenant add", fmt.Errorf("tenant %s was removed", t.Name))
	case l.SealRefreshToken == nil:
		return errors.New("no credential can be sealed here")
	}
	return l.SealRefreshToken(ctx, t, refresh)
}

// SealTenant is API.SealTenant.
func (c *Client) SealTenant(ctx context.Context, s string, refresh drover.Secret) error {
	_, err := ask[any](ctx, c, "seal_tenant", sealing{s, refresh.Reveal()})
	return err
}
