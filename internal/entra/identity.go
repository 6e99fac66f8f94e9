package entra

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"

	"drover"
)

// ManagedIdentity is a user-assigned identity of the machine that drover runs
// on, which the app's registration trusts (reference entra-oauth §4). Where the
// machine's identity service is, Microsoft's library knows: at the link-local
// address of a virtual machine, or where App Service and Container Apps say by
// IDENTITY_ENDPOINT. It keeps tokens as long as they are good.
type ManagedIdentity struct {
	ClientID string // of the identity, which is not the app's
	// Dial replaces the way to the identity service; only tests have one.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Fingerprint says that no try differs from another.
func (m ManagedIdentity) Fingerprint() [sha256.Size]byte { return sha256.Sum256([]byte(m.ClientID)) }

// Bounds of a call of the identity service.
const (
	identityTimeout = 20 * time.Second
	maxIdentity     = 64 << 10
)

// errElsewhere refuses an identity service that is not this machine's.
var errElsewhere = errors.New("the identity service must be this machine's own: a loopback or link-local address")

// Assert asks the identity service for a token of the identity.
func (m ManagedIdentity) Assert(ctx context.Context, audience string) (drover.Secret, error) {
	e := &drover.Error{Op: "ask this machine for its managed identity", Kind: drover.Denied, App: true}
	if audience == "" {
		e.Hint, e.Err = "use a certificate, or a federated token whose audience you name", errors.New("the audience of federated tokens is not known for this cloud")
		return drover.Secret{}, e
	}
	dial := (&net.Dialer{Timeout: 5 * time.Second, Control: onlyHere}).DialContext
	if m.Dial != nil {
		dial = m.Dial
	}
	way := &identityWay{next: &http.Transport{DialContext: dial}}
	defer way.next.CloseIdleConnections()
	one := &http.Client{Transport: way, Timeout: identityTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	client, err := managedidentity.New(managedidentity.UserAssignedClientID(m.ClientID), managedidentity.WithHTTPClient(one), managedidentity.WithRetryPolicyDisabled())
	if err != nil {
		e.Hint, e.Err = "a user-assigned identity is needed, on a virtual machine, App Service or Container Apps; elsewhere use a certificate", errors.New("this machine has no identity service that can be used")
		return drover.Secret{}, e
	}
	got, err := client.AcquireToken(ctx, audience)
	switch {
	case err == nil && got.AccessToken != "":
		return drover.NewSecret(got.AccessToken), nil
	case errors.Is(way.err, errElsewhere):
		e.Hint, e.Err = "look at IDENTITY_ENDPOINT in drover's environment", errElsewhere
	case way.status == http.StatusBadRequest || way.status == http.StatusForbidden || way.status == http.StatusUnauthorized:
		e.Hint, e.Err = "assign the user-assigned identity "+m.ClientID+" to this machine, and name its client ID (not the app's)", fmt.Errorf("the identity service refuses: status %d", way.status)
	case way.status != 0:
		e.Kind, e.App, e.Err = drover.Transient, false, fmt.Errorf("the identity service answers without a token: status %d", way.status)
	default:
		e.Kind, e.App = drover.Transient, false
		e.Hint, e.Err = "does drover run on a machine of Azure's that has the identity?", errors.New("the identity service does not answer")
	}
	return drover.Secret{}, e
}

// identityWay is the way to the identity service: it notes what came, since the
// library's errors may quote it, and bounds it. No proxy is asked.
type identityWay struct {
	next   *http.Transport
	status int // of the last answer; 0: none came
	err    error
}

// RoundTrip makes the call.
func (w *identityWay) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(r)
	if w.err = err; err != nil {
		return nil, err
	}
	w.status = res.StatusCode
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, maxIdentity), res.Body}
	return res, nil
}

// onlyHere lets nothing but this machine's own addresses be called.
func onlyHere(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if a := ap.Addr().Unmap(); err != nil || !a.IsLoopback() && !a.IsLinkLocalUnicast() {
		return errElsewhere
	}
	return nil
}
