package defender

import (
	"time"

	"drover"
)

// Numbers of rows of the SIEM API (reference siem-api §3). Its default of two
// hours and its limit parameter, which keeps the newest rows and drops the
// others in silence, are never used.
const (
	siemFull  = 1000 // from which an answer is taken for cut
	siemDoubt = 50   // from which it is checked for being cut at an unknown number
)

const siemPath = "/api/alerts"

// SIEMDetections reads the SIEM detections API of Defender for Endpoint.
type SIEMDetections struct {
	opt  Options
	vain *vain
	tops *tops
}

// NewSIEMDetections returns the source.
func NewSIEMDetections(opt Options) *SIEMDetections {
	if opt.PageSize <= 0 {
		opt.PageSize = siemFull
	}
	return &SIEMDetections{opt.withDefaults(), newVain(), newTops()}
}

// ID is drover.SIEMDetections.
func (s *SIEMDetections) ID() drover.SourceID { return drover.SIEMDetections }

// Version of the reading rules.
func (s *SIEMDetections) Version() int { return 1 }

// Retention is the tenant's; the API's pages say no more (reference siem-api
// §3), so it is that of Defender for Endpoint.
func (s *SIEMDetections) Retention() time.Duration { return 180 * 24 * time.Hour }

// NamesTenant: rows name no tenant, by nature; the token does.
func (s *SIEMDetections) NamesTenant() bool { return false }

// Read begins a pass.
func (s *SIEMDetections) Read(t drover.Tenant, span drover.Span) drover.Pass {
	return siemDetections.read(s.opt, t, span, s.vain, s.tops)
}

var siemDetections = &listing{
	source: drover.SIEMDetections, op: "read detections", path: siemPath, fields: siemFields, widest: 24 * time.Hour, doubt: siemDoubt, url: siemURL,
	permission: "the SIEM API of Defender for Endpoint",
	gone:       "the SIEM API is not there, as it is retired, or the tenant's region is wrong; its successor is Graph /security/alerts_v2: read the tenant by graph.alerts",
}

// siemURL renders a question with bounds as the API's page does, without a
// zone, which means UTC; with all seven digits. It has no other conditions.
func siemURL(collection string, q stretch) string {
	bound := func(i drover.Instant) string {
		return min(max(i, beginOfTime), endOfTime).Time().Format("2006-01-02T15:04:05.0000000")
	}
	return collection + "?sinceTimeUtc=" + bound(q.since) + "&untilTimeUtc=" + bound(q.until)
}
