package config

import (
	"maps"
	"slices"
	"strings"

	"drover"
)

// Partner is the MSSP's own standing as a Microsoft partner, by which it reaches all of its customers at once: drover partner connect.
type Partner struct {
	// ID of the partner's own tenant.
	Tenant string `yaml:"tenant" kind:"guid" required:"true"`
	// Application (client) ID of the onboarding app: another one than any of apps, since it may grant permissions and they only read.
	ClientID string `yaml:"client_id" kind:"guid" required:"true"`
	// Cloud of the partner and its customers.
	Cloud string `yaml:"cloud" kind:"word" default:"worldwide"`
	// Which of apps is granted its permissions in the customers, and reads them.
	Reader string `yaml:"reader" kind:"word" default:"default"`
	// Client secret of the onboarding app: where it is kept.
	Secret *SecretRef `yaml:"secret"`
	// Day on which that secret ends, as the portal shows it. With it drover warns 60, 30 and 7 days before.
	SecretUntil string `yaml:"secret_until" kind:"date"`
	// Certificate of the onboarding app instead of a secret, the better choice.
	Certificate *Certificate `yaml:"certificate"`
	// Host of Partner Center's API.
	Center string `yaml:"partner_center" kind:"url" default:"https://api.partnercenter.microsoft.com"`
	// Audience of Partner Center's tokens.
	CenterResource string `yaml:"partner_center_resource" kind:"url" default:"https://api.partnercenter.microsoft.com"`
}

// Validate checks that the onboarding app proves itself in one way.
func (p *Partner) Validate(report Report) {
	if p.Secret != nil && p.Certificate != nil {
		report("secret", "an app proves itself by a secret or by a certificate; keep one of them")
	}
	if p.SecretUntil != "" && p.Secret == nil {
		report("secret_until", "there is no secret that could end then; a certificate says itself when it ends")
	}
}

// App is the onboarding app, as one of apps would be.
func (p *Partner) App() App {
	return App{Name: drover.PartnerApp, ClientID: p.ClientID, Cloud: p.Cloud, HomeTenant: p.Tenant, Secret: p.Secret, SecretUntil: p.SecretUntil, Certificate: p.Certificate}
}

// checkPartner refuses an onboarding app that reads as well, a cloud or a reader
// that is not there, and an app that takes the name of the partner's account.
func (c *Config) checkPartner(report Report) {
	if _, taken := c.Apps[drover.PartnerApp]; taken {
		report("apps."+drover.PartnerApp, "no app can be named %s: a tenant whose app that is, is read with the partner's own account; choose another name, here and for its tenants", drover.PartnerApp)
	}
	p := c.Partner
	if p == nil {
		return
	}
	if clouds := c.CloudNames(); !slices.Contains(clouds, p.Cloud) {
		report("partner.cloud", "there is no cloud named %q%s", clip(p.Cloud), didYouMean(p.Cloud, clouds))
	}
	reader, ok := c.Apps[p.Reader]
	switch {
	case len(c.Apps) == 0:
		report("partner.reader", "there is no app yet that reads customers: make it with drover app create, then add partner")
	case !ok:
		report("partner.reader", "there is no app named %q%s", clip(p.Reader), didYouMean(p.Reader, c.AppNames()))
	case reader.Cloud != p.Cloud:
		report("partner.reader", "the app %s is of the cloud %s, and the partner of %s; a partner reaches customers of its own cloud only", p.Reader, reader.Cloud, p.Cloud)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Apps)) {
		if strings.EqualFold(c.Apps[name].ClientID, p.ClientID) {
			report("partner.client_id", "the app %s has the same ID: the onboarding app may grant permissions, so it must be another one than what reads; register a second app", name)
		}
	}
}
