// Package siemconf writes the files that a SIEM's own connector for the SIEM
// detections API is set up with: what a person fills in by hand in the last step
// of Microsoft's procedure for security providers. Values go in, named files come
// out; nothing is read and nothing is sent (reference siem-config-files).
//
// It promises:
//
//   - Each value is read back, by the rules of the file's form, as the bytes that
//     went in, or Files returns an error that names the value and does not show it.
//   - A secret stands in a file only if it is among the Values.
//   - Every host and URL is a value. Those of Microsoft are nobody's default here.
//   - What no source documents is marked so in a comment beside it.
package siemconf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"drover"
)

// Product is a SIEM whose connector is set up.
type Product string

// The products.
const (
	ArcSight Product = "arcsight"
	Splunk   Product = "splunk"
	Generic  Product = "generic" // for a client of one's own
)

// Products lists them as a person types them.
var Products = []Product{ArcSight, Splunk, Generic}

// Mode is that of every file.
const Mode fs.FileMode = 0o600

// MappingVersion is the version of Microsoft's field mapping (its deviceVersion).
const MappingVersion = "2.0"

// RefreshLife is how long Microsoft gives a refresh token that nobody uses.
const RefreshLife = 90 * 24 * time.Hour

// What stands in a file for a secret that is not among the values.
const (
	NoSecret  = "REPLACE-WITH-CLIENT-SECRET"
	NoRefresh = "REPLACE-WITH-REFRESH-TOKEN"
)

// Bounds of the interval. A poll that says no time is answered with the rows of
// two hours (reference siem-api §3): an hour lets one poll in a row fail.
const (
	MinInterval = 10 * time.Second
	MaxInterval = time.Hour
)

// Values is what the files say.
type Values struct {
	Tenant drover.TenantID // the customer's
	Name   string          // its short name: stanzas are named by it
	Cloud  string          // for the comment; the modern inputs follow Modern

	ClientID     string
	Secret       drover.Secret // empty: a placeholder is written
	RefreshToken drover.Secret // empty: a placeholder is written
	Issued       time.Time     // of the refresh token; zero: not known

	TokenURL    string // https://login.microsoftonline.com/{tenant}/oauth2/token
	SignInURL   string // …/oauth2/authorize, without a query
	AlertsURL   string // https://wdatp-alertexporter-eu.windows.com/api/alerts, without a query
	Resource    string // the audience: https://graph.windows.net
	RedirectURI string // byte for byte as it is registered with the app

	Interval  time.Duration // between two polls, whole seconds
	Generated time.Time

	// ClientIDKey is how ArcSight's file spells the client's ID. Microsoft's page
	// has client_ID; which of both the connector reads is not documented.
	ClientIDKey string
	// ArrayRoot is where ArcSight's parser finds the rows of an answer, a bare
	// array. No source shows it for one.
	ArrayRoot string
	// CABundle is a PEM file on the Splunk machine; "" leaves the setting out.
	CABundle string
	Modern   Modern
}

// Modern is what Splunk's present add-on needs instead.
type Modern struct {
	Account string // the name of the account that its own page keeps
	// Location and Environment are words of the add-on's closed lists; "" leaves
	// an input out.
	Location, Environment string
}

// File is one file.
type File struct {
	Name    string
	What    string   // what it is for
	Place   string   // where it goes
	Secrets bool     // it holds a secret
	Missing []string // secrets that a placeholder stands for
	Data    []byte
}

// Files makes the files of a product, the README last.
func Files(p Product, v Values) ([]File, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	var list []File
	var err error
	switch p {
	case ArcSight:
		list, err = arcSight(v)
	case Splunk:
		list, err = splunk(v)
	case Generic:
		list, err = generic(v)
	default:
		return nil, fmt.Errorf("there is no product %q; known are: %s", p, strings.Join(names(), ", "))
	}
	if err != nil {
		return nil, err
	}
	return append(list, readme(p, v, list)), nil
}

func names() (list []string) {
	for _, p := range Products {
		list = append(list, string(p))
	}
	return list
}

// check refuses what no file of any form could carry right.
func (v Values) check() error {
	if !drover.IsGUID(string(v.Tenant)) {
		return errors.New("the tenant is no GUID")
	}
	if _, err := drover.ParseCustomerID(v.Name); err != nil {
		return fmt.Errorf("the tenant's name: %w", err)
	}
	if !drover.IsGUID(v.ClientID) {
		return errors.New("the client ID is no GUID")
	}
	for _, u := range []struct{ what, value string }{{"token URL", v.TokenURL}, {"sign-in URL", v.SignInURL}, {"alerts URL", v.AlertsURL}} {
		if err := checkURL(u.value); err != nil {
			return fmt.Errorf("the %s: %w", u.what, err)
		}
	}
	if r, err := url.Parse(v.RedirectURI); err != nil || r.Scheme != "https" && r.Scheme != "http" || r.Host == "" || r.Fragment != "" {
		return errors.New("the redirect URI must be an http or https URL without a fragment")
	}
	if v.Resource == "" || strings.ContainsFunc(v.Resource, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
		return errors.New("the resource must be a URI without blanks, commas and characters outside of ASCII, such as https://graph.windows.net")
	}
	if v.Interval < MinInterval || v.Interval > MaxInterval || v.Interval%time.Second != 0 {
		return fmt.Errorf("the interval must be whole seconds, %s to %s: a poll is answered with two hours, so what is polled more rarely can be lost", MinInterval, MaxInterval)
	}
	if !slices.Contains([]string{"client_id", "client_ID"}, v.ClientIDKey) {
		return errors.New("the client ID's key is client_id or client_ID")
	}
	if v.ArrayRoot == "" {
		return errors.New("the location of the rows is empty")
	}
	if v.Generated.IsZero() {
		return errors.New("the time of generation is not said")
	}
	return nil
}

// checkURL takes what a token may be sent to. The dollar is Splunk's: its input
// replaces $words$ of an endpoint.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Trim(u.Path, "/") == "" ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`\$"#,`, r) }) {
		return errors.New("it must be an https URL with a path, without user, query and fragment, in plain ASCII")
	}
	return nil
}

// secret returns a value or what stands for it.
func secret(s drover.Secret, placeholder string) string {
	if s.Empty() {
		return placeholder
	}
	return s.Reveal()
}

// holds says of a file which of two secrets it holds and which are missing.
func (f File) holds(v Values, client, refresh bool) File {
	for _, s := range []struct {
		here bool
		what string
		v    drover.Secret
	}{{client, "client secret", v.Secret}, {refresh, "refresh token", v.RefreshToken}} {
		switch {
		case !s.here:
		case s.v.Empty():
			f.Missing = append(f.Missing, s.what)
		default:
			f.Secrets = true
		}
	}
	return f
}
