package ledger

import (
	"context"

	"drover"
)

// Looking is what an operator needs who looks for alerts. Nothing in it changes
// anything, and no call takes longer, or more memory, than its order says.
type Looking interface {
	// States returns a page of a feed's index, from the newest change time
	// down. Keys without a change time come last.
	States(ctx context.Context, f drover.Feed, o StateOrder) (StatePage, error)
	// HeadAt returns the last sequence number that the feed had at a moment by
	// the local clock: that of the last row stored then or before. Where
	// nothing that old is kept, it is the last number whose body is gone.
	HeadAt(ctx context.Context, f drover.Feed, at drover.Instant) (uint64, error)
}

// StateOrder asks for a page of the index.
type StateOrder struct {
	// Span of change time. From NoInstant lets keys without one in.
	Span drover.Span
	// Alert is the AlertHash of the one alert that is asked for; nil: all.
	Alert *drover.Hash
	// Below is the last key of the page before, nil at the beginning.
	Below *Key
	// Rows of the index that are looked at, at most; at least 1.
	Rows int
}

// StatePage is a page of the index. Last is the last key that was looked at; if
// there is More, the next page begins below it.
type StatePage struct {
	States []State
	Last   Key
	More   bool
}

// State is one state of an alert as the index knows it.
type State struct {
	Key
	// Newest is the number of the newest state of this alert, 0 if that is not
	// known any more.
	Newest uint64
}
