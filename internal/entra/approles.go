package entra

import (
	"context"
	"errors"
	"strings"

	"drover"
	"drover/internal/gdap"
)

// AppRoles asks for a token of the app's own for a source's API in a tenant, and
// says which permissions it carries; known false if the app is not in the tenant,
// or not yet. Nothing is kept.
func (k *Tokens) AppRoles(ctx context.Context, t drover.Tenant, source drover.SourceID) (roles []string, known bool, err error) {
	r, err := k.resolve(t, source)
	if err != nil {
		return nil, false, err
	}
	got, err := k.appOnly(ctx, r)
	if absent(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	c, ok := readClaims(got.access)
	switch {
	case !ok:
		return nil, false, &drover.Error{Op: opToken, Tenant: t.ID, Kind: drover.Denied, Hint: "what the token may cannot be told; connect this tenant by itself: drover tenant connect", Err: errors.New("the token cannot be read")}
	case !strings.EqualFold(c.TID, string(t.ID)):
		return nil, false, &drover.Error{Op: opToken, Tenant: t.ID, Kind: drover.Denied, Code: gdap.CodeWrongToken, Hint: "check the tenant's ID and the cloud's authority; the token was dropped unused", Err: errWrongTenant}
	}
	return c.Roles, true, nil
}
