// Package format turns a stored revision into the bytes of a record. A record
// is a pure function of the stored row and the sink's config, so that a retry,
// a take-over and a restart send the same bytes.
//
// It promises: a record is exactly one line, without its end; it is valid JSON
// and valid UTF-8; and the exact bytes of the row can be taken out of it
// (format json).
package format

import (
	"fmt"
	"strings"

	"drover"
)

// Context is what a record says beside the row.
type Context struct {
	Tenant      drover.Tenant
	Incarnation string            // of the ledger that counted the sequence number
	Replay      bool              // sent anew by a command, outside the order of the tail
	OnlyHere    bool              // of a secondary source: the tenant's primary one does not show the alert
	AlsoToldBy  []drover.SourceID // others that tell the same alerts to this sink
	Part        int               // 0 unless a revision is cut into several records
}

// Encoder appends one record to dst: one line, without its end. On an error
// what it returns must not be used. Safe for concurrent use.
type Encoder interface {
	Encode(dst []byte, r *drover.Revision, c Context) ([]byte, error)
}

// Names lists the formats.
var Names = []string{"json", "raw"}

// New returns a format by name; no name means json.
func New(name string) (Encoder, error) {
	switch name {
	case "", "json":
		return JSON{}, nil
	case "raw":
		return Raw{}, nil
	}
	return nil, fmt.Errorf("there is no format %q; known are: %s", name, strings.Join(Names, ", "))
}
