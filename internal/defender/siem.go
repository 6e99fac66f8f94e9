package defender

import (
	"math"
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

var siemDetections = &listing{
	source: drover.SIEMDetections, op: "read detections", path: siemPath, fields: siemFields, page: siemFull, most: math.MaxInt, widest: 24 * time.Hour, doubt: siemDoubt, nameless: true, url: siemURL,
	permission: "the SIEM API of Defender for Endpoint",
	gone:       "the SIEM API is not there, as it is retired, or the tenant's region is wrong; its successor is Graph /security/alerts_v2: read the tenant by graph.alerts",
}

// NewSIEMDetections returns the source that reads the SIEM API of Defender for
// Endpoint.
func NewSIEMDetections(opt Options) *Listing { return newListing(opt, siemDetections) }

// siemURL renders a question with bounds as the API's page does, without a
// zone, which means UTC; with all seven digits. It has no other conditions.
func siemURL(collection string, q stretch) string {
	bound := func(i drover.Instant) string {
		return min(max(i, beginOfTime), endOfTime).Time().Format("2006-01-02T15:04:05.0000000")
	}
	return collection + "?sinceTimeUtc=" + bound(q.since) + "&untilTimeUtc=" + bound(q.until)
}
