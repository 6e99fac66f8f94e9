package audit

import (
	"net/http"
	"strings"

	"drover"
)

// mdeAlerts reads Defender for Endpoint's /api/alerts in windows of creation
// time: it states no order, gives no links, and cuts an answer at 10,000 rows;
// fewer are asked for, as much as fits into an answer's 64 MiB.
var mdeAlerts = source{
	id: drover.MDEAlerts, path: "/api/alerts", by: byCreated, top: 4000,
	says:   "Defender for Endpoint's alerts in windows of alertCreationTime from the newest back, each checked by two parts of it",
	names:  names{id: "id", changed: "lastUpdateTime", created: "alertCreationTime", severity: "severity", tenant: []string{"aadTenantId", "tenantId"}},
	header: http.Header{"Accept": {"application/json"}},
	ask: func(span drover.Span, top int, _ bool) string {
		return odata(between("alertCreationTime", span), "", top, false, "&$expand=evidence")
	},
	one: func(id string) string {
		return odata("id eq '"+strings.ReplaceAll(id, "'", "''")+"'", "", 2, false, "&$expand=evidence")
	},
	cannotSee: []string{"Alerts of products other than Defender for Endpoint: this API has its own only."},
}
