// Package entra gets and keeps the tokens with which tenants are read: client
// credentials (secret or certificate) and delegated refresh tokens, from the
// v1 and v2 token endpoints, for every cloud. It knows what Entra's refusals
// mean and what an operator does about them.
//
// It promises (reference entra-oauth; faults-and-invariants T01–T05, T08–T11,
// I13, I14):
//
//   - A token is used only for the tenant in its tid, and only for the audience
//     it was asked for.
//   - A rotated refresh token is on disk before the access token that came with
//     it is handed out; the one before it is kept until the new one has worked.
//   - The authority's hosts are those of the cloud's table; nothing that an
//     answer or a discovery document says changes where secrets go.
//   - One request at a time per token; a refusal is not asked for again before
//     its time; when Entra slows an app down, all of its token calls wait.
//   - No secret, token or text of an answer stands in an error.
package entra

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"drover"
)

// Cloud says where a national or custom cloud's services are (reference
// entra-oauth §1, graph-security §1, siem-api §2, mde-api §2). URLs have no slash at the end.
type Cloud struct {
	Name          string
	Authority     string            // where tokens come from: https://login.microsoftonline.com
	Graph         string            // https://graph.microsoft.com
	GraphResource string            // the audience of Graph's tokens; Graph itself if empty
	SIEM          map[string]string // host of the SIEM detections API by region: eu, us, uk
	SIEMResource  string            // its audience
	MDE           string            // host of Defender for Endpoint's API, for every region
	MDERegions    map[string]string // nearer hosts by region: eu, us, uk, au, swa, ina, aea
	MDEResource   string            // its audience, which is not its host (reference mde-api §3)
	TokenExchange string            // the audience of tokens of other issuers by which an app proves itself; "": not known
	AdminCenter   string            // where people manage its directories
	STS           string            // what names itself in tokens of version 1
	NoAlerts      bool              // its Graph has neither alerts nor incidents
	AllowPrivate  bool              // custom clouds: its hosts may lie in private address space
	CAFile        string            // custom clouds: trusted for its hosts besides the system's
}

// siemResource is the audience of the SIEM detections API since 2018 (reference
// siem-api §5).
const siemResource = "https://graph.windows.net"

// mdeResource is the audience of Defender for Endpoint in the public cloud, also
// on the newer host (reference mde-api §3).
const mdeResource = "https://api.securitycenter.microsoft.com"

// PartnerCenter is the host of Microsoft's API for partners, and the audience of
// its tokens (reference partner-gdap §1.1).
const PartnerCenter = "https://api.partnercenter.microsoft.com"

// mdeNear are the nearer hosts of Defender for Endpoint in the public cloud.
func mdeNear() map[string]string {
	m := make(map[string]string)
	for _, region := range []string{"eu", "us", "uk", "au", "swa", "ina", "aea"} {
		m[region] = "https://" + region + ".api.security.microsoft.com"
	}
	return m
}

// DefaultCloud is the cloud of a tenant that names none.
const DefaultCloud = "worldwide"

// BuiltIn returns the built-in clouds by name: worldwide, gcc, gcc-high, dod,
// china, and the sovereign clouds bleu, delos and govsg, of which only the
// authority is known. Every call returns a table of its own.
func BuiltIn() Clouds {
	const (
		public    = "https://login.microsoftonline.com"
		gov       = "https://login.microsoftonline.us"
		china     = "https://login.partner.microsoftonline.cn"
		admin     = "https://entra.microsoft.com"
		federated = "api://AzureADTokenExchange"
		gcc       = "https://api-gcc.securitycenter.microsoft.us"
		mdeGov    = "https://api-gov.securitycenter.microsoft.us"
	)
	m := make(Clouds)
	for _, c := range []Cloud{
		{Name: DefaultCloud, Authority: public, Graph: "https://graph.microsoft.com", MDE: "https://api.security.microsoft.com", MDERegions: mdeNear(), MDEResource: mdeResource, SIEM: map[string]string{
			"eu": "https://wdatp-alertexporter-eu.windows.com",
			"us": "https://wdatp-alertexporter-us.windows.com",
			"uk": "https://wdatp-alertexporter-uk.windows.com",
		}},
		{Name: "gcc", Authority: public, Graph: "https://graph.microsoft.com", MDE: gcc, MDEResource: gcc, SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.gcc.securitycenter.windows.us"}},
		{Name: "gcc-high", Authority: gov, Graph: "https://graph.microsoft.us", MDE: mdeGov, MDEResource: mdeGov, SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.securitycenter.windows.us"}},
		{Name: "dod", Authority: gov, Graph: "https://dod-graph.microsoft.us", MDE: mdeGov, MDEResource: mdeGov, SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.securitycenter.windows.us"}},
		// The Graph of these has neither alerts nor incidents.
		{Name: "china", Authority: china, Graph: "https://microsoftgraph.chinacloudapi.cn", NoAlerts: true},
		{Name: "bleu", Authority: "https://login.sovcloud-identity.fr", NoAlerts: true},
		{Name: "delos", Authority: "https://login.sovcloud-identity.de", NoAlerts: true},
		{Name: "govsg", Authority: "https://login.sovcloud-identity.sg", NoAlerts: true},
	} {
		c.SIEMResource = siemResource
		c.STS = "https://sts.windows.net"
		switch c.Authority {
		case public:
			c.TokenExchange, c.AdminCenter = federated, admin
		case gov:
			c.TokenExchange, c.AdminCenter = federated+"USGov", "https://entra.microsoft.us"
		case china:
			c.TokenExchange, c.AdminCenter, c.STS = federated+"China", "https://entra.microsoftonline.cn", "https://sts.chinacloudapi.cn"
		default: // not documented
			c.AdminCenter = admin
		}
		m[c.Name] = c
	}
	return m
}

// Clouds is the table of clouds that an installation knows: the built-in ones
// and those of its config.
type Clouds map[string]Cloud

// NewClouds adds custom clouds to the built-in ones. A custom cloud cannot take
// a built-in one's name: what is meant for Microsoft goes to Microsoft.
func NewClouds(custom ...Cloud) (Clouds, error) {
	all := BuiltIn()
	for _, c := range custom {
		if _, taken := all[c.Name]; taken {
			return nil, fmt.Errorf("a cloud cannot be named %s: that one exists already", c.Name)
		}
		c.SIEM, c.MDERegions = maps.Clone(c.SIEM), maps.Clone(c.MDERegions)
		for what, u := range map[string]*string{"authority": &c.Authority, "graph": &c.Graph, "mde": &c.MDE} {
			if what == "mde" && *u == "" {
				continue
			}
			if err := checkHost(u); err != nil {
				return nil, fmt.Errorf("cloud %s: %s %w", c.Name, what, err)
			}
		}
		for what, hosts := range map[string]map[string]string{"siem": c.SIEM, "mde_regions": c.MDERegions} {
			for region, h := range hosts {
				if err := checkHost(&h); err != nil {
					return nil, fmt.Errorf("cloud %s: %s.%s %w", c.Name, what, region, err)
				}
				hosts[region] = h
			}
		}
		if c.MDEResource == "" {
			c.MDEResource = mdeResource
		}
		if c.SIEMResource == "" {
			c.SIEMResource = siemResource
		}
		usual := all[DefaultCloud]
		for mine, theirs := range map[*string]string{&c.TokenExchange: usual.TokenExchange, &c.AdminCenter: usual.AdminCenter, &c.STS: usual.STS} {
			if *mine == "" {
				*mine = theirs
			}
		}
		all[c.Name] = c
	}
	return all, nil
}

// checkHost takes an https URL without anything that could lead elsewhere.
func checkHost(s *string) error {
	*s = strings.TrimRight(*s, "/")
	u, err := url.Parse(*s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("must be an https URL such as https://login.lab.example, without user and query")
	}
	return nil
}

// Names lists the clouds by name.
func (t Clouds) Names() []string { return slices.Sorted(maps.Keys(t)) }

// Of returns a tenant's cloud.
func (t Clouds) Of(tenant drover.Tenant) (Cloud, error) {
	name := tenant.Cloud
	if name == "" {
		name = DefaultCloud
	}
	cloud, ok := t[name]
	if !ok {
		return Cloud{}, &drover.Error{Op: "find the cloud", Tenant: tenant.ID, Kind: drover.Denied, Hint: "define it under clouds: in the config; known are " + strings.Join(t.Names(), ", "), Err: fmt.Errorf("there is no cloud named %q", name)}
	}
	return cloud, nil
}

// Resource returns the audience of a source's tokens in this cloud.
func (c Cloud) Resource(s drover.SourceID) string {
	switch {
	case s == drover.SIEMDetections:
		return c.SIEMResource
	case s == drover.MDEAlerts:
		return strings.TrimSuffix(c.MDEResource, "/")
	case c.GraphResource != "":
		return strings.TrimSuffix(c.GraphResource, "/")
	}
	return c.Graph
}

// Host returns the base URL of a source for a tenant's region. The error has a
// hint if the cloud does not have the source.
func (c Cloud) Host(s drover.SourceID, region string) (string, error) {
	lacks := func(what, hint string) error {
		return &drover.Error{Op: "find the API", Kind: drover.Denied, Hint: hint, Err: fmt.Errorf("the cloud %s has no %s", c.Name, what)}
	}
	switch s {
	case drover.GraphAlerts, drover.GraphIncidents:
		if c.NoAlerts {
			return "", lacks("Defender alerts and incidents in its Graph", "Microsoft does not offer them there; is the tenant's cloud right?")
		}
		return c.Graph, nil
	case drover.MDEAlerts:
		if h, ok := c.MDERegions[strings.ToLower(region)]; ok {
			return h, nil
		}
		if c.MDE == "" {
			return "", lacks("API of Defender for Endpoint", "of a cloud of your own, name its host by mde: in the config; Microsoft's has none: read the tenant by graph.alerts, if that is there")
		}
		return c.MDE, nil
	case drover.SIEMDetections:
		return c.siemHost(region, lacks)
	}
	return "", fmt.Errorf("there is no source %q", s)
}

// siemHost returns the host of a region. One need not be named where there is
// only one.
func (c Cloud) siemHost(region string, lacks func(what, hint string) error) (string, error) {
	if region == "" && len(c.SIEM) == 1 {
		for _, h := range c.SIEM {
			return h, nil
		}
	}
	h, ok := c.SIEM[strings.ToLower(region)]
	switch {
	case ok:
		return h, nil
	case len(c.SIEM) == 0:
		return "", lacks("SIEM API", "read the tenant by graph.alerts, if that is there")
	}
	return "", lacks(fmt.Sprintf("SIEM API in region %q", region), "known are "+strings.Join(slices.Sorted(maps.Keys(c.SIEM)), ", ")+"; give the region of the tenant's data: --region")
}

// Portal is the customer's Defender portal, in which an MSSP is authorised for
// the SIEM API (reference siem-api §2). Of a cloud that is not Microsoft's it is
// the public one.
func (c Cloud) Portal() string {
	switch c.Name {
	case "gcc-high":
		return "https://security.microsoft.us"
	case "dod":
		return "https://security.apps.mil"
	}
	return "https://security.microsoft.com"
}

// Wants lists the permissions of which a token needs one to read the source,
// the one to ask for first; nil if the API does not say (reference
// graph-security §1, mde-api §3). Those of Defender for Endpoint without All are
// a signed-in user's.
func Wants(s drover.SourceID) []string {
	switch s {
	case drover.GraphAlerts:
		return []string{"SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All", "SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"}
	case drover.GraphIncidents:
		return []string{"SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"}
	case drover.MDEAlerts:
		return []string{"Alert.Read.All", "Alert.ReadWrite.All", "Alert.Read", "Alert.ReadWrite"}
	}
	return nil
}
