// Package entra gets and keeps the tokens with which tenants are read: client
// credentials (secret or certificate) and delegated refresh tokens, from the
// v1 and v2 token endpoints, for every cloud. It knows what Entra's refusals
// mean and what an operator does about them.
//
// It promises (reference entra-oauth; faults-and-invariants T01–T05, T09–T10,
// I13, I14):
//
//   - A token is used only for the tenant in its tid, and only for the audience
//     it was asked for.
//   - A rotated refresh token is on disk before the access token that came with
//     it is handed out; the one before it is kept until the new one has worked.
//   - The authority's hosts are those of the cloud's table; nothing that an
//     answer says changes where secrets go.
//   - One request at a time per token; a refusal is not asked for again before
//     its time.
package entra

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"drover"
)

// Cloud is where a national cloud's services are (reference entra-oauth §1,
// graph-security §1, siem-api §2).
type Cloud struct {
	Name          string
	Authority     string            // https://login.microsoftonline.com
	Graph         string            // https://graph.microsoft.com
	GraphResource string            // the audience of Graph's tokens; Graph itself if empty
	SIEM          map[string]string // host of the SIEM detections API by region
	SIEMResource  string            // its audience
	AllowPrivate  bool              // its hosts may lie in private address space
	CAFile        string            // trusted for its hosts besides the system's
}

// siemResource is the audience of the SIEM detections API since 2018.
const siemResource = "https://graph.windows.net"

var builtin = map[string]Cloud{
	"worldwide": {
		Name: "worldwide", Authority: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", SIEMResource: siemResource,
		SIEM: map[string]string{
			"eu": "https://wdatp-alertexporter-eu.windows.com", "us": "https://wdatp-alertexporter-us.windows.com", "uk": "https://wdatp-alertexporter-uk.windows.com",
		},
	},
	"gcc": {
		Name: "gcc", Authority: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", SIEMResource: siemResource,
		SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.gcc.securitycenter.windows.us"},
	},
	"gcc-high": {
		Name: "gcc-high", Authority: "https://login.microsoftonline.us", Graph: "https://graph.microsoft.us", SIEMResource: siemResource,
		SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.securitycenter.windows.us"},
	},
	"dod": {
		Name: "dod", Authority: "https://login.microsoftonline.us", Graph: "https://dod-graph.microsoft.us", SIEMResource: siemResource,
		SIEM: map[string]string{"us": "https://wdatp-alertexporter-us.securitycenter.windows.us"},
	},
}

// Clouds is the table of clouds: the built-in ones, and those of the config.
type Clouds map[string]Cloud

// NewClouds adds custom clouds to the built-in ones. A custom cloud cannot
// take a built-in one's name: what is meant for Microsoft goes to Microsoft.
func NewClouds(custom ...Cloud) (Clouds, error) {
	all := maps.Clone(Clouds(builtin))
	for _, c := range custom {
		if _, taken := builtin[c.Name]; taken {
			return nil, fmt.Errorf("a custom cloud cannot be named %s: that is a built-in one", c.Name)
		}
		for what, u := range map[string]string{"authority": c.Authority, "graph": c.Graph} {
			if !strings.HasPrefix(u, "https://") {
				return nil, fmt.Errorf("cloud %s: %s must be an https URL", c.Name, what)
			}
		}
		c.Authority, c.Graph = strings.TrimSuffix(c.Authority, "/"), strings.TrimSuffix(c.Graph, "/")
		if c.SIEMResource == "" {
			c.SIEMResource = siemResource
		}
		all[c.Name] = c
	}
	return all, nil
}

// Names lists the clouds by name.
func (c Clouds) Names() []string { return slices.Sorted(maps.Keys(c)) }

// Of returns a tenant's cloud.
func (c Clouds) Of(t drover.Tenant) (Cloud, error) {
	cloud, ok := c[t.Cloud]
	if !ok {
		return Cloud{}, &drover.Error{Op: "find the cloud", Tenant: t.ID, Kind: drover.Denied, Hint: "define it under clouds: in the config", Err: fmt.Errorf("there is no cloud named %q", t.Cloud)}
	}
	return cloud, nil
}

// Resource returns the audience of a source's tokens in this cloud.
func (c Cloud) Resource(s drover.SourceID) string {
	if s == drover.SIEMDetections {
		return c.SIEMResource
	}
	if c.GraphResource != "" {
		return strings.TrimSuffix(c.GraphResource, "/")
	}
	return c.Graph
}

// Host returns the base URL of a source for a tenant's region.
func (c Cloud) Host(s drover.SourceID, region string) (string, error) {
	if s != drover.SIEMDetections {
		return c.Graph, nil
	}
	if region == "" && len(c.SIEM) == 1 {
		for _, h := range c.SIEM {
			return h, nil
		}
	}
	h, ok := c.SIEM[region]
	if !ok {
		return "", fmt.Errorf("the cloud %s has no SIEM API in region %q; known are: %s", c.Name, region, strings.Join(slices.Sorted(maps.Keys(c.SIEM)), ", "))
	}
	return strings.TrimSuffix(h, "/"), nil
}

// Wants lists the application permissions of which a token needs one to read
// the source, least first; nil if the API does not say (reference
// graph-security §1).
func Wants(s drover.SourceID) []string {
	if s == drover.GraphAlerts {
		return []string{"SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All", "SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"}
	}
	return nil
}
