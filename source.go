package drover

import (
	"context"
	"time"
)

// Source reads one kind of API. It knows how that API pages, orders, clamps
// and fails; it keeps nothing durable and decides nothing about schedule,
// retry or gaps: that is its caller's. Safe for concurrent use.
type Source interface {
	// ID names the source in feeds, cursors and event IDs.
	ID() SourceID
	// Version is raised when the reading rules change so that a cursor of an
	// older version must not be trusted; the caller then reads again from the
	// older cursor's Through less the deepest sweep.
	Version() int
	// Retention is how far back the API can be read.
	Retention() time.Duration
	// Read begins a pass over span for t. It does no I/O.
	Read(t Tenant, span Span) Pass
}

// Pass reads a span of one feed page by page. It is used by one goroutine. One
// that also has a method Close() is told when nobody needs it or its rows any
// more, so that their memory can be used again; not being told costs memory
// only.
type Pass interface {
	// Next reads the next page. The page's rows stay valid until the next
	// call of Next. After Page.Done it must not be called again. After an
	// error that is an *Error of kind Transient or Throttled it may be
	// called again and repeats the step that failed; rows that earlier pages
	// returned stay read. After any other error the pass is over.
	Next(ctx context.Context) (Page, error)
}

// Page is one answer, or the part of one that could be used.
type Page struct {
	Rows []Row
	// Again counts rows of the answer that this pass had returned before and
	// left out here.
	Again int
	// Through: every row of the span with a change time below it that the
	// API showed has been returned by this pass. It never goes back within a
	// pass. NoInstant: nothing is known yet.
	Through Instant
	// Asked counts the requests that it took, those of failed steps before it
	// included; 0: one.
	Asked int
	// Done: the span has been read whole.
	Done bool
	// Server is the time of the answer by the server's own clock, NoInstant
	// if it did not say.
	Server Instant
	// Skipped lists stretches inside the span that this pass could not read
	// whole and left out; each becomes an open gap.
	Skipped []Skipped
	// Absent lists products that are not licensed or not granted: coverage,
	// not a gap.
	Absent []string
}

// Skipped is a stretch of a span that a pass left out.
type Skipped struct {
	Span     Span
	Provider string // empty: all of it
	Cause    string
}
