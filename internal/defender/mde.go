package defender

import (
	"time"

	"drover"
)

// Page sizes of Defender for Endpoint (reference mde-api §4). An alert with its
// evidence has some 5 kB, so 10,000 would be 50 MB, kept while the window is
// checked. Windows are divided sooner with fewer, which costs requests only
// where there are many alerts.
const (
	mdePage    = 1000
	mdePageMax = 10_000
)

const mdePath = "/api/alerts"

// mdeDoubt is from how many rows on an answer is checked for being cut: any that
// could be, as the check costs two rows.
const mdeDoubt = 2

// Values by which a moment is divided.
var (
	mdeSeverities = []string{"UnSpecified", "Informational", "Low", "Medium", "High"}
	mdeStates     = []string{"Unknown", "New", "InProgress", "Resolved"}
)

// mdeAlerts is /api/alerts of Defender for Endpoint, not to be mistaken for the
// SIEM API of the same path on other hosts.
var mdeAlerts = &listing{
	source: drover.MDEAlerts, op: "read alerts", path: mdePath, fields: mdeFields, page: mdePage, most: mdePageMax, widest: 7 * 24 * time.Hour, doubt: mdeDoubt, exact: true, offsets: true, url: mdeURL,
	divide:     []condition{{"severity", mdeSeverities}, {"status", mdeStates}},
	permission: "Alert.Read.All (for a signed-in user: Alert.Read) of WindowsDefenderATP",
	forbidden:  "the tenant is not onboarded to Defender for Endpoint, or the host takes tokens of another audience (two settings of the cloud: mde, mde_resource); the API does not say which. A role that is missing shows in the token, before the API is asked",
	gone:       "the Defender for Endpoint API is not there, as it is retired, or the cloud's mde host is wrong; its successor is Graph /security/alerts_v2: read the tenant by graph.alerts",
}

// NewMDEAlerts returns the source that reads alerts of Defender for Endpoint.
func NewMDEAlerts(opt Options) *Listing { return newListing(opt, mdeAlerts) }

// mdeURL renders a question. Evidence comes only when it is asked for: without
// that the array is empty, which looks as if there were none. No order is asked
// for, as none is documented.
func mdeURL(collection string, q stretch) string {
	return query{from: q.since, to: q.until, filter: q.filter, skip: q.skip, changed: mdeFields.changed, rest: "$expand=evidence"}.url(collection, q.top)
}
