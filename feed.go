package drover

// SourceID names one kind of API.
type SourceID string

// The sources that drover knows.
const (
	GraphAlerts    SourceID = "graph.alerts"    // Graph /v1.0/security/alerts_v2
	GraphIncidents SourceID = "graph.incidents" // Graph /v1.0/security/incidents: a kind of their own, never a way to find alerts
	MDEAlerts      SourceID = "mde.alerts"      // Defender for Endpoint, /api/alerts
	SIEMDetections SourceID = "siem.detections" // the SIEM detections API, /api/alerts
)

// Feed is one tenant read through one source: one cursor, one reader at a time.
type Feed struct {
	Tenant TenantID
	Source SourceID
}

// String is "tenant/source", for logs and keys of maps in JSON.
func (f Feed) String() string { return string(f.Tenant) + "/" + string(f.Source) }

// Epoch fences a feed: every commit carries the epoch its reader was given,
// and an older one than the ledger's is refused.
type Epoch uint64

// Cursor says how far a feed has been read: every row with a change time
// below Through that the API showed is in the ledger or in an open gap. It
// belongs to one source and one version of that source's reading rules.
type Cursor struct {
	Source  SourceID
	Version int
	Through Instant
}

// Gap is a stretch of a feed that could not be read, or not be delivered to a
// sink. It is open until its rows have been read or someone acknowledged it.
type Gap struct {
	ID       int64
	Feed     Feed
	Sink     SinkID // empty: a gap in reading
	Span     Span   // in change time; for a sink's gap, of the rows passed over
	First    uint64 // for a sink's gap: the sequence numbers passed over
	Last     uint64
	Provider string // the product that did not answer, if only one
	Cause    string // why, in words for an operator
	State    GapState
	Opened   Instant
	Changed  Instant
	Tries    int
}

// GapState is the life of a gap.
type GapState string

// The states of a gap.
const (
	GapOpen         GapState = "open"
	GapClosed       GapState = "closed"       // its rows were read after all
	GapAcknowledged GapState = "acknowledged" // someone took note
)
