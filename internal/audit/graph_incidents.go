package audit

import (
	"net/url"

	"drover"
)

// graphIncidents reads /security/incidents by creation time. More than 50 at a
// time are refused.
var graphIncidents = source{
	id: drover.GraphIncidents, path: "/v1.0/security/incidents", by: byCreated, newest: true, top: 40,
	says:   "incidents by createdDateTime, newest first, 40 at a time, along its links",
	names:  names{id: "id", changed: "lastUpdateDateTime", created: "createdDateTime", severity: "severity", tenant: []string{"tenantId"}},
	header: evolved,
	ask: func(span drover.Span, top int, count bool) string {
		return odata(between("createdDateTime", span), "createdDateTime desc", top, count, "")
	},
	one:       func(id string) string { return "/" + url.PathEscape(id) },
	cannotSee: []string{"Changes of an incident's alerts that do not move the incident's own time; they are alerts' business."},
}
