package audit

import (
	"net/http"
	"net/url"

	"drover"
)

// evolved asks for values that were added to the API's lists later.
var evolved = http.Header{"Accept": {"application/json"}, "Prefer": {"include-unknown-enum-members"}}

// graphAlerts reads /security/alerts_v2 by creation time, newest first, along
// its links. The collector asks by change time, oldest first, and follows none.
var graphAlerts = source{
	id: drover.GraphAlerts, path: "/v1.0/security/alerts_v2", by: byCreated, newest: true, top: 700,
	says:   "alerts_v2 by createdDateTime, newest first, 700 at a time, along its links",
	names:  names{id: "id", changed: "lastUpdateDateTime", created: "createdDateTime", severity: "severity", provider: "serviceSource", tenant: []string{"tenantId", "aadTenantId"}},
	header: evolved,
	ask: func(span drover.Span, top int, count bool) string {
		return odata(between("createdDateTime", span), "createdDateTime desc", top, count, "")
	},
	one: func(id string) string { return "/" + url.PathEscape(id) },
	cannotSee: []string{
		"Alerts that belong to no incident: Graph's alerts_v2 does not return them.",
		"Alerts that a tuning rule of the customer suppressed.",
		"Alerts of Microsoft Sentinel while its workspace is not connected to the Defender portal, low-signal Exchange events and Intune alerts; of Entra ID Protection only high-risk detections unless the customer changed its alert service settings.",
	},
}
