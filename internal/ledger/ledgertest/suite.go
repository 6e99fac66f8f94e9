// Package ledgertest is the suite that every ledger passes, untouched. Each
// test is a promise of ledger.Store.
package ledgertest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"drover"
	"drover/internal/ledger"
)

// Opener opens the store that lies in dir, making it if there is none. The
// clock gives the store its ages. The suite closes what it opens.
type Opener func(t testing.TB, dir string, clock func() time.Time) ledger.Store

// Ran is told what a test has shown: the entry of the project's tables, and a
// figure (proof.Ran, which only tests may import).
type Ran func(t testing.TB, id, figure string)

func (r Ran) ran(t testing.TB, id, format string, args ...any) {
	t.Helper()
	if r != nil && !t.Failed() {
		r(t, id, fmt.Sprintf(format, args...))
	}
}

// now is when the suite's stories begin.
var now = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

const (
	idA = drover.TenantID("00000000-0000-4000-8000-00000000000a")
	idB = drover.TenantID("00000000-0000-4000-8000-00000000000b")
)

// Tenant makes a tenant for tests.
func Tenant(id drover.TenantID, name string) drover.Tenant {
	return drover.Tenant{ID: id, Name: name, Customer: drover.CustomerID(name), Cloud: "worldwide", App: "default", State: drover.Active,
		Sources: []drover.SourceID{drover.GraphAlerts}, Start: drover.InstantOf(now), Added: drover.InstantOf(now)}
}

// FeedOf is the tenant's feed of Graph alerts.
func FeedOf(id drover.TenantID) drover.Feed {
	return drover.Feed{Tenant: id, Source: drover.GraphAlerts}
}

// Revision makes the n-th revision of a story; its body is unlike any other.
func Revision(n int) drover.Revision {
	raw := fmt.Appendf(nil, `{"id":"alert-%d","text":"%032x","n":%d}`, n, sha256.Sum256(fmt.Append(nil, n)), n)
	at := drover.InstantOf(now).Add(time.Duration(n) * time.Second)
	return drover.Revision{AlertID: fmt.Sprintf("alert-%d", n), Changed: at, Created: at, Severity: "high", Status: "new", Sum: sha256.Sum256(raw), Raw: raw}
}

// Revisions makes revisions from first to last.
func Revisions(first, last int) (revs []drover.Revision) {
	for n := first; n <= last; n++ {
		revs = append(revs, Revision(n))
	}
	return revs
}

type rig struct {
	testing.TB
	open  Opener
	dir   string
	clock time.Time
	told  Ran
	ledger.Store
}

func newRig(t *testing.T, open Opener, ran Ran) *rig {
	r := &rig{TB: t, open: open, dir: t.TempDir(), clock: now, told: ran}
	r.Store = open(t, r.dir, func() time.Time { return r.clock })
	t.Cleanup(func() {
		if r.Store != nil {
			if err := r.Store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return r
}

func (r *rig) reopen() {
	r.Helper()
	r.must(r.Store.Close())
	r.Store = r.open(r.TB, r.dir, func() time.Time { return r.clock })
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) ran(id, format string, args ...any) {
	r.Helper()
	r.told.ran(r.TB, id, format, args...)
}

func (r *rig) ctx() context.Context { return context.Background() }

func (r *rig) add(id drover.TenantID, name string) drover.Feed {
	r.Helper()
	r.must(r.AddTenant(r.ctx(), Tenant(id, name)))
	return FeedOf(id)
}

func (r *rig) take(f drover.Feed) ledger.FeedState {
	r.Helper()
	st, err := r.Take(r.ctx(), f)
	r.must(err)
	return st
}

func (r *rig) commit(f drover.Feed, e drover.Epoch, revs []drover.Revision) ledger.Committed {
	r.Helper()
	out, err := r.Commit(r.ctx(), ledger.Commit{Feed: f, Epoch: e, Revisions: revs, Whole: drover.NoInstant})
	r.must(err)
	return out
}

// all reads every revision of a feed in pages of different sizes.
func (r *rig) all(f drover.Feed) (out []drover.Revision) {
	r.Helper()
	for seq, rows := uint64(0), 1; ; rows = rows%150 + 37 {
		revs, err := r.After(r.ctx(), f, seq, rows, 1<<20)
		r.must(err)
		if len(revs) == 0 {
			return out
		}
		out = append(out, revs...)
		seq = revs[len(revs)-1].Seq
	}
}

// Run runs the suite. ran may be nil.
func Run(t *testing.T, open Opener, ran Ran) {
	for name, test := range map[string]func(*rig){
		"what was committed is read back as it was, after a restart too":                 readBack,
		"sequence numbers have no hole and no repeat":                                    gapless,
		"a commit with an old epoch changes nothing":                                     fenced,
		"many feeds committing at once lose nothing":                                     together,
		"cursor, gaps and rows move in one step":                                         oneStep,
		"a cursor does not go back":                                                      honestCursor,
		"a key is found by its time, and one without a time too":                         keys,
		"the newest revision of an alert is found, and a late one is not it":             newest,
		"a place moves over the unbroken run only":                                       places,
		"a new sink begins at the head or at all that is kept":                           newSink,
		"a new tenant begins at nothing for every sink":                                  newTenant,
		"an attempt is there until it is settled, and there is only one":                 attempts,
		"what is set aside again is counted, not stored twice":                           asides,
		"gaps that continue each other are one, and can be closed":                       gaps,
		"credentials are compared before they are swapped, and bound":                    credentials,
		"a removed tenant's bodies and credentials are gone":                             removal,
		"a tenant of which something is owed is not removed":                             drained,
		"a body goes when every sink has it and its age has passed":                      prune,
		"a sink that holds back too much gets a gap, and the place moves":                hold,
		"a prune that would drop too much at once asks":                                  pruneAsks,
		"names and IDs of tenants are unique":                                            unique,
		"flushing keeps when feeds were last read whole":                                 flush,
		"daily counts add up":                                                            counts,
		"two takers: the second one wins, and every row is there once (S21/22)":          takers,
		"two commits at once: no reader passes a hole":                                   holes,
		"a reader that was replaced stores nothing":                                      replaced,
		"a tenant is changed, and keeps what it has":                                     updated,
		"every change to tenants is noticed":                                             generations,
		"a tenant is changed whole, by who knows how it is":                              changedWhole,
		"nothing of a tenant that is held goes, nor the tenant":                          held,
		"what remains of a removed tenant is a record with its counts":                   erasures,
		"a credential's version never comes again":                                       versions,
		"what a commit was given may be used again":                                      borrowed,
		"what was read stays as it is":                                                   lent,
		"a parked feed says why, and is freed":                                           parked,
		"looking at feeds takes none":                                                    looking,
		"keys come in the order of time":                                                 keyOrder,
		"a body that was thrown away is not found, its key is":                           bodyGone,
		"heads and hints tell of new revisions":                                          heads,
		"lanes have attempts and marks of their own":                                     lanes,
		"a settle that fails changes nothing anywhere":                                   settleWhole,
		"what was done by order is in the logbook":                                       logbook,
		"a ledger knows who it is, and answers nothing when it is closed":                identity,
		"what does not exist is not found":                                               absent,
		"unnamed rows and touches are counted":                                           unnamedCounts,
		"check finds nothing wrong with a sound ledger":                                  check,
		"a rewind takes the feed from its reader and is written down":                    rewind,
		"what a sink refuses keeps its bytes when the block is gone":                     refused,
		"every number is accounted for, once, however often it is settled":               conservation,
		"when a revision was stored is told, run by run":                                 storedAt,
		"a batch is settled and the next one claimed in one step":                        nextAttempt,
		"a sink that comes back finds a gap where bodies are gone":                       comesBack,
		"a tenant that comes back shows nothing of its former life":                      returns,
		"large rows and small ones come in pages of the asked size":                      pages,
		"keys without a change time go by their created time":                            timeless,
		"a sink that holds back too many bytes loses the oldest":                         holdSize,
		"a prune in slices ends where one at once does":                                  pruneSlices,
		"a backfill moves with its rows, and is found again after a restart":             backfills,
		"takes and settles and commits at once keep every sum (S19)":                     storm,
		"the index is walked in pages, the newest change first":                          statesInOrder,
		"a feed's head at any moment is told by when rows were stored":                   headAt,
		"what was set aside of one revision, and where a sink began":                     asideOfOne,
		"a sink is vouched for but for what it was not given":                            vouching,
		"manifests are claimed whole, and settled":                                       manifestAttempt,
		"an invitation is found by its hashes, changed by one, and goes with its tenant": invitations,
	} {
		t.Run(name, func(t *testing.T) { test(newRig(t, open, ran)) })
	}
	t.Run("any story of commits, settles, takes, prunes and restarts is told as the model tells it", func(t *testing.T) { model(t, open, ran) })
}

// sound runs the ledger's own check.
func (r *rig) sound() {
	r.Helper()
	found, err := r.Check(r.ctx())
	r.must(err)
	for _, f := range found {
		r.Errorf("check: %s", f)
	}
}

// counted adds up the daily counts of a sink, or of what was ledgered.
func (r *rig) counted(id drover.TenantID, sink drover.SinkID) map[string]int64 {
	r.Helper()
	list, err := r.Counts(r.ctx(), id)
	r.must(err)
	sum := make(map[string]int64)
	for _, c := range list {
		if c.Sink == sink {
			sum[c.What] += c.N
		}
	}
	return sum
}
