package defender

import "drover"

// Page size of Graph incidents. A larger $top is refused (reference
// graph-security §2). Incidents are read as they are, never with $expand=alerts:
// of one with many alerts that is refused for ever, and its alerts come by
// themselves.
const incidentPage = 50

const incidentPath = "/v1.0/security/incidents"

// Values by which an instant is divided; incidents have no filter on the
// product.
var incidentStates = []string{"active", "resolved", "inProgress", "redirected", "awaitingAction"}

var graphIncidents = &collection{
	source: drover.GraphIncidents, op: "read incidents", path: incidentPath, fields: graphFields, page: incidentPage, most: incidentPage,
	divide:     []condition{{"severity", severities}, {"status", incidentStates}},
	permission: "SecurityIncident.Read.All",
	gone:       "this cloud has no Graph incidents, or the host is wrong: check the tenant's cloud; nothing else delivers incidents, take graph.incidents from the tenant's sources",
}

// NewGraphIncidents returns the source that reads /v1.0/security/incidents.
func NewGraphIncidents(opt Options) *Graph { return newGraph(opt, graphIncidents) }
