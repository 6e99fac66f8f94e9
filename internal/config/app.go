package config

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drover"
)

// App is one app registration of the MSSP.
type App struct {
	Name string
	// Application (client) ID.
	ClientID string `yaml:"client_id" kind:"guid" required:"true"`
	// Cloud in which the app is registered. An app can read tenants of its own cloud only.
	Cloud string `yaml:"cloud" kind:"word" default:"worldwide"`
	// ID of the tenant in which the app is registered, the MSSP's own. Customers enter it where they authorise an MSSP for the SIEM API.
	HomeTenant string `yaml:"home_tenant" kind:"guid"`
	// Client secret: where it is kept.
	Secret *SecretRef `yaml:"secret"`
	// Day on which the client secret ends, as the portal shows it: Entra tells nobody else. With it drover warns 60, 30 and 7 days before.
	SecretUntil string `yaml:"secret_until" kind:"date"`
	// Second client secret, while one takes over from the other. It is used as soon as it is there; of two that have days, the one that ends last.
	NextSecret *SecretRef `yaml:"next_secret"`
	// Day on which the second one ends.
	NextSecretUntil string `yaml:"next_secret_until" kind:"date"`
	// Certificate instead of a secret, the better choice: nothing that is sent can be used again.
	Certificate *Certificate `yaml:"certificate"`
	// Token of another issuer that the registration trusts (workload identity federation), instead of secret and certificate: nothing here can be stolen for long.
	Federated *Federated `yaml:"federated"`
	// User-assigned managed identity of the Azure machine that drover runs on, which the registration trusts, instead of secret and certificate.
	ManagedIdentity *ManagedIdentity `yaml:"managed_identity"`
}

// Proof names what the app proves itself by, as in the config; "" for a public
// client.
func (a App) Proof() string {
	switch {
	case a.Secret != nil:
		return "secret"
	case a.Certificate != nil:
		return "certificate"
	case a.Federated != nil:
		return "federated"
	case a.ManagedIdentity != nil:
		return "managed_identity"
	}
	return ""
}

// Validate checks that the app proves itself in one way.
func (a *App) Validate(report Report) {
	proofs := 0
	for _, has := range []bool{a.Secret != nil, a.Certificate != nil, a.Federated != nil, a.ManagedIdentity != nil} {
		if has {
			proofs++
		}
	}
	if proofs > 1 {
		report(a.Proof(), "an app proves itself in one way; keep one of secret, certificate, federated and managed_identity")
	}
	if a.NextSecret != nil && a.Secret == nil {
		report("next_secret", "there is no secret before it; write it as secret")
	}
	for _, d := range []struct {
		key, until string
		ref        *SecretRef
	}{{"secret", a.SecretUntil, a.Secret}, {"next_secret", a.NextSecretUntil, a.NextSecret}} {
		if d.until != "" && d.ref == nil {
			report(d.key+"_until", "there is no %s that could end then; a certificate says itself when it ends", d.key)
		}
	}
}

// DatedSecret is a client secret and when it ends, zero if that is not said.
type DatedSecret struct {
	Ref   *SecretRef
	Until time.Time
}

// Secrets lists the app's client secrets, the newest first.
func (a App) Secrets() (list []DatedSecret) {
	for _, s := range []struct {
		ref   *SecretRef
		until string
	}{{a.NextSecret, a.NextSecretUntil}, {a.Secret, a.SecretUntil}} {
		if s.ref == nil {
			continue
		}
		d := DatedSecret{Ref: s.ref}
		if s.until != "" {
			d.Until, _ = time.Parse(time.DateOnly, s.until) // it was read as one
		}
		list = append(list, d)
	}
	return list
}

// Certificate is a certificate with its private key: sealed in the ledger, or as PEM files. While one takes over from another, both are there, each with its key.
type Certificate struct {
	// It is sealed in the ledger, where `drover app create` and `app rotate` have put it.
	Sealed bool `yaml:"sealed" default:"false"`
	// PEM file of the certificate that was uploaded to the app registration.
	File string `yaml:"file" kind:"path"`
	// PEM file of its private key. Only the user that runs drover may read it.
	KeyFile string `yaml:"key_file" kind:"path"`
}

// Validate checks that the certificate is in one place, with its key.
func (c *Certificate) Validate(report Report) {
	switch {
	case c.Sealed && named(c.File, c.KeyFile) > 0:
		report("", "a certificate is sealed in the ledger, or it is in files; write sealed: true alone, or file and key_file")
	case !c.Sealed && named(c.File, c.KeyFile) != 2:
		report("", "write sealed: true for a certificate that drover app create has sealed in the ledger, or both file and key_file")
	}
}

// Federated is a token of another issuer, such as the service account of a Kubernetes pod. The host replaces it before it ends.
type Federated struct {
	// File that holds the token; read anew for every exchange. In Kubernetes the projected one, such as /var/run/secrets/azure/tokens/azure-identity-token.
	TokenFile string `yaml:"token_file" kind:"path" required:"true"`
	// Audience of the token, where the registration names another than the cloud's own, such as api://AzureADTokenExchange.
	Audience string `yaml:"audience" kind:"word"`
}

// Read returns the token as it is now. It is not refused if others can read it,
// since who projects it sets the mode, and it ends soon.
func (f Federated) Read() (drover.Secret, error) {
	text, err := readSecret(f.TokenFile, false)
	if err != nil {
		return drover.Secret{}, fmt.Errorf("read the federated token: %w", err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return drover.Secret{}, fmt.Errorf("read the federated token: %s is empty", f.TokenFile)
	}
	return drover.NewSecret(text), nil
}

// ManagedIdentity is a user-assigned identity of this machine.
type ManagedIdentity struct {
	// Client ID of the identity. It is not the app's.
	ClientID string `yaml:"client_id" kind:"guid" required:"true"`
}

// Read returns both files as they are now. A key that others can read is
// refused with the command that mends it.
func (c Certificate) Read() (cert []byte, key drover.Secret, err error) {
	if cert, err = readSecret(c.File, false); err != nil {
		return nil, drover.Secret{}, fmt.Errorf("read the app's certificate: %w", err)
	}
	text, err := readSecret(c.KeyFile, true)
	if err != nil {
		return nil, drover.Secret{}, fmt.Errorf("read the key of the app's certificate: %w", err)
	}
	return cert, drover.NewSecret(text), nil
}

// builtinClouds are the clouds whose hosts drover knows. China and the sovereign
// clouds have Entra and Graph but no security alerts (reference graph-security
// §1); their names are kept so that nothing else takes them.
var builtinClouds = []string{"bleu", "china", "delos", "dod", "gcc", "gcc-high", "govsg", "worldwide"}

// Cloud says where a cloud's services are.
type Cloud struct {
	Name string
	// Sign-in host, such as https://login.microsoftonline.com.
	Authority string `yaml:"authority" kind:"url" required:"true"`
	// Graph host, such as https://graph.microsoft.com.
	Graph string `yaml:"graph" kind:"url" required:"true"`
	// Audience of Graph's tokens, if it is not its host.
	GraphResource string `yaml:"graph_resource" kind:"url"`
	// Hosts of the SIEM detections API by region.
	SIEM SIEMHosts `yaml:"siem"`
	// Audience of the SIEM API's tokens.
	SIEMResource string `yaml:"siem_resource" kind:"url" default:"https://graph.windows.net"`
	// Host of Defender for Endpoint's API, such as https://api.security.microsoft.com. Without it the cloud has none.
	MDE string `yaml:"mde" kind:"url"`
	// Nearer hosts of Defender for Endpoint's API by region. A tenant of another region, or of none, is read at mde.
	MDERegions MDEHosts `yaml:"mde_regions"`
	// Audience of Defender for Endpoint's tokens, which is not its host.
	MDEResource string `yaml:"mde_resource" kind:"url" default:"https://api.securitycenter.microsoft.com"`
	// PEM file of certificate authorities that are trusted for this cloud besides the system's.
	CAFile string `yaml:"ca_file" kind:"path"`
	// Its hosts may have private addresses.
	AllowPrivate bool `yaml:"allow_private" default:"false"`
}

// SIEMHosts are the hosts of the SIEM detections API by region.
type SIEMHosts struct {
	// Host for tenants whose data is in the European Union.
	EU string `yaml:"eu" kind:"url"`
	// Host for tenants whose data is in the United States.
	US string `yaml:"us" kind:"url"`
	// Host for tenants whose data is in the United Kingdom.
	UK string `yaml:"uk" kind:"url"`
}

// Map returns the hosts that are set, by region.
func (h SIEMHosts) Map() map[string]string {
	return set(map[string]string{"eu": h.EU, "us": h.US, "uk": h.UK})
}

// MDEHosts are hosts of Defender for Endpoint's API by region.
type MDEHosts struct {
	// Host for tenants whose data is in the European Union.
	EU string `yaml:"eu" kind:"url"`
	// Host for tenants whose data is in the United States.
	US string `yaml:"us" kind:"url"`
	// Host for tenants whose data is in the United Kingdom.
	UK string `yaml:"uk" kind:"url"`
	// Host for tenants whose data is in Australia.
	AU string `yaml:"au" kind:"url"`
	// Host for tenants whose data is in Switzerland.
	SWA string `yaml:"swa" kind:"url"`
	// Host for tenants whose data is in India.
	INA string `yaml:"ina" kind:"url"`
	// Host for tenants whose data is in the United Arab Emirates.
	AEA string `yaml:"aea" kind:"url"`
}

// Map returns the hosts that are set, by region.
func (h MDEHosts) Map() map[string]string {
	return set(map[string]string{"eu": h.EU, "us": h.US, "uk": h.UK, "au": h.AU, "swa": h.SWA, "ina": h.INA, "aea": h.AEA})
}

// set leaves out what is empty.
func set(m map[string]string) map[string]string {
	maps.DeleteFunc(m, func(_, host string) bool { return host == "" })
	return m
}

// checkClouds refuses a custom cloud that takes a built-in one's name: what is
// meant for Microsoft goes to Microsoft.
func (c *Config) checkClouds(report Report) {
	for name := range c.Clouds {
		if slices.Contains(builtinClouds, name) {
			report("clouds."+name, "a cloud cannot be named %s: that is a built-in one; built in are %s", name, strings.Join(builtinClouds, ", "))
		}
	}
}
