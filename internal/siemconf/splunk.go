package siemconf

import (
	"fmt"
	"strconv"
	"time"
)

// Names of Splunk's files.
const (
	restFile   = "rest_input.inputs.conf"
	authFile   = "splunk-authentication.properties"
	modernFile = "Splunk_TA_MS_Security.inputs.conf"
)

// NoAccess stands for the access token, which lives an hour and is nowhere kept.
const NoAccess = "fetched-by-the-first-refresh"

// ModernFor returns the words by which Splunk's present add-on names a built-in
// cloud (its public code); empty for clouds that are not in its lists, which are
// closed. What they name for worldwide, gcc and gcc-high is Graph. For dod there
// is Defender for Endpoint's host alone, which it shares with gcc-high.
func ModernFor(cloud string) Modern {
	switch cloud {
	case "worldwide", "gcc":
		return Modern{Location: "commercial-graph-api", Environment: "commercial-graph-api"}
	case "gcc-high":
		return Modern{Location: "gcc-high-graph-api", Environment: "gcc-high-graph-api"}
	case "dod":
		return Modern{Location: "api-gov.securitycenter.microsoft.us"}
	}
	return Modern{}
}

// splunk makes the inputs of both add-ons (reference siem-config-files §3.1, §3.3).
func splunk(v Values) ([]File, error) {
	auth, err := splunkAuthentication(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", authFile, err)
	}
	rest, err := splunkREST(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", restFile, err)
	}
	list := []File{}
	if v.Modern.Location != "" || v.Modern.Environment != "" {
		modern, err := splunkModern(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", modernFile, err)
		}
		list = append(list, File{Name: modernFile, Data: modern, What: "inputs of Splunk Add-on for Microsoft Security: the modern way", Place: "$SPLUNK_HOME/etc/apps/Splunk_TA_MS_Security/local/inputs.conf; the account is made on the add-on's own page"})
	}
	return append(list,
		File{Name: authFile, Data: auth, What: "the OAuth 2 values of the REST input's form", Place: "read by you, to fill the form; destroy it afterwards"}.holds(v, true, true),
		File{Name: restFile, Data: rest, What: "the same as a stanza of REST API Modular Input (Splunkbase 1546)", Place: "$SPLUNK_HOME/etc/apps/<the input's app>/local/inputs.conf, instead of filling the form"}.holds(v, true, true)), nil
}

// oauth writes the five values, which are the same in both files, and the resource.
func oauth(c *conf, v Values) {
	c.note("[page] lives an hour. [derived] any word does: the input gets a new one at its first refresh; where yours does not, get one by the refresh token.")
	c.set("oauth2_access_token", NoAccess)
	c.note("[page] the token of the sign-in. [code] some versions write a new one back here, others begin with this one after each start: those stop when it ends.")
	c.set("oauth2_refresh_token", secret(v.RefreshToken, NoRefresh))
	c.note("[page] the token endpoint; [derived] that of the customer's tenant")
	c.set("oauth2_refresh_url", v.TokenURL)
	c.note("[code] added to the refresh request. [derived] Microsoft leaves it blank.")
	c.set("oauth2_refresh_props", "resource="+v.Resource)
	c.set("oauth2_client_id", v.ClientID)
	c.note("[page] of a provider's app it is always written by hand. [code] {encrypted:KEY} names a secret that Splunk keeps, in versions that know it.")
	c.set("oauth2_client_secret", secret(v.Secret, NoSecret))
}

func splunkAuthentication(v Values) ([]byte, error) {
	c := conf{plain: true}
	c.note(v.header(Splunk, "Splunk authentication properties: what to fill into the REST input's form")...)
	c.note("[undocumented] the name and the syntax of Microsoft's file: here the input's own keys, without escapes.")
	c.gap()
	oauth(&c, v)
	return c.bytes()
}

func splunkREST(v Values) ([]byte, error) {
	var c conf
	c.note(v.header(Splunk, "Splunk REST API Modular Input (Splunkbase 1546): one input")...)
	c.gap()
	c.note("[derived] the name; of one input Microsoft's search has rest://windows atp alerts")
	c.stanza("rest://" + v.Name + " wdatp alerts")
	c.note("[page] without a time each poll is answered with the rows of the last two hours: the same ones come again. Search with: | dedup _raw")
	c.set("endpoint", v.AlertsURL)
	c.set("http_method", "GET")
	c.set("auth_type", "oauth2")
	c.set("oauth2_token_type", "Bearer")
	oauth(&c, v)
	c.set("response_type", "json")
	c.set("response_handler", "JSONArrayHandler")
	c.note("seconds")
	c.set("polling_interval", strconv.FormatInt(int64(v.Interval/time.Second), 10))
	c.set("sourcetype", "_json")
	if v.CABundle == "" {
		c.note("[code] WITHOUT THIS THE INPUT DOES NOT VERIFY TLS, and sends the secret to whoever answers: name a PEM file of authorities.", "ca_bundle_path =")
	} else {
		c.note("[code] without this the input does not verify TLS")
		c.set("ca_bundle_path", v.CABundle)
	}
	return c.bytes()
}

func splunkModern(v Values) ([]byte, error) {
	var c conf
	c.note(v.header(Splunk, "Splunk Add-on for Microsoft Security (Splunkbase 6207), versions 3: inputs")...)
	c.note("[code] keys and words; they differ between versions: compare README/inputs.conf.spec of yours.",
		"No secret stands here. Make the account "+v.Modern.Account+" on the add-on's page Configuration: client ID "+v.ClientID+" and its secret, which Splunk encrypts. It reads by the app's own permissions SecurityAlert.Read.All and SecurityIncident.Read.All, which the customer's admin consents to; no refresh token.",
		"start_date: from when on; the time of generation.")
	start := v.Generated.UTC().Format("2006-01-02T15:04:05Z")
	common := func() {
		c.set("start_date", start)
		c.set("request_timeout", "60")
		c.set("lookback", "0")
		c.set("interval", strconv.FormatInt(int64(v.Interval/time.Second), 10))
	}
	if v.Modern.Location != "" {
		c.gap()
		c.note("alerts. location: [code] one word of a closed list; commercial-graph-api and gcc-high-graph-api read Graph, hosts such as api.securitycenter.microsoft.com the API of Defender for Endpoint.")
		c.stanza("microsoft_defender_endpoint_atp_alerts://" + v.Name)
		c.set("azure_app_account", v.Modern.Account)
		c.set("tenant_id", string(v.Tenant))
		c.set("location", v.Modern.Location)
		common()
		c.set("sourcetype", "ms:defender:atp:alerts")
	}
	if v.Modern.Environment != "" {
		c.gap()
		c.note("incidents. environment: [code] one word of a closed list")
		c.stanza("microsoft_365_defender_endpoint_incidents://" + v.Name)
		c.set("azure_app_account", v.Modern.Account)
		c.set("tenant_id", string(v.Tenant))
		c.set("environment", v.Modern.Environment)
		common()
		c.set("sourcetype", "ms365:defender:incident")
	}
	return c.bytes()
}
