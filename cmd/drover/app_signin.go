package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"drover"
	"drover/internal/entra"
	"drover/internal/onboard"
)

// graphTools is Microsoft Graph Command Line Tools: an app of Microsoft's that
// every directory knows, for signing in to Graph from a terminal.
const graphTools = "14d82eec-204b-4c2f-b7e8-296a70dab67e"

// signInRequest is who signs in, where, and how.
type signInRequest struct {
	tokens   *entra.Tokens
	cloud    entra.Cloud
	home     string // tenant: ID or domain
	clientID string
	device   bool      // with a code
	noOpen   bool      // only print the address
	say      io.Writer // where it is told what to do
}

// signInToGraph signs an admin in and returns a token that may register
// applications.
func signInToGraph(ctx context.Context, r signInRequest) (drover.Secret, error) {
	way := onboard.Browser
	if r.device {
		way = onboard.Device
		if !shownTo(r.say) {
			return drover.Secret{}, usageError{&drover.Error{Op: "sign in by code", Kind: drover.Refused, Hint: "run it on a terminal, or sign in by browser: --browser", Err: errors.New("the code would be written where others may read it")}}
		}
	}
	s := onboard.Service{Entra: staff{r}, Show: func(step onboard.Step) { showStaff(r, step) }}
	_, token, err := s.Staff(ctx, drover.Tenant{ID: drover.TenantID(r.home)}, way)
	return token, staffRefused(err)
}

// staff lets onboard sign somebody of ours in.
type staff struct{ r signInRequest }

func (s staff) who(redirect string) entra.Staff {
	return entra.Staff{Cloud: s.r.cloud, Home: s.r.home, ClientID: s.r.clientID, Scopes: []string{"Application.ReadWrite.All"}, Redirect: redirect}
}

func (s staff) SignIn(_ drover.Tenant, _ drover.SourceID, _ bool, redirect string) (onboard.SignIn, error) {
	return s.r.tokens.BeginStaff(s.who(redirect)), nil
}

func (s staff) Device(ctx context.Context, _ drover.Tenant, _ drover.SourceID, _ bool) (onboard.DeviceSignIn, error) {
	d, err := s.r.tokens.BeginStaffDevice(ctx, s.who(""))
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (staff) AdminConsent(drover.Tenant, string, bool) (onboard.AdminConsent, error) {
	return nil, errors.New("nobody consents here")
}

func (staff) Consented(context.Context, drover.Tenant) (known, granted bool, err error) {
	return false, false, errors.New("nobody consents here")
}

// showStaff tells the admin what to do.
func showStaff(r signInRequest, s onboard.Step) {
	until := s.Time.Local().Format("15:04")
	switch s.What {
	case onboard.StepSignIn:
		_, _ = fmt.Fprintf(r.say, "Sign in as an admin of %s, by %s, in a browser on this machine:\n\n  %s\n\n", clean(r.home), until, clean(s.URL))
		if !r.noOpen && isTerminal(r.say) {
			openBrowser(s.URL)
		}
	case onboard.StepDevice:
		_, _ = fmt.Fprintf(r.say, "Sign in as an admin of %s, by %s: open\n\n  %s\n\nand type the code %s\n\n", clean(r.home), until, clean(s.URL), clean(s.Code))
	case onboard.StepSignedIn:
		_, _ = fmt.Fprintf(r.say, "Signed in: %s\n", clean(s.Who))
	}
}

// staffRefused adds to Entra's refusal what else an admin can do.
func staffRefused(err error) error {
	e, ok := errors.AsType[*drover.Error](err)
	if !ok || e.Kind != drover.Denied {
		return err
	}
	named := *e
	named.Hint += "; if your directory blocks Microsoft Graph Command Line Tools, sign in with an app of your own (--sign-in-with), or follow: drover app manual"
	if r, ok := errors.AsType[*entra.Refusal](err); ok {
		if m, ok := r.Remedy(); ok && m.Class == entra.NoPrincipal {
			named.Hint = "is --home right, and does that directory know the app that signs in? Name another one (--sign-in-with), or follow: drover app manual"
		}
	}
	return &named
}

// browserHere reports whether this machine has a desktop on which a browser opens.
func browserHere() bool {
	if runtime.GOOS == "darwin" {
		return os.Getenv("SSH_CONNECTION") == ""
	}
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return false
	}
	_, err := exec.LookPath("xdg-open")
	return err == nil
}
