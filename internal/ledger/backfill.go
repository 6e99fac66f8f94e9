package ledger

import (
	"context"

	"drover"
)

// Backfill is a stretch of a feed's past that is read beside its tail, oldest
// rows first. It is no gap: a gap says what could not be read, a backfill what
// is yet to be.
type Backfill struct {
	ID   int64
	Feed drover.Feed
	Span drover.Span    // of change time; always closed
	At   drover.Instant // everything of the span below it has been read
	// First: what lies behind the place at which the tail of a new feed began.
	// Until it has been read, no sweep looks there and no row found there is
	// late. Any other was asked for by an operator, wherever it lies.
	First   bool
	State   BackfillState
	Asked   drover.Instant // by the local clock
	Changed drover.Instant
	Pages   int64 // that were read
	Rows    int64 // in them
	Found   int64 // of which the ledger did not hold
}

// Left is what has not been read yet.
func (b *Backfill) Left() drover.Span {
	return drover.Span{From: max(b.Span.From, b.At), To: b.Span.To}
}

// BackfillState is the life of a backfill.
type BackfillState string

// The states of a backfill.
const (
	BackfillOpen      BackfillState = "open"
	BackfillDone      BackfillState = "done"
	BackfillCancelled BackfillState = "cancelled"
)

// BackfillFilter narrows Backfills; zero members do not filter.
type BackfillFilter struct {
	Feed  drover.Feed // or its tenant only
	State BackfillState
}

// Backfilling keeps what of the past is to be read. How far one has come moves
// with the rows that were found, in Commit.
type Backfilling interface {
	// AddBackfill stores a new one; only Feed and Span count. One that is open
	// over the very same span is returned instead. ErrNotFound: no such feed.
	AddBackfill(ctx context.Context, f drover.Feed, span drover.Span) (Backfill, error)
	// Backfills lists them by ID.
	Backfills(ctx context.Context, f BackfillFilter) ([]Backfill, error)
	// CancelBackfill ends an open one; what was found stays. ErrNotFound: none
	// is open under that ID.
	CancelBackfill(ctx context.Context, id int64) error
}
