package admin

import (
	"context"

	"drover"
	"drover/internal/revision"
)

// Alerts is what can be asked about the alerts themselves. Answers hold their
// text: they go to the operator's terminal, never to a log.
type Alerts interface {
	// Alerts tells each of what is found, the newest change first, until each
	// fails or the limit is reached. Memory is bounded, however much there is.
	Alerts(ctx context.Context, q AlertQuery, each func(AlertLine) error) (AlertsEnd, error)
	// Alert tells everything of one alert.
	Alert(ctx context.Context, ref AlertRef) (AlertStory, error)
	// AlertBody returns one state's bytes, exactly as received.
	AlertBody(ctx context.Context, ref AlertRef) (AlertBody, error)
	// AlertDiff compares two states by their numbers in the history; 0, 0 are
	// the last two, and 0 as From is the one before To.
	AlertDiff(ctx context.Context, ref AlertRef, from, to int) (AlertDiff, error)
}

// AlertQuery narrows what is listed. Zero members do not filter.
type AlertQuery struct {
	Tenant   string            `json:"tenant,omitempty"` // ID or name
	Customer drover.CustomerID `json:"customer,omitempty"`
	Source   drover.SourceID   `json:"source,omitempty"`
	Since    drover.Instant    `json:"since"` // of the change time, included; NoInstant: all
	Until    drover.Instant    `json:"until"` // not included
	Severity []string          `json:"severity,omitempty"`
	Status   []string          `json:"status,omitempty"`
	Text     string            `json:"text,omitempty"` // stands somewhere in the body, in any case
	ID       string            `json:"id,omitempty"`   // the source's own
	All      bool              `json:"all,omitempty"`  // every state, not only the newest of each alert
	Limit    int               `json:"limit,omitempty"`
	AsOf     drover.Instant    `json:"as_of"` // as the ledger knew it then; NoInstant: now
}

// AlertLine is one state of one alert.
type AlertLine struct {
	EventID  string            `json:"event_id"`
	Tenant   drover.TenantID   `json:"tenant"`
	Name     string            `json:"name"`
	Customer drover.CustomerID `json:"customer"`
	Source   drover.SourceID   `json:"source"`
	AlertID  string            `json:"alert_id"`
	Changed  drover.Instant    `json:"changed"`
	Created  drover.Instant    `json:"created"`
	Stored   drover.Instant    `json:"stored"`
	Ordinal  uint8             `json:"ordinal"`
	Seq      uint64            `json:"seq"`
	Severity string            `json:"severity"`
	Status   string            `json:"status"`
	Title    string            `json:"title"`
	Flags    []string          `json:"flags,omitempty"`
}

// AlertsEnd says what a list leaves out.
type AlertsEnd struct {
	More bool  `json:"more"`           // there is more than the limit
	Gone int64 `json:"gone,omitempty"` // states in the range whose bodies have been thrown away
}

// AlertRef names an alert, and a state of it.
type AlertRef struct {
	ID       string          `json:"id"`
	Tenant   string          `json:"tenant,omitempty"`
	Source   drover.SourceID `json:"source,omitempty"`
	Revision int             `json:"revision,omitempty"` // from 1 for the oldest; 0: the newest
}

// AlertRevision is one state in an alert's history.
type AlertRevision struct {
	N       int            `json:"revision"`
	Seq     uint64         `json:"seq"`
	Changed drover.Instant `json:"changed"`
	Ordinal uint8          `json:"ordinal"`
	Created drover.Instant `json:"created"`
	SHA256  string         `json:"sha256"`
	Gone    bool           `json:"gone,omitempty"` // its body has been thrown away; what follows is not known then
	EventID string         `json:"event_id,omitempty"`
	Stored  drover.Instant `json:"stored"`
	// Severity, Status and Changes are as they were when it was read.
	Severity string   `json:"severity,omitempty"`
	Status   string   `json:"status,omitempty"`
	Changes  []string `json:"changes,omitempty"` // paths that differ from the state known before it
	Flags    []string `json:"flags,omitempty"`
	Size     int      `json:"size,omitempty"` // bytes
}

// AlertField is a member of the row that holds a single value.
type AlertField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// AlertAt is what became of a state at one sink.
type AlertAt struct {
	Sink drover.SinkID `json:"sink"`
	// State is taken, pending, set aside, passed over, before its start, or no
	// place: the sink has never been served.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
}

// AlertStory is everything of one alert.
type AlertStory struct {
	Tenant   drover.TenantID   `json:"tenant"`
	Name     string            `json:"name"`
	Customer drover.CustomerID `json:"customer"`
	Source   drover.SourceID   `json:"source"`
	AlertID  string            `json:"alert_id"`
	Title    string            `json:"title"`
	Shown    AlertRevision     `json:"shown"`
	Fields   []AlertField      `json:"fields,omitempty"`
	History  []AlertRevision   `json:"history"`        // the oldest first
	More     bool              `json:"more,omitempty"` // older states are left out
	Sinks    []AlertAt         `json:"sinks"`
}

// AlertBody is a row as received.
type AlertBody struct {
	Raw []byte `json:"raw"`
}

// AlertDiff is what changed between two states.
type AlertDiff struct {
	From    AlertRevision     `json:"from"`
	To      AlertRevision     `json:"to"`
	Changes []revision.Change `json:"changes"`
	More    bool              `json:"more,omitempty"`
}
