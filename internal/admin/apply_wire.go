package admin

import "context"

// holdOrder holds a tenant, or releases it.
type holdOrder struct {
	Tenant string `json:"tenant"`
	Why    string `json:"why"`
}

// moveOrder joins two tenants.
type moveOrder struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// MoveTenant is API.MoveTenant.
func (c *Client) MoveTenant(ctx context.Context, from, to string) (TenantResult, error) {
	return ask[TenantResult](ctx, c, "move_tenant", moveOrder{from, to})
}

// ApplyTenants is API.ApplyTenants.
func (c *Client) ApplyTenants(ctx context.Context, o ApplyOrder) (Applied, error) {
	return ask[Applied](ctx, c, "apply_tenants", o)
}

// ImportTenants is API.ImportTenants.
func (c *Client) ImportTenants(ctx context.Context, o ImportOrder) ([]TenantResult, error) {
	return ask[[]TenantResult](ctx, c, "import_tenants", o)
}

// HoldTenant is API.HoldTenant.
func (c *Client) HoldTenant(ctx context.Context, idOrName, why string) error {
	_, err := ask[any](ctx, c, "hold_tenant", holdOrder{idOrName, why})
	return err
}

// ReleaseTenant is API.ReleaseTenant.
func (c *Client) ReleaseTenant(ctx context.Context, idOrName, why string) error {
	_, err := ask[any](ctx, c, "release_tenant", holdOrder{idOrName, why})
	return err
}

// Erasures is API.Erasures.
func (c *Client) Erasures(ctx context.Context) ([]ErasureStatus, error) {
	return ask[[]ErasureStatus](ctx, c, "erasures", struct{}{})
}
