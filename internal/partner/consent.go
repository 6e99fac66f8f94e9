package partner

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"drover"
	"drover/internal/gdap"
	"drover/internal/httpx"
)

// center is a call to Partner Center. Its request ID is the same at each try.
func (c *Client) center(op, method, target string, header http.Header) call {
	h := header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	h.Set("MS-RequestId", newGUID())
	h.Set("MS-CorrelationId", newGUID())
	return call{op: op, method: method, url: target, origin: c.opt.Center, resource: c.opt.CenterResource, header: h, center: true}
}

// Consent grants an app, to which the token must have been issued, delegated
// permissions of one API in a customer (reference partner-gdap §4a). made is
// false if Partner Center says that they exist, which may be of others: only a
// token shows. Errors have a Code.
func (c *Client) Consent(ctx context.Context, customer drover.TenantID, app, name, api string, scopes []string) (made bool, err error) {
	type grant struct {
		API   string `json:"enterpriseApplicationId"`
		Scope string `json:"scope"`
	}
	r := c.center("consent in the customer's tenant", http.MethodPost, c.consents(customer), nil)
	r.tenant = customer
	// One API a request, scopes joined by comma and blank: the strictest reading
	// of what Microsoft's pages say.
	r.in = struct {
		App    string  `json:"applicationId"`
		Name   string  `json:"displayName"`
		Grants []grant `json:"applicationGrants"`
	}{app, name, []grant{{api, strings.Join(scopes, ", ")}}}
	_, err = c.do(ctx, r, nil)
	var e *drover.Error
	if errors.As(err, &e) && e.Code == gdap.CodeExists {
		return false, nil
	}
	return err == nil, err
}

// Withdraw takes an app's delegated permissions in a customer back. None to take
// is no error.
func (c *Client) Withdraw(ctx context.Context, customer drover.TenantID, app string) error {
	r := c.center("withdraw the consent in the customer's tenant", http.MethodDelete, c.consents(customer)+"/"+url.PathEscape(app), nil)
	r.tenant = customer
	_, err := c.do(ctx, r, nil)
	var e *drover.Error
	if errors.As(err, &e) && e.Code == gdap.CodeNoCustomer {
		return nil
	}
	return err
}

func (c *Client) consents(customer drover.TenantID) string {
	return c.opt.Center + "/v1/customers/" + string(customer) + "/applicationconsents"
}

// centerRefused sorts Partner Center's refusals (reference partner-gdap §4a).
func centerRefused(e *drover.Error, res *httpx.Response) {
	e.Kind = drover.Denied
	switch res.Status {
	case http.StatusUnauthorized:
		if len(strings.TrimSpace(string(res.Body))) == 0 {
			e.Code, e.App = gdap.CodeNoMFA, true
			e.Hint = "sign in again, with Microsoft's multi-factor authentication: drover partner connect"
		}
	case http.StatusForbidden:
		e.Code = gdap.CodeForbidden
		e.Hint = "the account must be of the group AdminAgents, and hold Cloud Application Administrator in the customer; indirect resellers cannot use this API"
	case http.StatusNotFound:
		e.Code = gdap.CodeNoCustomer
		e.Hint = "Partner Center does not list this customer: have its admin consent instead: drover tenant connect"
	case http.StatusConflict:
		e.Kind, e.Code = drover.Refused, gdap.CodeExists
	case http.StatusBadRequest:
		if exists(description(res.Body)) {
			e.Kind, e.Code = drover.Refused, gdap.CodeExists
		}
	}
}

// newGUID returns a random GUID, version 4.
func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
