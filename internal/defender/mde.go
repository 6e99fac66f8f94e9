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

// MDEAlerts reads /api/alerts of Defender for Endpoint, not to be mistaken for
// the SIEM API of the same path on other hosts.
type MDEAlerts struct {
	opt  Options
	vain *vain
	tops *tops
}

// NewMDEAlerts returns the source.
func NewMDEAlerts(opt Options) *MDEAlerts {
	if opt.PageSize <= 0 {
		opt.PageSize = mdePage
	}
	opt.PageSize = min(opt.PageSize, mdePageMax)
	return &MDEAlerts{opt.withDefaults(), newVain(), newTops()}
}

// ID is drover.MDEAlerts.
func (s *MDEAlerts) ID() drover.SourceID { return drover.MDEAlerts }

// Version of the reading rules.
func (s *MDEAlerts) Version() int { return 1 }

// Retention is the tenant's, 180 days (reference mde-api §4).
func (s *MDEAlerts) Retention() time.Duration { return 180 * 24 * time.Hour }

// NamesTenant: every row carries aadTenantId; one that does not is counted.
func (s *MDEAlerts) NamesTenant() bool { return true }

// Read begins a pass.
func (s *MDEAlerts) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return mdeAlerts.read(s.opt, t, span, s.vain, s.tops)
}

// Values by which a moment is divided.
var (
	mdeSeverities = []string{"UnSpecified", "Informational", "Low", "Medium", "High"}
	mdeStates     = []string{"Unknown", "New", "InProgress", "Resolved"}
)

var mdeAlerts = &listing{
	source: drover.MDEAlerts, op: "read alerts", path: mdePath, fields: mdeFields, widest: 7 * 24 * time.Hour, doubt: mdeDoubt, exact: true, offsets: true, url: mdeURL,
	divide:     []condition{{"severity", mdeSeverities}, {"status", mdeStates}},
	permission: "Alert.Read.All (for a signed-in user: Alert.Read) of WindowsDefenderATP",
	forbidden:  "the tenant is not onboarded to Defender for Endpoint, or the host takes tokens of another audience (two settings of the cloud: mde, mde_resource); the API does not say which. A role that is missing shows in the token, before the API is asked",
	gone:       "the Defender for Endpoint API is not there, as it is retired, or the cloud's mde host is wrong; its successor is Graph /security/alerts_v2: read the tenant by graph.alerts",
}

// mdeURL renders a question. Evidence comes only when it is asked for: without
// that the array is empty, which looks as if there were none. No order is asked
// for, as none is documented.
func mdeURL(collection string, q stretch) string {
	return query{from: q.since, to: q.until, filter: q.filter, skip: q.skip, changed: mdeFields.changed, rest: "$expand=evidence"}.url(collection, q.top)
}
