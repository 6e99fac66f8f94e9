package audit

import (
	"net/http"

	"drover"
)

// siemDetections reads the SIEM API's /api/alerts. It can be asked by change
// time alone and has no order, paging or call for one row, so the other route
// is that of other windows: from the newest back, in other widths, and each
// checked by its parts whatever number of rows it has.
var siemDetections = source{
	id: drover.SIEMDetections, path: "/api/alerts", by: byChanged,
	says:   "detections in windows of LastProcessedTimeUtc from the newest back, as wide as about a thousand rows, each checked by two parts of it",
	names:  names{id: "FullId", changed: "LastProcessedTimeUtc", created: "AlertTime", severity: "Severity", tenant: []string{"tenantId", "aadTenantId"}},
	header: http.Header{"Accept": {"application/json"}},
	ask: func(span drover.Span, _ int, _ bool) string {
		const form = "2006-01-02T15:04:05.0000000"
		return "?sinceTimeUtc=" + span.From.Add(-grain).Time().Format(form) + "&untilTimeUtc=" + span.To.Add(grain).Time().Format(form)
	},
	cannotSee: []string{"What the SIEM API shows under no time: it can be asked by LastProcessedTimeUtc alone, as the collector does, so a row without a place in that order is seen by neither."},
}
