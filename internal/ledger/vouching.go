package ledger

import (
	"context"

	"drover"
)

// Vouching keeps how far a sink has been told, by manifests, what it was given
// (docs/manifests.md).
type Vouching interface {
	// Vouch makes sure that the sink is vouched for in every feed from here
	// on. Where it was not, or under another incarnation, that begins at its
	// place of now. It writes nothing where there is nothing to begin.
	Vouch(ctx context.Context, s drover.SinkID) error
	// Vouched returns how far that has come in a feed, ErrNotFound where it has
	// not begun.
	Vouched(ctx context.Context, s drover.SinkID, f drover.Feed) (Vouched, error)
}

// Vouched is how far manifests have come in a feed.
type Vouched struct {
	Seq uint64 // the last number that a manifest covers, or where they began
	// Missed are the numbers above Seq that the sink has behind it without
	// having been given them: set aside, unrouted, passed over, or held under
	// an earlier incarnation. Ascending.
	Missed []drover.Range
}

// Manifest is a record that says what a sink was given of a feed.
type Manifest struct {
	Feed        drover.Feed
	First, Last uint64
	EventID     string
	At          drover.Instant // the time that the record carries
	Record      []byte         // one line, without its end
}
