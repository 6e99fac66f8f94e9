package collect

import (
	"slices"

	"drover"
	"drover/internal/ledger"
)

// key is a revision's key within a feed, without the ordinal.
type key struct {
	changed drover.Instant
	alert   drover.Hash
}

// knowledge is what a reader remembers beside the ledger. Losing it costs
// time, never a row. Its maps are nil as long as nothing is in them.
type knowledge struct {
	// fresh is set while a feed is read for the first time.
	fresh *seen
	// pending holds other content seen once under a key that the ledger has;
	// a second read in a row that agrees makes it a revision.
	pending map[key]pending
	// same remembers bytes that were found to mean the same as the newest
	// state under a key, so that a row that keeps them is compared once.
	same map[key]drover.Hash
	// unstable lists keys with more states than are taken, to say so once.
	unstable map[key]bool
	// aside lists rows that this reader has set aside already: they are read
	// again with every overlap, and a repeat writes nothing.
	aside map[drover.Hash]bool
	// recent are rows of the overlap whose very bytes are the newest state under
	// their key: every read shows them again, and the ledger need not be asked.
	recent []recent
	// absent lists products that are not licensed, to say so once.
	absent map[string]bool
	read   uint64  // counts passes, to tell one read from the next
	split  []int64 // gaps to halve with the next commit
}

type recent struct {
	changed drover.Instant
	sum     drover.Hash
}

type pending struct {
	raw  []byte
	read uint64
}

// Bounds of what is remembered per feed.
const (
	maxPending = 256
	maxSame    = 4096
	maxConfirm = 64
	maxRecent  = 64 // a feed with more of them asks the ledger
)

func newKnowledge(first bool) knowledge {
	var k knowledge
	if first {
		k.fresh = new(seen)
	}
	return k
}

// put makes a map when something first comes into it: most feeds never need one.
func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = make(map[K]V)
	}
	(*m)[k] = v
}

// has reports whether a row is in the ledger as it is, and nothing newer under
// its key.
func (k *knowledge) has(row *drover.Row) bool {
	for i := range k.recent {
		if k.recent[i].sum == row.Sum {
			return true
		}
	}
	return false
}

// remember takes note of rows that the ledger has taken or had. other: it has
// taken another state under a key, and what is remembered may be the one before.
func (k *knowledge) remember(rows []recent, other bool) {
	if other || len(rows) > maxRecent {
		k.recent = nil
		return
	}
	for _, r := range rows {
		switch {
		case k.has(&drover.Row{Sum: r.sum}):
		case len(k.recent) >= maxRecent:
			k.recent = nil
			return
		default:
			k.recent = append(k.recent, r)
		}
	}
}

// outgrow forgets rows that no read of the tail will show again.
func (k *knowledge) outgrow(before drover.Instant) {
	k.recent = slices.DeleteFunc(k.recent, func(r recent) bool { return r.changed < before })
	if len(k.recent) == 0 {
		k.recent = nil
	}
}

// putAside remembers rows that the ledger has set aside.
func (k *knowledge) putAside(rows []ledger.Aside) {
	for i := range rows {
		if len(k.aside) >= maxSame {
			clear(k.aside)
		}
		put(&k.aside, rows[i].Sum, true)
	}
}

// caughtUp ends a whole read of the tail.
func (k *knowledge) caughtUp() {
	k.read++
}

// endSide ends a read beside the tail.
func (k *knowledge) endSide() { k.read++ }

// verdict on a row whose key the ledger has.
type verdict int

const (
	repeat   verdict = iota // nothing new
	other                   // a new state under the same change time
	waiting                 // other content, seen once
	unstable                // more states than are taken
)

// judge compares a row with the newest state stored under its key. body
// fetches that state.
func (k *knowledge) judge(cmp Compare, src drover.SourceID, id key, row *drover.Row, newest ledger.Key, body func() ([]byte, error)) (verdict, error) {
	if newest.Sum == row.Sum {
		delete(k.pending, id) // the stored state was read again: two reads do not agree on another
		return repeat, nil
	}
	if k.same[id] == row.Sum {
		delete(k.pending, id)
		return repeat, nil
	}
	if newest.Seq == 0 {
		return repeat, nil // twice in one page; the next read judges it
	}
	stored, err := body()
	if err != nil {
		return repeat, err
	}
	// A body that has been pruned cannot be compared any more; its key counts.
	if stored == nil || cmp.Same(src, stored, row.Raw) {
		if len(k.same) >= maxSame {
			clear(k.same)
		}
		put(&k.same, id, row.Sum)
		delete(k.pending, id)
		return repeat, nil
	}
	if newest.Ordinal >= drover.MaxOrdinal {
		return unstable, nil
	}
	if p, ok := k.pending[id]; ok && p.read != k.read && cmp.Same(src, p.raw, row.Raw) {
		delete(k.pending, id)
		delete(k.same, id)
		return other, nil
	}
	if len(k.pending) >= maxPending {
		clear(k.pending)
	}
	put(&k.pending, id, pending{append([]byte(nil), row.Raw...), k.read})
	return waiting, nil
}
