package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"golang.org/x/oauth2"

	"drover"
)

// graphTools is Microsoft Graph Command Line Tools: an app of Microsoft's that
// every directory knows, for signing in to Graph from a terminal.
const graphTools = "14d82eec-204b-4c2f-b7e8-296a70dab67e"

// maxSignIn bounds an answer of the sign-in service, in bytes.
const maxSignIn = 256 << 10

// httpDoer gives a client that is held to an origin.
type httpDoer interface {
	HTTPClient(origin string, maxBody int64) *http.Client
}

var aadsts = regexp.MustCompile(`AADSTS\d+`)

// deviceSignIn signs in by device code (reference entra-oauth §3). It waits until
// the person has, or the code has ended after 15 minutes.
func deviceSignIn(ctx context.Context, r signInRequest) (drover.Secret, error) {
	at := r.cloud.Authority + "/" + r.home
	resource := r.cloud.Graph
	if r.cloud.GraphResource != "" {
		resource = r.cloud.GraphResource
	}
	conf := oauth2.Config{ClientID: r.clientID, Scopes: []string{resource + "/Application.ReadWrite.All"},
		Endpoint: oauth2.Endpoint{DeviceAuthURL: at + "/oauth2/v2.0/devicecode", TokenURL: at + "/oauth2/v2.0/token", AuthStyle: oauth2.AuthStyleInParams}}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, r.http.HTTPClient(at, maxSignIn))
	code, err := conf.DeviceAuth(ctx)
	if err != nil {
		return drover.Secret{}, signInRefused(err)
	}
	say(r.say, "To sign in, open %s and enter the code %s.", clean(code.VerificationURI), clean(code.UserCode))
	token, err := conf.DeviceAccessToken(ctx, code)
	if err != nil {
		return drover.Secret{}, signInRefused(err)
	}
	return drover.NewSecret(token.AccessToken), nil
}

// signInRefused keeps of a refusal its word and its number; the text may quote
// what was sent.
func signInRefused(err error) error {
	e := &drover.Error{Op: "sign in to Microsoft Graph", Kind: drover.Transient, Err: err}
	if refusal, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		e.Kind, e.Code = drover.Denied, aadsts.FindString(refusal.ErrorDescription)
		e.Err = fmt.Errorf("%s %s", refusal.ErrorCode, e.Code)
		e.Hint = "is the tenant right, does it allow device codes (Conditional Access often does not), and does it know the app that signs in? Where nobody may use Graph, follow: drover app manual"
	}
	return e
}
