package drover

import (
	"context"
	"fmt"
	"slices"
)

// SinkID is the fixed name of a sink in the config. Places belong to it, so a
// changed address keeps its place and a new ID starts anew.
type SinkID string

// Record is a revision, or a part of one, encoded for a sink.
type Record struct {
	EventID  string
	Tenant   TenantID
	Customer CustomerID
	Source   SourceID
	Seq      uint64
	Time     Instant // the revision's change time, or its created time if that is unknown
	Body     []byte  // encoded by the sink's format, without a line end
}

// Range is a run of one feed's sequence numbers, both ends included.
type Range struct {
	Feed  Feed
	First uint64
	Last  uint64
}

// Batch is what is sent at once. It is fixed before it is sent: a retry, a
// take-over and a restart send exactly these records. All of them go to one
// destination of the sink (Lane).
type Batch struct {
	Lane    string
	Ranges  []Range
	Records []Record
	// Lines are the bodies of Records in their order, each with a line feed
	// behind it, for a sink that writes just that; nil where they do not lie so.
	Lines []byte
	// Mark is what the sink asked to be kept with its place when the batch
	// before this one was settled (Settled.Mark), nil at the beginning.
	Mark []byte
}

// Taken says what became of a batch.
type Taken struct {
	// N is how many of the batch's records, from the first on, are done:
	// taken by the receiver or refused for good.
	N int
	// Also lists records beyond the first N that are taken, by index,
	// ascending.
	Also []int
	// Refused lists records, among those done, that the receiver will never
	// take, by index, ascending; they are set aside.
	Refused []Refusal
	// Older lists records, among those done, that the destination holds from an
	// earlier life of the ledger and otherwise than they are in the batch (with
	// another number and incarnation), by index, ascending.
	Older []int
	// Mark is opaque to everybody but the sink; it is stored in the same
	// transaction as the place and handed back with the next batch of the
	// lane. Nil leaves the stored one.
	Mark []byte
}

// Refusal names a record that a receiver refused for good, and its reason in
// the receiver's words, without alert text.
type Refusal struct {
	Index  int
	Reason string
}

// Sink brings records to one destination system. New starts nothing and
// connects nowhere. Safe for concurrent use by different lanes; one lane's
// calls never overlap.
type Sink interface {
	// Lane returns the key of the destination for a tenant's records: those
	// of one lane may share a request and go in order, two lanes never share
	// one. Records of different customers share a lane only where index,
	// token and file are the same.
	Lane(t Tenant) string
	// Deliver sends a batch and returns what became of it. err is nil when
	// every record is done. With an *Error of kind Transient or Throttled,
	// the rest may be sent again after its Wait; Denied parks the sink
	// (lane); Broken stops the process. Taken counts in every case. After an
	// error, a record that Taken does not list may or may not have arrived.
	// Deliver does not retry; its caller does. It keeps nothing of the
	// records' bodies once it has returned: they are written over.
	Deliver(ctx context.Context, b Batch) (Taken, error)
	// Check reports whether the sink can be used now, writing nothing that a
	// reader of the destination would see. The string says what is promised
	// there, in one sentence for an operator.
	Check(ctx context.Context) (string, error)
	// Close releases what the sink holds.
	Close() error
}

// Asker is a sink that can say what of a batch it already has. After a crash
// or an unclear answer its caller asks before it sends again; such a sink has
// no repeats by its own process (keyed).
type Asker interface {
	// Taken inspects the destination for exactly this batch and repairs what
	// was left half done (a torn line). Safe to call twice.
	Taken(ctx context.Context, b Batch) (Taken, error)
}

// Validate checks that a Taken fits a batch of so many records: indices exist
// and ascend, and what is refused is among what is done. A sink that miscounts
// is Broken.
func (t Taken) Validate(records int) error {
	if t.N < 0 || t.N > records {
		return fmt.Errorf("%d records taken of %d", t.N, records)
	}
	last := t.N - 1
	for _, i := range t.Also {
		if i <= last || i >= records {
			return fmt.Errorf("record %d listed as taken, of %d", i, records)
		}
		last = i
	}
	last = -1
	for _, r := range t.Refused {
		if r.Index <= last || r.Index >= records {
			return fmt.Errorf("record %d listed as refused, of %d", r.Index, records)
		}
		if _, also := slices.BinarySearch(t.Also, r.Index); r.Index >= t.N && !also {
			return fmt.Errorf("record %d listed as refused and not as done", r.Index)
		}
		last = r.Index
	}
	last = -1
	for _, i := range t.Older {
		if _, also := slices.BinarySearch(t.Also, i); i <= last || i >= records || i >= t.N && !also {
			return fmt.Errorf("record %d listed as there from before and not as done", i)
		}
		last = i
	}
	return nil
}
