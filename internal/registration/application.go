package registration

import (
	"context"
	"crypto/sha1" //nolint:gosec // customKeyIdentifier is SHA-1 (reference entra-oauth §4)
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"drover"
)

// Audiences of an app (signInAudience).
const (
	OneTenant   = "AzureADMyOrg"
	ManyTenants = "AzureADMultipleOrgs"
)

// Redirects are the redirect URIs of one platform.
type Redirects struct {
	URIs []string `json:"redirectUris"`
}

// Access is one permission by its ID: Type Role for the app itself, Scope for a
// signed-in user.
type Access struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// Required is what an app asks of one API.
type Required struct {
	API    string   `json:"resourceAppId"`
	Access []Access `json:"resourceAccess"`
}

// Key is a registered certificate.
type Key struct {
	ID         string    `json:"keyId"`
	Name       string    `json:"displayName"`
	Identifier string    `json:"customKeyIdentifier"` // the SHA-1 thumbprint, in base64 or hex
	Start      time.Time `json:"startDateTime"`
	End        time.Time `json:"endDateTime"`
	Type       string    `json:"type"`
	Usage      string    `json:"usage"`
	DER        *string   `json:"key"` // base64; nil unless one app alone is asked for it
}

// Is reports whether the entry is a certificate.
func (k Key) Is(c *x509.Certificate) bool {
	if k.DER != nil && *k.DER != "" {
		return *k.DER == base64.StdEncoding.EncodeToString(c.Raw)
	}
	sum := sha1.Sum(c.Raw) //nolint:gosec // customKeyIdentifier is SHA-1
	return k.Identifier == base64.StdEncoding.EncodeToString(sum[:]) || strings.EqualFold(k.Identifier, hex.EncodeToString(sum[:]))
}

// Password is a client secret as it is shown after it was made.
type Password struct {
	ID    string    `json:"keyId"`
	Name  string    `json:"displayName"`
	Hint  string    `json:"hint"` // its first three characters
	Start time.Time `json:"startDateTime"`
	End   time.Time `json:"endDateTime"`
}

// Federated is a trust in tokens of another issuer.
type Federated struct {
	ID        string   `json:"id,omitempty"`
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

// Owner is somebody who may change the app without a directory role.
type Owner struct {
	ID   string `json:"id"`
	Name string `json:"displayName"`
	UPN  string `json:"userPrincipalName"`
}

// Application is a registration.
type Application struct {
	ObjectID    string      `json:"id"`
	AppID       string      `json:"appId"`
	Name        string      `json:"displayName"`
	Audience    string      `json:"signInAudience"`
	Domain      string      `json:"publisherDomain"`
	Created     time.Time   `json:"createdDateTime"`
	Web         Redirects   `json:"web"`
	Public      Redirects   `json:"publicClient"`
	SinglePage  Redirects   `json:"spa"`
	Identifiers []string    `json:"identifierUris"`
	Required    []Required  `json:"requiredResourceAccess"`
	Keys        []Key       `json:"keyCredentials"`
	Passwords   []Password  `json:"passwordCredentials"`
	Federated   []Federated `json:"federatedIdentityCredentials"` // asked for by itself
	Owners      []Owner     `json:"owners"`                       // the same
}

// Redirects lists all redirect URIs, of every platform.
func (a *Application) Redirects() []string {
	return slices.Concat(a.Web.URIs, a.Public.URIs, a.SinglePage.URIs)
}

// fields are read with every app. Naming keyCredentials brings the certificates
// themselves; Graph allows 150 such calls a minute (reference entra-oauth §10).
const fields = "id,appId,displayName,signInAudience,publisherDomain,createdDateTime,web,publicClient,spa,identifierUris,requiredResourceAccess,keyCredentials,passwordCredentials"

func byAppID(appID string) string { return "/applications(appId='" + url.PathEscape(appID) + "')" }

// Find reads an app with its owners and federated credentials. The error is
// ErrUnknown if there is none.
func (c *Client) Find(ctx context.Context, appID string) (*Application, error) {
	if !drover.IsGUID([]byte(appID)) {
		return nil, errors.New("an application ID is a GUID")
	}
	a, at := new(Application), byAppID(appID)
	const op = "read the app registration"
	if err := c.call(ctx, op, http.MethodGet, at+"?$select="+fields, nil, a); err != nil {
		return nil, err
	}
	var err error
	if a.Federated, err = pages[Federated](ctx, c, op, at+"/federatedIdentityCredentials"); err != nil {
		return nil, err
	}
	if a.Owners, err = pages[Owner](ctx, c, op, at+"/owners"); err != nil {
		return nil, err
	}
	return a, nil
}

// maxPages bounds a list: Graph shows a hundred a page, and allows a hundred owners
// and twenty federated credentials.
const maxPages = 20

// pages reads a list to its end. A link that leads elsewhere is not followed: the
// list would be short, and what is on the app would not be named.
func pages[T any](ctx context.Context, c *Client, op, path string) (all []T, err error) {
	for range maxPages {
		var page struct {
			Value []T    `json:"value"`
			Next  string `json:"@odata.nextLink"`
		}
		if err := c.settled(ctx, func() error { return c.call(ctx, op, http.MethodGet, path, nil, &page) }); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		if page.Next == "" {
			return all, nil
		}
		var ours bool
		if path, ours = strings.CutPrefix(page.Next, c.opt.Graph+"/v1.0"); !ours || !strings.HasPrefix(path, "/") {
			return nil, &drover.Error{Op: op, Kind: drover.Transient, Err: errors.New("a link of Graph's leads elsewhere; the token was not sent there")}
		}
	}
	return nil, &drover.Error{Op: op, Kind: drover.Transient, Err: fmt.Errorf("a list of Graph's does not end after %d pages", maxPages)}
}

// Await is Find for an app that is there, and that not every server knows yet.
func (c *Client) Await(ctx context.Context, appID string) (a *Application, err error) {
	err = c.settled(ctx, func() error {
		a, err = c.Find(ctx, appID)
		return err
	})
	return a, err
}

// Named lists the application IDs of apps with a display name.
func (c *Client) Named(ctx context.Context, name string) (ids []string, err error) {
	var found struct {
		Value []Application `json:"value"`
	}
	q := url.Values{"$filter": {"displayName eq '" + strings.ReplaceAll(name, "'", "''") + "'"}, "$select": {"appId"}}
	if err := c.call(ctx, "look for an app of that name", http.MethodGet, "/applications?"+strings.ReplaceAll(q.Encode(), "+", "%20"), nil, &found); err != nil {
		return nil, err
	}
	for _, a := range found.Value {
		ids = append(ids, a.AppID)
	}
	return ids, nil
}

// Plan is an app that is to be made.
type Plan struct {
	Name        string
	Audience    string // OneTenant, ManyTenants
	Redirects   []string
	Permissions []Permission
	Certificate *x509.Certificate // registered with it; nil: none
	KeyName     string
}

// keyEntry is a certificate as it is sent.
func keyEntry(cert *x509.Certificate, name string) map[string]any {
	sum := sha1.Sum(cert.Raw) //nolint:gosec // customKeyIdentifier is SHA-1 (reference entra-oauth §4)
	return map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": name, "key": base64.StdEncoding.EncodeToString(cert.Raw), "customKeyIdentifier": base64.StdEncoding.EncodeToString(sum[:]),
		"startDateTime": cert.NotBefore.UTC().Format(time.RFC3339), "endDateTime": cert.NotAfter.UTC().Format(time.RFC3339)}
}

// Create registers an app and waits until the directory shows it. Permissions
// are looked up first: nothing is made if one is not to be had. If the error
// comes with an app, that one exists.
func (c *Client) Create(ctx context.Context, p Plan) (*Application, error) {
	if err := OnlyRead(p.Permissions); err != nil {
		return nil, err
	}
	need, err := c.resolve(ctx, p.Permissions)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"displayName": p.Name, "signInAudience": p.Audience, "web": Redirects{p.Redirects}, "requiredResourceAccess": need}
	if p.Certificate != nil {
		body["keyCredentials"] = []any{keyEntry(p.Certificate, p.KeyName)}
	}
	made := new(Application)
	const op = "register the app"
	if err := c.call(ctx, op, http.MethodPost, "/applications", body, made); err != nil {
		if e, ok := errors.AsType[*drover.Error](err); ok && e.Kind == drover.Transient {
			e.Hint = "it may have been made all the same: the same command says so when it finds one of that name"
		}
		return nil, err
	}
	if _, err := c.Await(ctx, made.AppID); err != nil {
		return made, err
	}
	// Without a service principal at home no token is given there.
	err = c.settled(ctx, func() error {
		err := c.call(ctx, "make the app known in its own tenant", http.MethodPost, "/servicePrincipals", map[string]string{"appId": made.AppID}, nil)
		if e, ok := errors.AsType[*drover.Error](err); ok && e.Code == "Request_MultipleObjectsWithSameKeyValue" {
			return nil
		}
		return err
	})
	return made, err
}

// AddSecret makes a client secret that ends at a time. Its value comes once.
func (c *Client) AddSecret(ctx context.Context, appID, name string, until time.Time) (s drover.Secret, keyID string, err error) {
	var out struct {
		ID    string `json:"keyId"`
		Value string `json:"secretText"`
	}
	in := map[string]any{"passwordCredential": map[string]string{"displayName": name, "endDateTime": until.UTC().Format(time.RFC3339)}}
	err = c.settled(ctx, func() error {
		return c.call(ctx, "make a client secret", http.MethodPost, byAppID(appID)+"/addPassword", in, &out)
	})
	if err == nil && out.Value == "" {
		err = &drover.Error{Op: "make a client secret", Kind: drover.Transient, Err: errors.New("the answer holds no secret")}
	}
	return drover.NewSecret(out.Value), out.ID, err
}

// RemoveSecret takes a client secret away, by its key ID. One that is not there any
// more is no error.
func (c *Client) RemoveSecret(ctx context.Context, appID, keyID string) error {
	err := c.call(ctx, "remove the client secret", http.MethodPost, byAppID(appID)+"/removePassword", map[string]string{"keyId": keyID}, nil)
	if e, ok := errors.AsType[*drover.Error](err); !ok || e.Kind != drover.Refused && !errors.Is(err, ErrUnknown) {
		return err
	}
	a, look := c.Find(ctx, appID)
	if look != nil || slices.ContainsFunc(a.Passwords, func(p Password) bool { return p.ID == keyID }) {
		return err
	}
	return nil
}

// Trust adds a federated credential.
func (c *Client) Trust(ctx context.Context, appID string, f Federated) error {
	return c.settled(ctx, func() error {
		return c.call(ctx, "add the federated credential", http.MethodPost, byAppID(appID)+"/federatedIdentityCredentials", f, nil)
	})
}

// AddCertificate registers one more certificate beside those that are there, and
// drops those in drop (key IDs). It returns the new one's key ID.
//
// Graph has no call for an admin that adds one alone: the list is replaced. So
// it is read again afterwards, and an error says if one that should be there is
// not.
func (c *Client) AddCertificate(ctx context.Context, appID string, cert *x509.Certificate, name string, drop []string) (keyID string, err error) {
	const op = "register the certificate"
	a, err := c.Await(ctx, appID)
	if err != nil {
		return "", err
	}
	list, keep := []any{}, []string{}
	for _, k := range a.Keys {
		if slices.Contains(drop, k.ID) {
			continue
		}
		keep = append(keep, k.ID)
		list = append(list, map[string]any{"keyId": k.ID, "type": k.Type, "usage": k.Usage, "displayName": k.Name, "key": k.DER, "customKeyIdentifier": k.Identifier,
			"startDateTime": k.Start.UTC().Format(time.RFC3339), "endDateTime": k.End.UTC().Format(time.RFC3339)})
	}
	if cert != nil {
		list = append(list, keyEntry(cert, name))
	}
	if err := c.settled(ctx, func() error {
		return c.call(ctx, op, http.MethodPatch, byAppID(appID), map[string]any{"keyCredentials": list}, nil)
	}); err != nil {
		return "", err
	}
	for pause, waited := firstPause, time.Duration(0); ; pause = min(2*pause, lastPause) {
		if a, err = c.Find(ctx, appID); err == nil {
			i := slices.IndexFunc(a.Keys, func(k Key) bool { return cert != nil && k.Is(cert) })
			lost := slices.ContainsFunc(keep, func(id string) bool {
				return !slices.ContainsFunc(a.Keys, func(k Key) bool { return k.ID == id })
			})
			switch {
			case !lost && cert == nil:
				return "", nil
			case !lost && i >= 0:
				return a.Keys[i].ID, nil
			}
			err = fmt.Errorf("the directory does not show all certificates that should be there")
		}
		if waited >= longest || !c.opt.Pause(ctx, pause) {
			return "", &drover.Error{Op: op, Kind: drover.Transient, Err: err, Hint: "look at the app's certificates: drover app show"}
		}
		waited += pause
	}
}
