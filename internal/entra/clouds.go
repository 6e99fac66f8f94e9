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
// entra-oauth §1, graph-security §1, siem-api §2). URLs have no slash at the end.
type Cloud struct {
	Name          string
	Authority     string            // where tokens come from: https://login.microsoftonline.com
	Graph         string            // https://graph.microsoft.com
	GraphResource string            // the audience of Graph's tokens; Graph itself if empty
	SIEM          map[string]string // host of the SIEM detections API by region: eu, us, uk
	SIEMResource  string            // its audience
	NoAlerts      bool              // its Graph has neither alerts nor incidents
	AllowPrivate  bool              // custom clouds: its hosts may lie in private address space
	CAFile        string            // custom clouds: trusted for its hosts besides the system's
}

// siemResource is the audience of the SIEM detections API since 2018 (reference
// siem-api §5).
const siemResource = "https://graph.windows.net"

// DefaultCloud is the cloud of a tenant that names none.
const DefaultCloud = "worldwide"

// BuiltIn returns the built-in clouds by name: worldwide, gcc, gcc-high, dod and
// china. Every call returns a table of its own.
func BuiltIn() Clouds {
	const (
		public = "https://login.microsoftonline.com"
		gov    = "https://login.microsoftonline.us"
	)
	m := make(Clouds)
	for _, c := range []Cloud{
		{Name: DefaultCloud, Authority: public, Graph: "https://graph.microsoft.com", SIEM: map[string]string{
			"eu": "https://wdatp-alertexporter-eu.windows.com",
			"us": "https://wdatp-alertexporter-us.windows.com",
			"uk": "https://wdatp-alertexporter-uk.windows.com",
		}},
		{Name: "gcc", Authority: public, Graph: "https://graph.microsoft.com", SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.gcc.securitycenter.windows.us"}},
		{Name: "gcc-high", Authority: gov, Graph: "https://graph.microsoft.us", SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.securitycenter.windows.us"}},
		{Name: "dod", Authority: gov, Graph: "https://dod-graph.microsoft.us", SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.securitycenter.windows.us"}},
		// China's Graph has no alerts; its tokens are of use to what does not read any.
		{Name: "china", Authority: "https://login.partner.microsoftonline.cn", Graph: "https://microsoftgraph.chinacloudapi.cn", NoAlerts: true},
	} {
		c.SIEMResource = siemResource
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
		c.SIEM = maps.Clone(c.SIEM)
		for what, u := range map[string]*string{"authority": &c.Authority, "graph": &c.Graph} {
			if err := checkHost(u); err != nil {
				return nil, fmt.Errorf("cloud %s: %s %w", c.Name, what, err)
			}
		}
		for region, h := range c.SIEM {
			if err := checkHost(&h); err != nil {
				return nil, fmt.Errorf("cloud %s: siem.%s %w", c.Name, region, err)
			}
			c.SIEM[region] = h
		}
		if c.SIEMResource == "" {
			c.SIEMResource = siemResource
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
	case c.GraphResource != "":
		return strings.TrimSuffix(c.GraphResource, "/")
	}
	return c.Graph
}

// Host returns the base URL of a source for a tenant's region. A region need
// not be named where there is only one.
func (c Cloud) Host(s drover.SourceID, region string) (string, error) {
	if s != drover.SIEMDetections {
		if c.NoAlerts {
			return "", fmt.Errorf("the Graph of the cloud %s has no Defender alerts", c.Name)
		}
		return c.Graph, nil
	}
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
		return "", fmt.Errorf("the cloud %s has no SIEM API", c.Name)
	}
	return "", fmt.Errorf("the cloud %s has no SIEM API in region %q; known are %s", c.Name, region, strings.Join(slices.Sorted(maps.Keys(c.SIEM)), ", "))
}

// Wants lists the permissions of which a token needs one to read the source,
// the one to ask for first; nil if the API does not say (reference
// graph-security §1).
func Wants(s drover.SourceID) []string {
	if s == drover.GraphAlerts {
		return []string{"SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All", "SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"}
	}
	return nil
}
