package entra

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drover"
)

// Asserter gives tokens of another issuer, by which an app proves itself where
// its registration trusts that issuer (reference entra-oauth §4, federated
// credential). Safe for concurrent use.
type Asserter interface {
	// Assert returns a token for an audience. It is called for every exchange:
	// whoever keeps one must know that it is good still. It may block until ctx
	// ends. An error that is no *drover.Error means that somebody must act.
	Assert(ctx context.Context, audience string) (drover.Secret, error)
	// Fingerprint changes when another try may have another outcome.
	Fingerprint() [sha256.Size]byte
}

// TokenFile is a token that the host projects into a file and replaces before
// it ends, as Kubernetes does for a service account.
type TokenFile struct {
	// Read returns what the file holds now. Its errors do not tell the token.
	Read func() (drover.Secret, error)
	// Audience is that of the token; "": that of the cloud.
	Audience string
}

// Fingerprint is that of the file: a new token is tried at once.
func (f TokenFile) Fingerprint() (sum [sha256.Size]byte) {
	if s, err := f.Read(); err == nil {
		return sha256.Sum256(s.Bytes())
	}
	return sum
}

// Assert reads the file. A token that has ended, or that is for somebody else,
// is refused here: it is sent to nobody.
func (f TokenFile) Assert(_ context.Context, audience string) (drover.Secret, error) {
	s, err := f.Read()
	if err != nil {
		return drover.Secret{}, err
	}
	if f.Audience != "" {
		audience = f.Audience
	}
	c, ok := readForeign(s)
	wrong := func(hint, format string, args ...any) (drover.Secret, error) {
		return drover.Secret{}, &drover.Error{Op: opToken, Kind: drover.Denied, App: true, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	switch now := time.Now(); {
	case !ok:
		return wrong("it must hold one JWT, as Kubernetes projects it for a service account, and nothing else", "the token file holds no token of the usual form")
	case audience == "":
		return wrong("name it as audience under federated:", "the audience of federated tokens is not known for this cloud")
	case !c.Expires.IsZero() && !now.Before(c.Expires):
		return wrong("what projects it should have replaced it long before: look at the kubelet, or at what writes the file, and at this machine's clock", "the token in the file has ended %v ago", now.Sub(c.Expires).Round(time.Second))
	case !slices.Contains(c.Audiences, audience):
		return wrong("give the projected volume the audience "+audience, "the token in the file is for %s, not for %s", quoted(c.Audiences...), audience)
	}
	return s, nil
}

// Foreign is what a token of another issuer says of itself. Nothing of it is
// secret.
type Foreign struct {
	Issuer, Subject string
	Audiences       []string
	Expires         time.Time // zero: it does not say
}

// Says puts it in words, for who compares it with the registration.
func (f Foreign) Says() string {
	return fmt.Sprintf("the token says issuer %s, subject %s, audience %s", quoted(f.Issuer), quoted(f.Subject), quoted(f.Audiences...))
}

// Look reads the file and says what its token says.
func (f TokenFile) Look() (Foreign, error) {
	s, err := f.Read()
	if err != nil {
		return Foreign{}, err
	}
	c, ok := readForeign(s)
	if !ok {
		return c, errors.New("the token file holds no token of the usual form")
	}
	return c, nil
}

// quoted writes what somebody else has written: bounded, and on one line.
func quoted(list ...string) string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		if len(s) > 200 {
			s = s[:200] + "…"
		}
		out = append(out, fmt.Sprintf("%q", s))
	}
	if len(out) == 0 {
		return "nobody"
	}
	return strings.Join(out, ", ")
}

func readForeign(token drover.Secret) (f Foreign, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return f, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	var in struct {
		claims
		Sub string      `json:"sub"`
		Exp json.Number `json:"exp"`
	}
	if err != nil || json.Unmarshal(b, &in) != nil {
		return f, false
	}
	f = Foreign{Issuer: in.Iss, Subject: in.Sub, Audiences: in.audiences()}
	if sec, err := in.Exp.Float64(); err == nil {
		f.Expires = time.Unix(int64(sec), 0)
	}
	return f, true
}

// explainForeign adds to a refusal of a federated credential what the token
// said: it is to be compared with the registration, letter by letter. Words that
// speak of a certificate are replaced: the app has none.
func explainForeign(e *drover.Error, form string) {
	r, ok := errors.AsType[*Refusal](e.Err)
	if !ok || r.Class != Federation && r.Class != Credential {
		return
	}
	if r.Code == 700027 || r.Code == 50012 || r.Code == 50027 || r.Code == 50013 {
		e.Hint = "Entra does not accept the signature of the other issuer's token: it must be RS256, and its key among the first 100 that the issuer publishes"
	}
	if f, ok := readForeign(drover.NewSecret(form)); ok {
		e.Hint += "; " + f.Says()
	}
}
