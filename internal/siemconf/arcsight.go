package siemconf

import (
	"fmt"
	"net/url"
	"strings"
)

// Names of ArcSight's files. The parser's is found by the base name.
const (
	connector     = "WDATP-connector"
	clientFile    = connector + ".properties"
	parserFile    = connector + ".jsonparser.properties"
	wizardFile    = connector + ".wizard.properties"
	flexAgent     = `<install>\current\user\agent\flexagent\`
	arcSightTitle = "ArcSight FlexConnector REST (retired)"
)

// arcSight makes the FlexConnector's files (reference siem-config-files §2).
func arcSight(v Values) ([]File, error) {
	client, err := arcSightClient(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", clientFile, err)
	}
	parser, err := arcSightParser(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", parserFile, err)
	}
	wizard, err := arcSightWizard(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wizardFile, err)
	}
	return []File{
		File{Name: clientFile, Data: client, What: "OAuth 2 client properties", Place: flexAgent + clientFile + " (any folder: the wizard asks for it)"}.holds(v, true, false),
		{Name: parserFile, Data: parser, What: "JSON parser: the field mapping", Place: flexAgent + parserFile + " (there and nowhere else)"},
		File{Name: wizardFile, Data: wizard, What: "what to type into the connector's wizard", Place: "read by you, not by the connector; destroy it afterwards"}.holds(v, false, true),
	}, nil
}

func arcSightClient(v Values) ([]byte, error) {
	var p properties
	p.note(v.header(ArcSight, arcSightTitle+": OAuth 2 client properties")...)
	p.gap()
	p.note("[page] the application's ID. Microsoft's page spells the key client_ID; which of both the connector reads is [undocumented].", "[derived] of the app for which the refresh token was made: the provider's, not the one that the portal makes.")
	p.set(v.ClientIDKey, v.ClientID)
	p.note("[page] the application's key. Of a provider's app it is always written by hand.")
	p.set("client_secret", secret(v.Secret, NoSecret))
	p.note("[page] sign-in and token endpoint; [derived] those of the customer's tenant. The resource travels with the sign-in, URL-encoded.")
	p.set("auth_url", v.SignInURL+"?resource="+url.QueryEscape(v.Resource))
	p.set("token_url", v.TokenURL)
	p.note("[page] where the connector listens for the sign-in. It must be registered with the app byte for byte; with https the browser must trust the connector's certificate.")
	p.set("redirect_uri", v.RedirectURI)
	p.note("[page] empty")
	p.set("scope", "")
	p.note("[page] the cure for \"Failed to refresh the token\": the connector opens a browser once and signs in anew. [derived] true for the first run.")
	p.set("reauthenticate", "true")
	return p.bytes()
}

func arcSightParser(v Values) ([]byte, error) {
	var p properties
	p.note(v.header(ArcSight, arcSightTitle+": JSON parser and field mapping")...)
	p.gap()
	p.note("[undocumented] how a bare array is named, which the API answers with. Another parser of the same form has a path such as /UserData here.")
	p.set("trigger.node.location", v.ArrayRoot)
	p.gap()
	p.note("[page] which fields are mapped. [derived] how they are declared: String is the one type that was seen in a parser of this form.")
	p.set("token.count", fmt.Sprint(len(mapping)))
	for i, m := range mapping {
		at := fmt.Sprintf("token[%d].", i)
		p.set(at+"name", m.from)
		p.set(at+"location", m.from)
		p.set(at+"type", "String")
	}
	p.gap()
	p.note("[page] constants; deviceVersion is the mapping's version. Older consoles show the product as Windows Defender ATP.")
	for _, c := range constants {
		if c.to == "deviceVendor" {
			p.set("event."+c.to, `__getVendor("`+c.value+`")`)
			continue
		}
		p.set("event."+c.to, `__stringConstant("`+c.value+`")`)
	}
	p.gap()
	p.note("[page] what goes where")
	for _, m := range mapping {
		switch m.as {
		case address:
			p.note("[derived] the function. It takes IPv4 addresses; of others the field stays empty.")
			p.set("event."+m.to, `__regexTokenAsAddress(`+m.from+`,"(.*)")`)
		case yesNo:
			p.note("[page] true is 1, false is 0. [derived] null leaves the field out, and the functions, from a public list of them; how a JSON boolean reads as a String is [undocumented].")
			p.set("event."+m.to, `__safeToLong(__simpleMap(`+m.from+`,"true=1","True=1","false=0","False=0"))`)
		case moment:
			p.note("[derived] the functions, from a public list of them: the first 19 characters are the time to the second, in UTC; up to seven digits of a second are left out.")
			p.set("event."+m.to, `__createOptionalTimeStampFromString(__concatenate(__regexToken(`+m.from+`,"([0-9T:-]{19}).*")," +0000"),"yyyy-MM-dd'T'HH:mm:ss Z")`)
		default:
			p.set("event."+m.to, m.from)
		}
	}
	p.gap()
	p.note("[derived] labels. Microsoft gives none; consoles show custom fields by them.")
	for _, m := range mapping {
		if strings.HasPrefix(m.to, "deviceCustom") || strings.HasPrefix(m.to, "flexString") {
			p.set("event."+m.to+"Label", `__stringConstant("`+m.from+`")`)
		}
	}
	return p.bytes()
}

// eventsURL is what the connector asks. It replaces $START_AT_TIME by where it is.
func (v Values) eventsURL() string {
	return strings.TrimRight(v.AlertsURL, "/") + "/?sinceTimeUtc=$START_AT_TIME"
}

func arcSightWizard(v Values) ([]byte, error) {
	c := conf{plain: true}
	c.note(v.header(ArcSight, arcSightTitle+": what to type into the wizard, field by field")...)
	c.note("The keys are ours; the connector does not read this file.")
	c.gap()
	c.note("[page] Connector type")
	c.set("connector_type", "ArcSight FlexConnector REST")
	c.note("[page] Configuration File: the base name of " + parserFile)
	c.set("configuration_file", connector)
	c.note("[page] Events URL. The connector puts its last position for $START_AT_TIME; how it writes it, and what before the first run, is [undocumented].")
	c.set("events_url", v.eventsURL())
	c.note("[page] Authentication Type")
	c.set("authentication_type", "OAuth 2")
	c.note("[page] OAuth 2 Client Properties file: browse to it")
	c.set("oauth2_client_properties_file", clientFile)
	c.note("[page] Refresh Token: of a provider's app it comes from the sign-in, not from the portal")
	c.set("refresh_token", secret(v.RefreshToken, NoRefresh))
	return c.bytes()
}
