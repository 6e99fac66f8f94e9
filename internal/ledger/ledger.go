// Package ledger is the durable truth: tenants, sealed credentials, every
// revision that was read, how far each feed has been read and how far each
// sink has taken it, and what could not be read or delivered.
//
// This package holds the contract, Store, and its words. The embedded store is
// in ledger/sqlite; ledgertest is the suite that every store passes untouched.
//
// What a store promises (design §3, §4; reference faults-and-invariants I1, I4,
// I7–I11, I19):
//
//   - One step. New revisions, their sequence numbers, the feed's cursor and
//     the gaps that go with them become durable in one transaction, guarded by
//     the feed's epoch, or not at all. When Commit returns nil they are on disk.
//   - Once. A key (feed, alert, change time, ordinal) is stored once, for at
//     least KeyRetention, whatever happens to its body.
//   - Gapless. The sequence numbers of a feed have no hole and no repeat, and
//     become visible in order.
//   - Honest. A cursor never goes back except by Rewind. A place never passes
//     a revision that is neither taken, set aside, unrouted, passed over nor
//     discarded.
//   - Sealed. Bodies and credentials are readable only with the tenant's data
//     key; destroying that key makes them unreadable.
package ledger

import (
	"context"
	"errors"
	"iter"
	"time"

	"drover"
)

// KeyRetention is how long a key is kept at least: the sources' own retention
// (reference graph-security §1).
const KeyRetention = 180 * 24 * time.Hour

// Errors that callers act on. Others are an *drover.Error: Broken when the
// store cannot be trusted any more, Transient when it may pass (disk full).
var (
	// ErrMoved: the epoch is not the newest; another reader owns the feed.
	ErrMoved = errors.New("the feed has been taken over by another reader")
	// ErrNotFound: no such tenant, feed, gap, credential …
	ErrNotFound = errors.New("not found")
	// ErrConflict: a compare-and-swap found another version.
	ErrConflict = errors.New("changed by someone else in the meantime")
	// ErrElsewhere: the ledger was copied or moved; run `drover ledger adopt`.
	ErrElsewhere = errors.New("this ledger was last used on another machine or path")
	// ErrLocked: another process has the ledger open.
	ErrLocked = errors.New("the ledger is in use by another process")
	// ErrHeld: the tenant is held; see HoldTenant.
	ErrHeld = errors.New("the tenant is held")
	// ErrFull: no space; reading must stop, delivering may go on.
	ErrFull = errors.New("no space left for the ledger")
)

// Identity names a ledger. Nothing outside the ledger is named by, or compared
// with, a sequence number alone: the incarnation goes with it (design §4).
type Identity struct {
	ID          string // for the life of the ledger, 32 hex
	Incarnation string // minted anew by restore, salvage and adopt, 16 hex
	Region      string // "" if not bound
}

// Store is the durable truth. All methods are safe for concurrent use; each
// may block for as long as the disk does. No method logs.
type Store interface {
	Tenants
	Reading
	Delivering
	Vouching
	Looking
	Bookkeeping
	Backfilling
	Sealing
	Inviting

	// Identity returns the ledger's identity.
	Identity() Identity
	// Close waits for commits under way and releases the ledger. Closed twice,
	// it does nothing; every other call gets an error from then on.
	Close() error
}

// Tenants keeps who is read, and their sealed credentials.
type Tenants interface {
	// AddTenant stores a new tenant and creates its data key and its feeds
	// (one per source) with a place for every sink at 0. A removed tenant
	// that comes back keeps its ID and gets a new data key.
	// ErrConflict: the ID or the name is taken.
	AddTenant(ctx context.Context, t drover.Tenant) error
	// UpdateTenant changes everything but ID, Added and State. New sources
	// get feeds and places; a source that is left out keeps its feed.
	UpdateTenant(ctx context.Context, t drover.Tenant) error
	// ChangeTenant is UpdateTenant and SetTenantState in one step, for a tenant
	// that is still as was says. ErrConflict: it is not, it was removed, or its
	// new name is taken.
	ChangeTenant(ctx context.Context, was, t drover.Tenant) error
	// SetTenantState moves a tenant between active and paused.
	SetTenantState(ctx context.Context, id drover.TenantID, s drover.TenantState) error
	// HoldTenant keeps every row of a tenant from Prune, and the tenant from
	// removal, until ReleaseTenant. Held again, the new reason counts. Both are
	// written into the logbook with why. ErrConflict: it was removed;
	// ErrNotFound: it is not there, or not held.
	HoldTenant(ctx context.Context, id drover.TenantID, why string) error
	ReleaseTenant(ctx context.Context, id drover.TenantID, why string) error
	// Holds lists the tenants that are held.
	Holds(ctx context.Context) ([]Hold, error)
	// RemoveTenant destroys the tenant's data key and its credentials, marks
	// it removed and writes an erasure record with its daily counts. Its
	// bodies are unreadable from then on. ErrHeld: nothing has changed.
	RemoveTenant(ctx context.Context, id drover.TenantID) error
	// RemoveDrained is RemoveTenant for a tenant of which every sink in use
	// has taken everything. Else it changes nothing and returns how many
	// revisions each still has to take; looking and removing are one step.
	RemoveDrained(ctx context.Context, id drover.TenantID) (owed map[drover.SinkID]uint64, err error)
	// Erasures lists what remains of tenants that were removed, the oldest
	// first, for ever. One that came back and was removed again has several.
	Erasures(ctx context.Context) ([]Erasure, error)
	// Tenant returns one tenant by ID; FindTenant by ID or name.
	Tenant(ctx context.Context, id drover.TenantID) (drover.Tenant, error)
	FindTenant(ctx context.Context, idOrName string) (drover.Tenant, error)
	// ListTenants returns all tenants by name, removed ones too.
	ListTenants(ctx context.Context) ([]drover.Tenant, error)
	// Generation grows with every change to tenants; a cheap way to notice one.
	Generation(ctx context.Context) (uint64, error)

	// PutCredential seals and stores a credential of a tenant, or of an app
	// when tenant is "" (the vault's own key then seals it). kind is such as
	// "refresh_token" or "client_secret". version is the version that the
	// caller read (0: there was none); ErrConflict if it has changed. The
	// new version is returned once the credential is on disk.
	PutCredential(ctx context.Context, c Credential, version uint64) (uint64, error)
	// Credential opens one. Binding (cloud and authority) must be that under
	// which it was stored, else it cannot be opened.
	Credential(ctx context.Context, c CredentialKey) (Credential, error)
	// DropCredential destroys one; without it, ErrNotFound.
	DropCredential(ctx context.Context, c CredentialKey) error
}

// Hold is why a tenant is held, and since when by the local clock.
type Hold struct {
	Tenant drover.TenantID
	Why    string
	Since  drover.Instant
}

// Erasure is the record of a tenant that was removed. No text of an alert is in
// it.
type Erasure struct {
	Tenant      drover.TenantID
	Name        string
	Customer    drover.CustomerID
	At          drover.Instant // by the local clock
	Incarnation string         // of the ledger that did it
	Host        string         // name of the machine, "" if it has none
	// Counts are the daily counts up to then, added up by sink ("": what was
	// ledgered) and by what was counted.
	Counts map[drover.SinkID]map[string]int64
}

// CredentialKey names a credential. Cloud and Authority are bound to it by its
// seal: what was issued for one cloud cannot be opened for another.
type CredentialKey struct {
	Tenant    drover.TenantID
	App       string
	Kind      string
	Cloud     string
	Authority string
}

// Credential is a secret with its key, its predecessor (kept until the new one
// has worked once, reference faults T03), and dates for warnings.
type Credential struct {
	CredentialKey
	Secret   drover.Secret
	Previous drover.Secret
	Version  uint64
	Stored   drover.Instant
	Expires  drover.Instant // NoInstant if not known
}

// Reading is what collect needs.
type Reading interface {
	// Take makes the caller the one reader of a feed: it raises the feed's
	// epoch and returns its state. Commits of earlier readers fail from then
	// on with ErrMoved.
	Take(ctx context.Context, f drover.Feed) (FeedState, error)
	// Keys returns the keys of the feed whose change time lies in span, in
	// the order of time, and those with an unknown change time if withUnknown.
	Keys(ctx context.Context, f drover.Feed, span drover.Span, withUnknown bool) ([]Key, error)
	// Newest returns the newest stored revision of an alert without its body,
	// or ErrNotFound. created is the alert's created time, by which the look-up
	// goes; an alert whose created time changed is not found.
	Newest(ctx context.Context, f drover.Feed, alert drover.Hash, created drover.Instant) (Key, error)
	// Body returns the revision with sequence number seq, ErrNotFound if its
	// body has been pruned.
	Body(ctx context.Context, f drover.Feed, seq uint64) (drover.Revision, error)
	// Commit stores a read: revisions with their sequence numbers, the
	// cursor, gaps, rows set aside, in one transaction. Compressing and
	// sealing happen in the caller's goroutine. ErrMoved, ErrFull, or Broken.
	// Nothing in it and no epoch that is newer: nothing is written. The rows'
	// bytes are not kept after the return.
	Commit(ctx context.Context, c Commit) (Committed, error)
	// Rewind moves a cursor back, by an operator's order, and writes why into
	// the logbook. It raises the epoch: the reader that has the feed must take
	// it again.
	Rewind(ctx context.Context, f drover.Feed, to drover.Instant, why string) error
}

// AlertHash is what keys hold instead of an alert's ID: no free text is in an
// index.
func AlertHash(id string) drover.Hash { return alertHash(id) }

// FeedState is what a new reader starts from.
type FeedState struct {
	Feed   drover.Feed
	Epoch  drover.Epoch
	Cursor drover.Cursor  // zero Source: never read
	Whole  drover.Instant // when the feed was last read whole, by the server's clock
	Head   uint64         // the last sequence number given
	Parked string         // why it is parked, "" if not
	Gaps   []drover.Gap   // open gaps in reading
	// Backfills are those that are open.
	Backfills []Backfill
}

// Key is one entry of the index of keys.
type Key struct {
	Changed drover.Instant
	Alert   drover.Hash // AlertHash of the ID
	Ordinal uint8
	Sum     drover.Hash // of the body
	Seq     uint64
	Created drover.Instant
}

// Commit is one step of reading a feed.
type Commit struct {
	Feed  drover.Feed
	Epoch drover.Epoch
	// Revisions to store, in the order in which they get their sequence
	// numbers; Seq is filled in by the store. A revision whose key exists is
	// an error of the caller: Broken.
	Revisions []drover.Revision
	// Cursor to store; nil leaves it. A cursor behind the stored one is
	// refused (Broken).
	Cursor *drover.Cursor
	// Whole is when the feed was last read whole; NoInstant leaves it.
	Whole drover.Instant
	// Open opens gaps (ID 0); a gap of a provider that continues an open one
	// of the same provider extends it. Update changes open gaps by ID: span,
	// state, tries, cause.
	Open   []drover.Gap
	Update []drover.Gap
	// Backfills opens backfills of a first read (ID 0: only Span counts), and
	// moves others by ID: At and State are set, the counts are added.
	Backfills []Backfill
	// Aside are rows that cannot be taken: no usable identity, foreign,
	// too large. A row that is set aside again (same feed, reason and sum) is
	// counted, not stored twice.
	Aside []Aside
	// Unnamed is added to the daily counts; late revisions, touches and what is
	// set aside are counted by themselves.
	Unnamed int
	// Parked parks the feed with a reason, or frees it when it points to "".
	Parked *string
}

// Aside is a row or record that was set aside.
type Aside struct {
	ID       int64
	Feed     drover.Feed
	Sink     drover.SinkID // empty: refused at reading
	Reason   string        // a fixed word: foreign, no_identity, too_large, refused, unencodable
	Detail   string        // in words, without alert text
	Seq      uint64        // of the revision, for a sink's
	EventID  string
	Sum      drover.Hash
	Size     int64
	Raw      []byte // sealed at rest; nil when it was too large to keep
	At       drover.Instant
	Count    int64
	Resolved bool // replayed or discarded by an operator
}

// Committed says what a Commit made.
type Committed struct {
	First, Last uint64 // sequence numbers given; First > Last if none
	Gaps        []drover.Gap
	Backfills   []Backfill // as they are stored now
}

// Delivering is what deliver needs.
type Delivering interface {
	// Sinks makes the set of sinks known: a new one gets a place in every
	// feed, at from (the feed's head, or 0 for all that is kept); one that is
	// no longer listed keeps its places and holds nothing back once Retired.
	Sinks(ctx context.Context, sinks []SinkPlace) error
	// Places returns the place of a sink in every feed. An absent place is
	// Broken, never a default; Broken and ErrNotFound if Sinks never named the
	// sink.
	Places(ctx context.Context, s drover.SinkID) ([]Place, error)
	// Place returns one.
	Place(ctx context.Context, s drover.SinkID, f drover.Feed) (Place, error)
	// After reads revisions of a feed with sequence numbers above seq, in
	// order, until about maxBytes of bodies or maxRows; at least one if there
	// is one. The bodies are valid for as long as the caller keeps them.
	After(ctx context.Context, f drover.Feed, seq uint64, maxRows, maxBytes int) ([]drover.Revision, error)
	// Walk is After without a copy: visit sees each revision in turn and keeps
	// nothing of its body. After an error some may have been visited.
	Walk(ctx context.Context, f drover.Feed, seq uint64, maxRows, maxBytes int, visit func(*drover.Revision)) error
	// Stored says when the revisions of a feed behind seq were stored, by the
	// store's clock: runs in their order, until they hold maxRows revisions. The
	// first may begin before seq. Bodies that are gone are not among them.
	Stored(ctx context.Context, f drover.Feed, seq uint64, maxRows int) ([]Stored, error)
	// Heads returns the last sequence number of every feed, and Changed a
	// channel that gets a value (or is full) after commits with new
	// revisions: a hint, not a promise.
	Heads(ctx context.Context) (map[drover.Feed]uint64, error)
	Changed() <-chan struct{}
	// Claim stores an attempt before it is sent. There is at most one per
	// sink and lane: ErrConflict if another one is open.
	Claim(ctx context.Context, a Attempt) error
	// Attempts returns the open attempts of a sink.
	Attempts(ctx context.Context, s drover.SinkID) ([]Attempt, error)
	// Marks returns what the sink's lanes asked to be kept.
	Mark(ctx context.Context, s drover.SinkID, lane string) ([]byte, error)
	// Settle moves places, keeps what is taken beyond them, sets records
	// aside, stores the lane's mark and closes the attempt, in one
	// transaction. A place moves over the unbroken run only; a Settle that
	// would move one back is Broken.
	Settle(ctx context.Context, s Settle) error
}

// Stored is a run of revisions that were stored in one commit.
type Stored struct {
	First, Last uint64
	At          drover.Instant
}

// SinkPlace says where a sink begins.
type SinkPlace struct {
	Sink    drover.SinkID
	FromAll bool // begin at 0 instead of at each feed's head
}

// Place is how far a sink has taken a feed.
type Place struct {
	Sink   drover.SinkID
	Feed   drover.Feed
	Start  uint64   // where the sink began: nothing up to it is owed to it
	Seq    uint64   // everything up to it is done
	Beyond []uint64 // done beyond Seq, ascending
	Head   uint64
}

// Attempt is a batch that is about to be sent.
type Attempt struct {
	Sink       drover.SinkID
	Lane       string
	Ranges     []drover.Range
	Generation uint64 // of the routes by which it was put together
	At         drover.Instant
	// Manifests are what it sends in place of Ranges, whole.
	Manifests []Manifest
}

// Settle is what became of an attempt.
type Settle struct {
	Sink drover.SinkID
	Lane string
	// Done lists sequence numbers that are done, per feed, ascending runs.
	Done []drover.Range
	// Outcome counts of this settle, for daily counts and conservation (I9):
	// of what is done now and was not before, what is neither set aside nor
	// unrouted, passed over nor discarded counts as taken.
	Taken, Unrouted, Discarded int
	// Passed lists those of Done that no route names. Without it, Unrouted is
	// counted to the feeds in the order of Done.
	Passed []drover.Range
	// Over lists those of Done that the sink's choice of revisions passes over.
	Over []drover.Range
	// Elsewhere lists those of Done that the sink holds, but not as this
	// incarnation would have sent them. They count as taken; manifests leave
	// them out.
	Elsewhere []drover.Range
	// Manifests lists those that are done: the sink is vouched for up to them.
	Manifests []Manifest
	// Aside are records among Done that the sink will never take. One without
	// Raw gets its revision's bytes, so that it outlives the block.
	Aside []Aside
	Mark  []byte // nil leaves the stored one
	// Close closes the lane's attempt; without it the rest stays claimed.
	Close bool
	// Next is the lane's next attempt, stored in the same transaction as its
	// Claim would be: one commit a batch instead of two. Only with Close, else
	// Broken; Sink and Lane are those of the Settle.
	Next *Attempt
}

// Bookkeeping is what operators, audits and the retention need.
type Bookkeeping interface {
	Gaps(ctx context.Context, f GapFilter) ([]drover.Gap, error)
	AcknowledgeGap(ctx context.Context, id int64, why string) error
	// SetAside lists what was set aside, without bodies.
	SetAside(ctx context.Context, f AsideFilter) ([]Aside, error)
	// AsideBody returns one of them with its bytes, if there are any. ErrNotFound
	// also when the tenant's data key has been destroyed since.
	AsideBody(ctx context.Context, id int64) (Aside, error)
	// ResolveAside notes that an operator has sent it again or discarded it.
	ResolveAside(ctx context.Context, id int64, why string) error
	// Logbook lists what was done to the ledger by order: created, adopted,
	// rewound, acknowledged, resolved, backfill, backfilled,
	// backfill_cancelled, held, released, erased, rewrapped, and invitation with
	// each state that one comes to; oldest first, for ever.
	Logbook(ctx context.Context) ([]Entry, error)
	// Feeds returns every feed's state, without taking it.
	Feeds(ctx context.Context) ([]FeedState, error)
	// Counts returns the daily counts.
	Counts(ctx context.Context, tenant drover.TenantID) ([]DayCount, error)
	// Revisions walks a feed's revisions from sequence number first on.
	Revisions(ctx context.Context, f drover.Feed, first uint64) iter.Seq2[drover.Revision, error]
	// Prune drops bodies older than the retention that every sink has passed,
	// and keys older than KeyRetention, but nothing of a tenant that is held. now is Microsoft's time, never the
	// local clock alone. It works in slices and may be called often.
	Prune(ctx context.Context, p PruneOrder) (Pruned, error)
	// Space says how full the store is.
	Space(ctx context.Context) (Space, error)
	// Check reads everything and reports what does not hold; it is slow.
	Check(ctx context.Context) ([]string, error)
	// Flush stores, for all feeds together, when they were last read whole.
	Flush(ctx context.Context, whole map[drover.Feed]drover.Instant) error
	// Ready reports whether the store accepts a commit now, by making one.
	Ready(ctx context.Context) error
}

// GapFilter narrows Gaps; zero members do not filter.
type GapFilter struct {
	Tenant drover.TenantID
	Sink   drover.SinkID
	State  drover.GapState
}

// AsideFilter narrows SetAside; zero members do not filter.
type AsideFilter struct {
	Tenant     drover.TenantID
	Sink       drover.SinkID
	Reason     string
	Unresolved bool
	Source     drover.SourceID
	// First and Last bound the sequence numbers, both included; 0, 0: all.
	First, Last uint64
}

// Entry is a line of the logbook.
type Entry struct {
	At     drover.Instant // by the local clock
	What   string         // a fixed word
	Feed   drover.Feed    // or its tenant only, or empty
	Detail string
}

// DayCount counts a tenant's day (UTC). Sink is "" for what was ledgered.
type DayCount struct {
	Day      string // 2006-01-02
	Tenant   drover.TenantID
	Source   drover.SourceID
	Severity string
	Sink     drover.SinkID
	What     string // revisions, late, touches, unnamed, foreign, taken, set_aside, unrouted, passed_over, discarded
	N        int64
}

// PruneOrder says what may be thrown away.
type PruneOrder struct {
	Now      drover.Instant
	Bodies   time.Duration // keep bodies at least so long after their commit
	Hold     time.Duration // what a sink may hold back at most
	HoldSize int64         // in bytes; 0: no bound
	Slice    int           // rows a call may touch, 0: 10,000
	// Confirmed lets a prune pass that would delete more than three days'
	// usual amount of bodies or keys at once; without it such a pass stops and
	// asks.
	Confirmed bool
}

// Pruned says what a prune did.
type Pruned struct {
	Bodies, Keys int64
	Gaps         []drover.Gap // opened at sinks that held back too much
	Asks         string       // not "": it stopped; why, for an operator
	More         bool         // there is more to do
}

// Space says how full a store is, in bytes. Free counts free pages inside the
// file and free space of the volume.
type Space struct {
	Used, Free, Limit int64
}
