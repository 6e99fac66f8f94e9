package authority

import (
	"fmt"
	"slices"
	"time"
)

// Span is a duration that reads and writes as "5m" in JSON.
type Span time.Duration

// MarshalText writes it as a Go duration.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads a Go duration.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = Span(d)
	return err
}

// Switches choose among readings of what no document settles, and between what
// Entra does on most days and on its worst. The zero value is the milder one.
// docs/lab-entra.md has the list with reasons.
type Switches struct {
	// Clock and lifetimes.
	Skew        Span   `json:"skew"`         // Entra's clock is ahead of the lab's by this
	Life        Span   `json:"life"`         // of access tokens; 0: 3599 s to 90 min at random
	RefreshIdle Span   `json:"refresh_idle"` // refresh tokens die unused after this; 0: 90 days
	ExpiresIn   string `json:"expires_in"`   // number, text, negative or absent; "": as the endpoint does

	// Consent and the portal's list.
	ConsentDelay    Span   `json:"consent_delay"`     // a changed consent shows unevenly for so long
	ListDelay       Span   `json:"list_delay"`        // so does a changed MSSP list
	DirectoryDelay  Span   `json:"directory_delay"`   // so does what Graph's applications and servicePrincipals have made
	UnknownApp      bool   `json:"unknown_app"`       // no service principal: 700016 instead of 7000229
	PrincipalFirst  bool   `json:"principal_first"`   // the service principal is looked for before the credential
	ForgedTenant    string `json:"forged_tenant"`     // the admin consent callback names this tenant
	PolicyOnApps    bool   `json:"policy_on_apps"`    // a tenant's policy refuses app-only tokens as well
	UsersMayConsent bool   `json:"users_may_consent"` // also who is no admin

	// Refresh tokens and codes.
	NoNewRefresh      bool `json:"no_new_refresh"`      // refreshing gives no new refresh token
	OldRefreshDies    bool `json:"old_refresh_dies"`    // a refresh token works once
	ReuseKillsFamily  bool `json:"reuse_kills_family"`  // one that comes twice takes its successors with it
	OldExpiry         bool `json:"old_expiry"`          // an expired one is [70002, 70008] instead of 700082
	WrongVerifierEnds bool `json:"wrong_verifier_ends"` // a code is lost when its verifier was wrong
	ReplayEndsTokens  bool `json:"replay_ends_tokens"`  // a replayed code revokes what it had given

	// Client assertions.
	RefuseReplay     bool `json:"refuse_replay"`     // a jti works once, and must be there
	StrictAudience   bool `json:"strict_audience"`   // aud is byte for byte the URL that is asked
	StrictThumbprint bool `json:"strict_thumbprint"` // no thumbprint in the standard alphabet, as MSAL Go sends it
	RefuseRS256      bool `json:"refuse_rs256"`      // PS256 with x5t#S256 only
	AssertionMax     Span `json:"assertion_max"`     // longest exp - nbf; 0: any
	OldCodes         bool `json:"old_codes"`         // a bad assertion is [70002, 50012], as it was to 2017

	// Answers.
	CRLF         bool              `json:"crlf"`       // \r\n inside error_description instead of a blank
	OtherWord    bool              `json:"other_word"` // error and status disagree with the number, each time otherwise
	NoErrorURI   bool              `json:"no_error_uri"`
	ForeignToken string            `json:"foreign_token"` // the discovery document names the token endpoint at this host
	TokenClaims  map[string]string `json:"token_claims"`  // stand in every access token instead of what belongs there
	TokenV2      bool              `json:"token_v2"`      // access tokens of version 2: azp, another issuer, aud a GUID

	// Throttling.
	PerMinute     int  `json:"per_minute"`      // token requests of one app; 0: any number
	NoRetryAfter  bool `json:"no_retry_after"`  // a 429 does not say how long
	PlainTooMany  bool `json:"plain_too_many"`  // its body is bare text
	LoopAfter     int  `json:"loop_after"`      // same user grants within five minutes until 50196; 0: any number
	SlowDownPolls bool `json:"slow_down_polls"` // polling a device code too fast is answered with slow_down
}

// Harsh returns every switch at its harsher setting. What only one kind of test
// wants (skew, throttling, policies, version 2 tokens) stays as it is.
func Harsh() Switches {
	return Switches{ConsentDelay: Span(5 * time.Minute), ListDelay: Span(5 * time.Minute), DirectoryDelay: Span(time.Minute), PrincipalFirst: true,
		OldRefreshDies: true, ReuseKillsFamily: true, WrongVerifierEnds: true, ReplayEndsTokens: true,
		RefuseReplay: true, StrictAudience: true, StrictThumbprint: true, RefuseRS256: true, AssertionMax: Span(10 * time.Minute),
		CRLF: true, OtherWord: true, NoErrorURI: true, NoRetryAfter: true, PlainTooMany: true, SlowDownPolls: true}
}

// Switch changes switches while requests may be under way.
func (d *Directory) Switch(change func(*Switches)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.Switches)
}

var expiresIn = []string{"", "number", "text", "negative", "absent"}

// check says what is wrong with switches that somebody typed.
func (s Switches) check() error {
	if !slices.Contains(expiresIn, s.ExpiresIn) {
		return fmt.Errorf("expires_in is one of %q", expiresIn)
	}
	for name, d := range map[string]Span{"life": s.Life, "refresh_idle": s.RefreshIdle, "consent_delay": s.ConsentDelay, "list_delay": s.ListDelay, "directory_delay": s.DirectoryDelay, "assertion_max": s.AssertionMax} {
		if d < 0 {
			return fmt.Errorf("%s is not negative", name)
		}
	}
	return nil
}
