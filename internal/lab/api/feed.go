package api

import (
	"math"
	"slices"
	"strings"
	"time"

	"drover/internal/lab/estate"
)

// feed is what distinguishes one list of rows from another: names, options and
// limits (reference graph-security §2, §4–§6, mde-api §4).
type feed struct {
	source string // in the truth log
	api    string // in the rules of faults, and whose limits count

	id, changed, tenant string // members of a row

	filters    []string            // properties that can be filtered and sorted by
	numbers    []string            // those of them that are numbers
	enums      map[string][]string // those that are enumerations; others are refused
	options    []string            // that begin with $
	properties []string            // which $select can name
	typeName   string
	context    string // of @odata.context, behind the host

	roles, scopes []string       // any one opens it
	codes         map[int]string // that it gives with a status
	pageCode      string         // of a 400 for $top and $skip
	top, topMax   int            // rows without $top, and with any
	skipMax       int
}

var alertFeed = feed{
	source: estate.Graph, api: "graph", id: "id", changed: "lastUpdateDateTime", tenant: "tenantId",
	filters: []string{"assignedTo", "classification", "createdDateTime", "determination", "lastUpdateDateTime", "serviceSource", "severity", "status"},
	enums: map[string][]string{
		"severity":       severities,
		"status":         {"unknown", "new", "inProgress", "resolved", "unknownFutureValue"},
		"classification": classifications,
		"determination":  determinations,
		"serviceSource": {"unknown", "microsoftDefenderForEndpoint", "microsoftDefenderForIdentity", "microsoftDefenderForCloudApps", "microsoftDefenderForOffice365",
			"microsoft365Defender", "azureAdIdentityProtection", "microsoftAppGovernance", "dataLossPrevention", "unknownFutureValue", "microsoftDefenderForCloud", "microsoftSentinel",
			"microsoftInsiderRiskManagement", "microsoftThreatIntelligence", "microsoftSecurityForAI"},
	},
	options: []string{"$filter", "$top", "$skip", "$orderby", "$count", "$select", "$skiptoken"},
	properties: []string{"id", "providerAlertId", "incidentId", "status", "severity", "classification", "determination", "serviceSource", "detectionSource", "productName", "detectorId",
		"alertPolicyId", "tenantId", "title", "description", "recommendedActions", "category", "categories", "assignedTo", "alertWebUrl", "incidentWebUrl", "actorDisplayName",
		"threatDisplayName", "threatFamilyName", "mitreTechniques", "createdDateTime", "lastUpdateDateTime", "resolvedDateTime", "firstActivityDateTime", "lastActivityDateTime",
		"investigationState", "comments", "evidence", "systemTags", "additionalData", "customDetails"},
	typeName: "microsoft.graph.security.alert", context: "/v1.0/$metadata#security/alerts_v2",
	roles: slices.Concat(alertRoles, incidentRoles), scopes: slices.Concat(alertRoles, incidentRoles), codes: graphCodes,
	top: 100, topMax: 1000, skipMax: 500,
}

var incidentFeed = feed{
	source: estate.Incidents, api: "graph.incidents", id: "id", changed: "lastUpdateDateTime", tenant: "tenantId",
	filters: []string{"assignedTo", "classification", "createdDateTime", "determination", "lastUpdateDateTime", "severity", "status"},
	enums: map[string][]string{
		"severity":       severities,
		"status":         {"active", "resolved", "inProgress", "redirected", "unknownFutureValue", "awaitingAction"},
		"classification": classifications,
		"determination":  determinations,
	},
	options: []string{"$filter", "$top", "$skip", "$orderby", "$count", "$select", "$skiptoken", "$expand"},
	properties: []string{"id", "tenantId", "status", "incidentWebUrl", "redirectIncidentId", "displayName", "createdDateTime", "lastUpdateDateTime", "assignedTo", "classification",
		"determination", "severity", "customTags", "systemTags", "description", "lastModifiedBy", "resolvingComment", "summary", "priorityScore", "comments", "alerts"},
	typeName: "microsoft.graph.security.incident", context: "/v1.0/$metadata#security/incidents",
	roles: incidentRoles, scopes: incidentRoles, codes: graphCodes,
	top: 50, topMax: 50, skipMax: 500,
}

var mdeFeed = feed{
	source: estate.MDE, api: "mde", id: "id", changed: "lastUpdateTime", tenant: "aadTenantId",
	filters: []string{"alertCreationTime", "lastUpdateTime", "incidentId", "investigationId", "id", "assignedTo", "detectionSource", "lastEventTime", "status", "severity", "category"},
	numbers: []string{"incidentId", "investigationId"},
	enums: map[string][]string{
		"severity": {"UnSpecified", "Informational", "Low", "Medium", "High"},
		"status":   {"Unknown", "New", "InProgress", "Resolved"},
	},
	options: []string{"$filter", "$top", "$skip", "$expand", "$orderby", "$select", "$count", "$skiptoken"},
	properties: []string{"id", "incidentId", "investigationId", "assignedTo", "severity", "status", "classification", "determination", "investigationState", "detectionSource", "detectorId",
		"category", "threatFamilyName", "title", "description", "alertCreationTime", "firstEventTime", "lastEventTime", "lastUpdateTime", "resolvedTime", "machineId", "computerDnsName",
		"rbacGroupName", "aadTenantId", "threatName", "mitreTechniques", "relatedUser", "comments", "evidence"},
	typeName: "microsoft.windowsDefenderATP.api.Alert", context: "/api/$metadata#Alerts",
	roles: []string{"Alert.Read.All", "Alert.ReadWrite.All"}, scopes: []string{"Alert.Read", "Alert.ReadWrite"}, codes: mdeCodes, pageCode: "BadRequest",
	top: 10_000, topMax: 10_000, skipMax: math.MaxInt32,
}

var siemFeed = feed{source: estate.SIEM, api: "siem", id: "FullId", changed: "LastProcessedTimeUtc", tenant: "tenantId", codes: graphCodes}

var (
	alertRoles    = []string{"SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All"}
	incidentRoles = []string{"SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"}

	severities      = []string{"unknown", "informational", "low", "medium", "high", "unknownFutureValue"}
	classifications = []string{"unknown", "falsePositive", "truePositive", "informationalExpectedActivity", "unknownFutureValue"}
	determinations  = []string{"unknown", "apt", "malware", "securityPersonnel", "securityTesting", "unwantedSoftware", "other", "multiStagedAttack", "compromisedAccount", "phishing",
		"maliciousUserActivity", "notMalicious", "notEnoughDataToValidate", "confirmedActivity", "lineOfBusinessApplication", "unknownFutureValue"}

	graphCodes = map[int]string{400: "BadRequest", 401: "InvalidAuthenticationToken", 403: "Forbidden", 404: "ResourceNotFound", 410: "ResourceNotFound", 429: "TooManyRequests",
		500: "InternalServerError", 502: "BadGateway", 503: "serviceNotAvailable", 504: "GatewayTimeout"}
	mdeCodes = map[int]string{400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "ResourceNotFound", 410: "NotFound", 429: "TooManyRequests", 500: "InternalServerError",
		502: "BadGateway", 503: "ServiceUnavailable", 504: "GatewayTimeout"}
)

// fewerFilters are the properties that the second of two pages about the API
// of Defender for Endpoint lists.
var fewerFilters = []string{"alertCreationTime", "lastUpdateTime", "incidentId", "investigationId", "status", "severity", "category"}

// unlisted are the options that no page about that API lists.
var unlisted = []string{"$orderby", "$select", "$count"}

// feed is what this request asks for, as the switches have it.
func (q *request) adapt(f feed) *feed {
	if f.api == "mde" {
		if q.sw.MDECap > 0 {
			f.top, f.topMax = q.sw.MDECap, q.sw.MDECap
		}
		if q.sw.MDEFewerFilters {
			f.filters = fewerFilters
		}
		if q.sw.MDEStrictOptions {
			f.options = slices.DeleteFunc(slices.Clone(f.options), func(o string) bool { return slices.Contains(unlisted, o) })
		}
	}
	return &f
}

// property finds one that can be filtered by. InvestigationId is how the pages
// spell investigationId.
func (f *feed) property(name string) (string, bool) {
	if name == "InvestigationId" {
		name = "investigationId"
	}
	return name, slices.Contains(f.filters, name)
}

// timely reports whether a property is a time.
func timely(property string) bool {
	return strings.HasSuffix(property, "Time")
}

// instant is the value of a property that is a time.
func instant(r *estate.Row, property string) time.Time {
	switch property {
	case "createdDateTime", "alertCreationTime":
		return r.Created
	case "lastEventTime":
		return r.LastEvent()
	}
	return r.Changed
}
