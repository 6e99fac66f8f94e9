package entra

import (
	"context"
	"crypto/rand"
	"net/url"

	"golang.org/x/oauth2"

	"drover"
)

// Staff is somebody of the MSSP's own who signs in to Graph, at their own
// directory and with a public client such as Microsoft Graph Command Line Tools.
// What they are given is good for one command and is kept nowhere.
type Staff struct {
	Cloud    Cloud
	Home     string   // their directory: its ID, or one of its domains
	ClientID string   // of the app that signs them in
	Scopes   []string // of Graph
	Redirect string   // http://localhost with a port; unused by a device's sign-in
}

func (s Staff) request() request {
	return request{tenant: drover.Tenant{ID: drover.TenantID(s.Home)}, app: App{ClientID: s.ClientID}, cloud: s.Cloud, scopes: s.Scopes}
}

// StaffSignIn is a BrowserSignIn that brings an access token.
type StaffSignIn struct{ *BrowserSignIn }

// BeginStaff prepares a sign-in in a browser. It calls nobody.
func (k *Tokens) BeginStaff(s Staff) StaffSignIn {
	return StaffSignIn{&BrowserSignIn{k: k, r: s.request(), redirect: s.Redirect, verifier: drover.NewSecret(oauth2.GenerateVerifier()), nonce: drover.NewSecret(rand.Text()), state: newState()}}
}

// Finish is BrowserSignIn.Finish; the secret is the access token.
func (s StaffSignIn) Finish(ctx context.Context, q url.Values) (drover.Person, drover.Secret, error) {
	who, got, err := s.finish(ctx, q)
	return who, got.access, err
}

// StaffDevice is a DeviceSignIn that brings an access token.
type StaffDevice struct{ *DeviceSignIn }

// BeginStaffDevice asks for a device code.
func (k *Tokens) BeginStaffDevice(ctx context.Context, s Staff) (StaffDevice, error) {
	d, err := k.beginDevice(ctx, s.request())
	return StaffDevice{d}, err
}

// Wait is DeviceSignIn.Wait; the secret is the access token.
func (d StaffDevice) Wait(ctx context.Context) (drover.Person, drover.Secret, error) {
	who, got, err := d.await(ctx)
	return who, got.access, err
}
