package coverage

import (
	"strings"

	"drover"
)

// product is something that Microsoft sells, with the words by which alerts
// name it, reduced by word: service sources of Graph and of older APIs, display
// names, and those detection sources that belong to one product alone
// (reference graph-security §6, mde-api §4, §5, siem-api §4).
type product struct {
	id, name string
	words    []string
}

// Endpoint is the one product of the sources that have only one.
const Endpoint = "defender_for_endpoint"

// Incidents stands for what names no product.
const Incidents = "incidents"

// products are in the order in which they are shown.
var products = []product{
	{Endpoint, "Defender for Endpoint", []string{"microsoftdefenderforendpoint", "microsoftdefenderatp", "windowsdefenderatp", "windowsdefenderav", "windowsdefenderantivirus", "windowsdefendersmartscreen",
		"antivirus", "smartscreen", "edr", "customti", "deviceguard", "microsoftthreatexperts"}},
	{"defender_for_office_365", "Defender for Office 365", []string{"microsoftdefenderforoffice365", "officeatp"}},
	{"defender_for_identity", "Defender for Identity", []string{"microsoftdefenderforidentity", "azureatp"}},
	{"defender_for_cloud_apps", "Defender for Cloud Apps", []string{"microsoftdefenderforcloudapps", "microsoftcloudappsecurity", "cloudappsecurity", "mcas"}},
	{"app_governance", "App governance", []string{"microsoftappgovernance", "appgovernance", "appgovernancepolicy", "appgovernancedetection"}},
	{"defender_xdr", "Defender XDR", []string{"microsoft365defender", "microsoftdefenderxdr"}},
	{"entra_id_protection", "Entra ID Protection", []string{"azureadidentityprotection", "microsoftentraidprotection", "aadidentityprotection"}},
	{"data_loss_prevention", "Data Loss Prevention", []string{"datalossprevention", "microsoftdatalossprevention"}},
	{"insider_risk_management", "Insider Risk Management", []string{"microsoftinsiderriskmanagement"}},
	{"defender_for_cloud", "Defender for Cloud", []string{"microsoftdefenderforcloud", "microsoftdefenderforservers", "microsoftdefenderforstorage", "microsoftdefenderfordns", "microsoftdefenderfordatabases",
		"microsoftdefenderforcontainers", "microsoftdefenderfornetwork", "microsoftdefenderforappservice", "microsoftdefenderforkeyvault", "microsoftdefenderforresourcemanager", "microsoftdefenderforapimanagement"}},
	{"security_for_ai", "Security for AI", []string{"microsoftsecurityforai", "microsoftdefenderforaiservices"}},
	{"threat_intelligence", "Threat Intelligence", []string{"microsoftthreatintelligence", "microsoftdefenderthreatintelligenceanalytics"}},
	{"sentinel", "Sentinel", []string{"microsoftsentinel", "azuresentinel", "nrtalerts", "scheduledalerts"}},
}

// prefixes of alert IDs tell the product where no word does (reference
// graph-security §3). One that two products share is left out.
var prefixes = map[string]string{
	"da": Endpoint, "ed": Endpoint, "fa": "defender_for_office_365", "aa": "defender_for_identity", "ri": "defender_for_identity", "ca": "defender_for_cloud_apps",
	"ma": "app_governance", "ad": "entra_id_protection", "dl": "data_loss_prevention", "dc": "defender_for_cloud", "sn": "sentinel", "ir": "insider_risk_management",
	"ra": "defender_xdr", "ta": "defender_xdr", "ea": "defender_xdr",
}

var (
	byWord = make(map[string]string)
	names  = map[string]string{Incidents: "Incidents"}
	places = make(map[string]int) // in the table
)

func init() {
	for i, p := range products {
		names[p.id], places[p.id] = p.name, i
		for _, w := range p.words {
			byWord[w] = p.id
		}
	}
}

// word reduces a spelling to lower-case letters and digits: the enumerations
// come in camelCase, PascalCase and as display names.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r | 0x20
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return -1
	}, s)
}

// carries reports whether a source can bring a product's alerts.
func carries(s drover.SourceID, id string) bool {
	switch s {
	case drover.GraphAlerts:
		return id != Incidents
	case drover.GraphIncidents:
		return id == Incidents
	}
	return id == Endpoint
}

// The members of a row that name a product, from the one that says most. The
// last is the SIEM API's only one.
var naming = []string{"serviceSource", "productName", "detectionSource", "Source"}

// maxName bounds a name that a row gives itself.
const maxName = 40

// Product tells which product an alert is one of, by its name here; "" if it is
// an incident or is not known well enough to be watched for silence. It keeps
// nothing of row.
func Product(s drover.SourceID, alertID string, row []byte) string {
	if id := productOf(s, alertID, row); id != Incidents && !strings.HasPrefix(id, "other:") {
		return nameOf(id)
	}
	return ""
}

// productOf tells the product of a row. One that is in no table has the ID
// "other:" and its own word for itself.
func productOf(s drover.SourceID, alertID string, row []byte) string {
	if s == drover.GraphIncidents {
		return Incidents
	}
	var says [4]string
	if s == drover.GraphAlerts { // its first word says it mostly, and stands near the row's begin
		if members(row, naming[:1], says[:1]); byWord[word(says[0])] != "" {
			return byWord[word(says[0])]
		}
	}
	members(row, naming, says[:])
	stranger := ""
	for i, text := range says {
		w := word(text)
		if w == "" || w == "unknown" || w == "unknownfuturevalue" || (i == 3) != (s == drover.SIEMDetections) {
			continue
		}
		if id, ok := byWord[w]; ok {
			return id
		}
		if stranger == "" {
			stranger = text
		}
	}
	switch {
	case s != drover.GraphAlerts:
		return Endpoint // whatever the detector is called
	case hasPrefix(alertID):
		return prefixes[alertID[:2]]
	case stranger != "":
		return "other:" + shown(stranger)
	}
	return "other:unnamed"
}

// hasPrefix reports whether an ID begins with a product's prefix. A GUID does
// so by chance.
func hasPrefix(id string) bool {
	if len(id) < 3 || prefixes[id[:2]] == "" {
		return false
	}
	return len(id) < 36 || !drover.IsGUID(id[:36])
}

// shown makes a name of a row's own fit to be shown.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxName)]
}

// nameOf is what a product is called.
func nameOf(id string) string {
	if n, ok := names[id]; ok {
		return n
	}
	return strings.TrimPrefix(id, "other:")
}

// named finds the product that an API names as absent or failed, such as
// "Microsoft/microsoftDefenderForEndpoint"; "" if it is in no table.
func named(s string) string {
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		s = s[i+1:]
	}
	return byWord[word(s)]
}
