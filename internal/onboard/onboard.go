// Package onboard connects a customer: a person signs in first, an admin consents
// second, each source is tried last. It is what the command line and a web page
// share.
//
// It promises (design §7, reference faults-and-invariants T06, T07, T15–T17):
//
//   - The tenant is the one that a checked ID token names. If another one was
//     named beforehand, the attempt ends and nothing is kept.
//   - Nothing that a callback says makes a tenant; a token of that tenant does.
//   - An answer with another state changes nothing, and no answer counts twice.
//   - No code, token or pasted text stands in an error.
package onboard

import (
	"context"
	"errors"
	"io"
	"net/url"
	"time"

	"drover"
	"drover/internal/coverage"
)

// Way is how a person signs in.
type Way string

// The ways of signing in.
const (
	Browser Way = "browser" // on this machine
	Device  Way = "device"  // anywhere, with a code that is typed there
	Paste   Way = "paste"   // anywhere; the address that is led to is pasted here
)

// SignIn is one sign-in in a browser. It works once.
type SignIn interface {
	URL() string
	// Mine reports whether an answer belongs to it. Pasted finds that answer in
	// a text.
	Mine(answer url.Values) bool
	Pasted(text string) (answer url.Values, ok bool)
	// Finish redeems an answer once. The secret is a refresh token, empty if
	// only the person was asked for.
	Finish(ctx context.Context, answer url.Values) (drover.Person, drover.Secret, error)
}

// DeviceSignIn is one sign-in on another device. It works once.
type DeviceSignIn interface {
	UserCode() string
	Address() string
	Until() time.Time
	Wait(ctx context.Context) (drover.Person, drover.Secret, error)
}

// AdminConsent is the page on which an admin agrees. Its answer says whether to
// go on asking, and never that the tenant has agreed.
type AdminConsent interface {
	URL() string
	Mine(answer url.Values) bool
	Finish(answer url.Values) error
}

// Entra is what is needed of the identity provider. Errors are *drover.Error.
type Entra interface {
	// SignIn and Device begin a sign-in in the tenant's directory, for the API of
	// a source or, if it is empty, only to see who it is.
	SignIn(t drover.Tenant, source drover.SourceID, v1 bool, redirect string) (SignIn, error)
	Device(ctx context.Context, t drover.Tenant, source drover.SourceID, v1 bool) (DeviceSignIn, error)
	AdminConsent(t drover.Tenant, redirect string, v1 bool) (AdminConsent, error)
	// Consented asks for the app's own tokens, each time anew: known, that the
	// app is in the tenant; granted, that it has a permission there.
	Consented(ctx context.Context, t drover.Tenant) (known, granted bool, err error)
}

// Order says who is to be connected, and how.
type Order struct {
	Tenant drover.Tenant // ID, cloud, app and sources must be there
	Known  bool          // it is in the ledger already
	Way    Way
	// Delegated reads the tenant with the person's refresh token; else with the
	// app's own permissions, to which an admin consents.
	Delegated bool
	V1        bool   // sign in and consent by the v1 endpoints
	Redirect  string // of Paste: registered, byte for byte
	// Portal, ClientID and Home are what an MSSP is authorised with for the SIEM
	// API: the customer's portal, our app's ID, and the tenant that owns it, ""
	// if that is not known.
	Portal, ClientID, Home string
}

// Service connects customers. Entra, Keep, Check and Show are required.
type Service struct {
	Entra Entra
	// Keep adds the tenant if it is new, and seals the refresh token; with an
	// empty one the tenant is read with the app's own permissions from then on.
	// It is called once, after everything has been proved.
	Keep func(ctx context.Context, t drover.Tenant, refresh drover.Secret) error
	// Check makes a test call to each source, with new tokens.
	Check func(ctx context.Context, t drover.Tenant) ([]coverage.Source, error)
	// Show tells a person what to do next.
	Show func(Step)
	// Input is where a pasted address comes from.
	Input io.Reader
	// Confirm asks the operator whether a tenant that is new here, and whose
	// consent the app had before, is the right one; nil refuses it.
	Confirm func(ctx context.Context, who drover.Person) error
	// Listen opens the place to which a browser is led; nil: on loopback.
	Listen func() (Callback, error)
	// Patience is how long a consent is waited for; 0: 15 minutes, after which
	// Entra should show it everywhere (reference entra-oauth §6).
	Patience time.Duration
}

// Step is what a person does next. Code and URL are for the one who asked only.
type Step struct {
	What StepKind
	URL  string    // to open
	Code string    // to type there
	Who  string    // who signed in
	Time time.Time // until when
}

// StepKind is a kind of step.
type StepKind string

// The steps.
const (
	StepSignIn   StepKind = "sign in"          // open the URL and sign in
	StepDevice   StepKind = "sign in by code"  // open the URL and type the code
	StepPaste    StepKind = "paste"            // open the URL, sign in, and paste the address that is led to
	StepForeign  StepKind = "not this sign-in" // what was pasted belongs to another one
	StepSignedIn StepKind = "signed in"
	StepConsent  StepKind = "consent" // an admin opens the URL and agrees
	StepWait     StepKind = "wait"    // the admin has answered; Entra needs its time
	StepCheck    StepKind = "check"   // test calls are made
)

// Result is what came of it.
type Result struct {
	Tenant    drover.TenantID `json:"tenant"`
	Name      string          `json:"name"`
	SignedIn  string          `json:"signed_in"` // a person's name, to read
	Delegated bool            `json:"delegated,omitempty"`
	Before    bool            `json:"consented_before,omitempty"` // the app had the consent before this attempt
	Sources   []Source        `json:"sources"`
}

// OK reports whether every source works.
func (r Result) OK() bool {
	for _, s := range r.Sources {
		if s.Outcome != Works {
			return false
		}
	}
	return len(r.Sources) > 0
}

const op = "connect the tenant"

// Connect does the whole. It returns when the result is there or the attempt has
// ended; an error means that nothing was kept, unless Keep
// or Check failed. Nothing is kept either while the consent is pending.
func (s *Service) Connect(ctx context.Context, o Order) (Result, error) {
	r := Result{Tenant: o.Tenant.ID, Name: o.Tenant.Name, Delegated: o.Delegated}
	in, err := s.signIn(ctx, o)
	defer in.reply(page{Title: "This sign-in has ended", Text: "Look at the terminal for the reason."})
	if err != nil {
		return r, err
	}
	if in.who.Tenant != o.Tenant.ID {
		return r, stop(o, "nothing was kept: sign in with an account of the customer's own directory", errors.New("whoever signed in is of another tenant: "+string(in.who.Tenant)))
	}
	r.SignedIn = in.who.Name
	s.Show(Step{What: StepSignedIn, Who: in.who.Name})
	if o.Delegated && in.refresh.Empty() {
		return r, stop(o, "the app's registration must allow offline_access", errors.New("the sign-in brought no refresh token"))
	}
	fresh := false
	if !o.Delegated {
		if r.Before, err = s.consented(ctx, o); err != nil {
			return r, err
		}
		if r.Before && !o.Known {
			if err := s.confirm(ctx, o, in.who); err != nil {
				return r, err
			}
		}
		if fresh = !r.Before; fresh {
			granted, err := s.consent(ctx, o, in)
			if err != nil {
				return r, err
			}
			if !granted {
				for _, source := range o.Tenant.Sources {
					r.Sources = append(r.Sources, outcome(o, coverage.Source{ID: source, Answer: coverage.NotGranted}))
				}
				return r, nil
			}
		}
	}
	in.reply(page{Title: "You have signed in", Text: "Close this page and go back to the terminal."})
	if err := s.Keep(ctx, o.Tenant, in.refresh); err != nil {
		return r, err
	}
	s.Show(Step{What: StepCheck})
	r.Sources, err = s.check(ctx, o, fresh)
	return r, err
}

func (s *Service) confirm(ctx context.Context, o Order, who drover.Person) error {
	if s.Confirm == nil {
		return stop(o, "an operator must confirm name and tenant ID first", errors.New("this tenant consented to the app before, and is not known here"))
	}
	return s.Confirm(ctx, who)
}

func stop(o Order, hint string, err error) error {
	return &drover.Error{Op: op, Tenant: o.Tenant.ID, Kind: drover.Denied, Hint: hint, Err: err}
}

// patience is how long a consent is waited for.
func (s *Service) patience() time.Duration {
	if s.Patience > 0 {
		return s.Patience
	}
	return defaultPatience
}

// defaultPatience is after how long Entra should show a consent everywhere
// (reference entra-oauth §6).
const defaultPatience = 15 * time.Minute

// unevenly is how long a source may lack its permission while another one of the
// tenant has its own, before that is believed of a consent of just now.
const unevenly = time.Minute

// check tries each source. A consent of just now shows to some of Entra's
// servers before others, so what still waits for it is asked again.
func (s *Service) check(ctx context.Context, o Order, fresh bool) ([]Source, error) {
	began := time.Now()
	for pause := 2 * time.Second; ; pause = min(2*pause, 30*time.Second) {
		answers, err := s.Check(ctx, o.Tenant)
		if err != nil {
			return nil, err
		}
		out, pending, partly := outcomes(o, answers)
		patience := s.patience()
		if partly {
			patience = min(patience, unevenly)
		}
		if !fresh || !pending || time.Since(began)+pause > patience {
			return out, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
}
