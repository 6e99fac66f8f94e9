package admin

import (
	"context"

	"drover"
)

// AppRef names an app registration: its key is bound to both, and cannot be
// opened as another's.
type AppRef struct {
	ClientID string `json:"client_id"`
	Cloud    string `json:"cloud"`
}

// AppKeys keeps the private keys of apps' certificates sealed in the ledger. A
// key goes in and never comes out.
type AppKeys interface {
	// AppCertificates returns the certificates of an app, PEM; "" if there are
	// none.
	AppCertificates(ctx context.Context, ref AppRef) (string, error)
	// AddAppKey adds private keys or certificates, PEM, to those that are there. A
	// key is used with its certificate only, and from when that begins. It returns
	// once they are on disk.
	AddAppKey(ctx context.Context, ref AppRef, pem drover.Secret) error
	// KeepAppKeys destroys all but the certificates that are given, PEM, and their
	// keys.
	KeepAppKeys(ctx context.Context, ref AppRef, certificates string) error
	// ProveApp signs, with the certificate that is in use, that its holder may add
	// another one to the app with that object ID. The proof is good for minutes;
	// it is empty if there is no valid certificate.
	ProveApp(ctx context.Context, ref AppRef, objectID string) (drover.Secret, error)
	// AssertApp signs, with the certificate that is in use, that its holder is the
	// app, for one token endpoint of the app's cloud. The assertion is good for
	// minutes.
	AssertApp(ctx context.Context, ref AppRef, endpoint string) (drover.Secret, error)
}

// appKeyOrder is what is asked about an app's keys, on the socket.
type appKeyOrder struct {
	AppRef
	PEM    string `json:"pem,omitempty"`
	Object string `json:"object,omitempty"`
	To     string `json:"to,omitempty"`
}

// appCalls are the methods of AppKeys on the wire.
var appCalls = map[string]call{
	"app_certificates": with(func(ctx context.Context, a API, o appKeyOrder) (any, error) { return a.AppCertificates(ctx, o.AppRef) }),
	"add_app_key": with(func(ctx context.Context, a API, o appKeyOrder) (any, error) {
		return nil, a.AddAppKey(ctx, o.AppRef, drover.NewSecret(o.PEM))
	}),
	"keep_app_keys": with(func(ctx context.Context, a API, o appKeyOrder) (any, error) {
		return nil, a.KeepAppKeys(ctx, o.AppRef, o.PEM)
	}),
	"prove_app": with(func(ctx context.Context, a API, o appKeyOrder) (any, error) {
		proof, err := a.ProveApp(ctx, o.AppRef, o.Object)
		return proof.Reveal(), err
	}),
	"assert_app": with(func(ctx context.Context, a API, o appKeyOrder) (any, error) {
		assertion, err := a.AssertApp(ctx, o.AppRef, o.To)
		return assertion.Reveal(), err
	}),
}

// AppCertificates is AppKeys.AppCertificates.
func (c *Client) AppCertificates(ctx context.Context, ref AppRef) (string, error) {
	return ask[string](ctx, c, "app_certificates", appKeyOrder{AppRef: ref})
}

// AddAppKey is AppKeys.AddAppKey.
func (c *Client) AddAppKey(ctx context.Context, ref AppRef, pem drover.Secret) error {
	_, err := ask[any](ctx, c, "add_app_key", appKeyOrder{AppRef: ref, PEM: pem.Reveal()})
	return err
}

// KeepAppKeys is AppKeys.KeepAppKeys.
func (c *Client) KeepAppKeys(ctx context.Context, ref AppRef, certificates string) error {
	_, err := ask[any](ctx, c, "keep_app_keys", appKeyOrder{AppRef: ref, PEM: certificates})
	return err
}

// ProveApp is AppKeys.ProveApp.
func (c *Client) ProveApp(ctx context.Context, ref AppRef, objectID string) (drover.Secret, error) {
	proof, err := ask[string](ctx, c, "prove_app", appKeyOrder{AppRef: ref, Object: objectID})
	return drover.NewSecret(proof), err
}

// AssertApp is AppKeys.AssertApp.
func (c *Client) AssertApp(ctx context.Context, ref AppRef, endpoint string) (drover.Secret, error) {
	assertion, err := ask[string](ctx, c, "assert_app", appKeyOrder{AppRef: ref, To: endpoint})
	return drover.NewSecret(assertion), err
}
