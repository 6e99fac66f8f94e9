package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drover"
	"drover/internal/format"
	"drover/internal/freelist"
	"drover/internal/ledger"
)

// batch is what a lane sends: fixed when it is put together, it only shrinks.
type batch struct {
	items      []item
	passed     []item // done without being sent: not routed, passed over, or not encodable
	manifests  bool   // it holds manifests, and nothing else
	generation uint64
	claimed    bool          // the ledger holds it as an attempt
	unclear    bool          // some of it may have arrived; a sink that can be asked is asked
	unsettled  *drover.Taken // known outcome that the ledger could not store yet
	buf        *[]byte       // holds the records' bodies
	whole      int           // records whose bodies, as lines, are all of buf; what is left of fewer has no lines
}

// buffers hold the bodies of batches. They are shared by all lanes, so that
// what an idle lane needed is not kept.
var buffers = freelist.List{Most: 4, Largest: 5 << 20}

// held is what names a batch between two tries.
type held struct {
	ranges     []drover.Range
	manifests  []ledger.Manifest
	generation uint64
	claimed    bool
	unclear    bool
}

// free gives the batch's buffer back once nobody reads its records again.
func (b *batch) free() {
	if b.buf != nil {
		buffers.Put(b.buf)
		b.buf, b.whole = nil, 0
	}
}

// item is one record with what is needed to settle it.
type item struct {
	feed   drover.Feed
	seq    uint64
	sum    drover.Hash
	size   int
	why    string // for passed ones: unrouted, passed_over, unencodable
	detail string
	rec    drover.Record
	// manifest is set if it is one.
	manifest *ledger.Manifest
}

// Why a revision is done without being sent.
const (
	unrouted    = "unrouted"
	passedOver  = "passed_over"
	unencodable = "unencodable"
)

// drover returns the batch as the sink sees it.
func (b *batch) drover(l *lane) drover.Batch {
	recs := make([]drover.Record, len(b.items))
	for i := range b.items {
		recs[i] = b.items[i].rec
	}
	out := drover.Batch{Lane: l.name, Ranges: b.sent(), Records: recs, Mark: l.mark}
	if len(recs) == b.whole && b.buf != nil {
		out.Lines = *b.buf
	}
	return out
}

// attempt names the batch for the ledger.
func (b *batch) attempt(l *lane) *ledger.Attempt {
	return &ledger.Attempt{Sink: l.s.ID, Lane: l.name, Ranges: b.sent(), Generation: b.generation, At: drover.InstantOf(time.Now()), Manifests: b.told()}
}

// told lists the manifests of the batch.
func (b *batch) told() (list []ledger.Manifest) {
	for i := range b.items {
		if m := b.items[i].manifest; m != nil {
			list = append(list, *m)
		}
	}
	return list
}

// sent lists the sequence numbers that are sent. They name the batch: which
// others were passed over is decided anew after a restart.
func (b *batch) sent() []drover.Range { return ranges(b.items) }

// ranges lists the sequence numbers of the batch, sent or not.
func (b *batch) ranges() []drover.Range {
	return ranges(slices.Concat(b.passed, b.items))
}

// ranges turns items into runs, feeds in the order in which they come.
func ranges(items []item) []drover.Range {
	var feeds []drover.Feed
	seqs := make(map[drover.Feed][]uint64)
	for i := range items {
		f := items[i].feed
		if items[i].manifest != nil {
			continue // it is about numbers that are done
		}
		if _, ok := seqs[f]; !ok {
			feeds = append(feeds, f)
		}
		seqs[f] = append(seqs[f], items[i].seq)
	}
	var out []drover.Range
	for _, f := range feeds {
		for _, seq := range normal(seqs[f]) {
			if n := len(out); n > 0 && out[n-1].Feed == f && out[n-1].Last+1 == seq {
				out[n-1].Last = seq
				continue
			}
			out = append(out, drover.Range{Feed: f, First: seq, Last: seq})
		}
	}
	return out
}

// normal sorts and drops repeats.
func normal(seqs []uint64) []uint64 {
	slices.Sort(seqs)
	return slices.Compact(seqs)
}

// split divides the batch by what was taken.
func (b *batch) split(l *lane, taken drover.Taken) (rest []item, order ledger.Settle) {
	refused := make(map[int]string, len(taken.Refused))
	for _, r := range taken.Refused {
		refused[r.Index] = r.Reason
	}
	order = ledger.Settle{Sink: l.s.ID, Lane: l.name, Mark: taken.Mark}
	also := taken.Also
	done := slices.Clone(b.passed)
	for i := range b.items {
		it := b.items[i]
		beyond := len(also) > 0 && also[0] == i
		if i >= taken.N && !beyond {
			rest = append(rest, it)
			continue
		}
		if it.manifest != nil && slices.ContainsFunc(rest, func(x item) bool { return x.feed == it.feed }) {
			also = also[1:]
			rest = append(rest, it) // behind one of its feed that is not taken: what is vouched for has no hole
			continue
		}
		if beyond {
			also = also[1:]
		}
		if it.manifest != nil {
			if why, no := refused[i]; no {
				l.s.d.log.Error("the sink refuses a manifest; it goes without", "sink", l.s.ID, "feed", it.feed, "why", why)
			}
			order.Manifests = append(order.Manifests, *it.manifest)
			continue
		}
		if why, no := refused[i]; no {
			order.Aside = append(order.Aside, it.aside(l.s.ID, "refused", why))
		} else {
			order.Taken++
		}
		done = append(done, it)
	}
	var astray, over []item
	for i := range b.passed {
		switch it := b.passed[i]; it.why {
		case unrouted:
			order.Unrouted++
			astray = append(astray, it)
		case passedOver:
			over = append(over, it)
		default:
			order.Aside = append(order.Aside, it.aside(l.s.ID, it.why, it.detail))
		}
	}
	order.Done, order.Passed, order.Over = ranges(done), ranges(astray), ranges(over)
	for _, i := range taken.Older {
		order.Elsewhere = append(order.Elsewhere, ranges(b.items[i:i+1])...)
	}
	return rest, order
}

func (it *item) aside(s drover.SinkID, reason, detail string) ledger.Aside {
	return ledger.Aside{Feed: it.feed, Sink: s, Reason: reason, Detail: detail, Seq: it.seq, EventID: it.rec.EventID, Sum: it.sum, Size: int64(it.size), Count: 1}
}

// compose puts the next batch of a lane together, nil if there is nothing.
// Feeds take turns, so that a full one does not keep the others waiting. While
// a batch is under way (ahead), no feed leaves the lane.
func (l *lane) compose(ctx context.Context, ahead bool) (*batch, error) {
	s := l.s
	if err := l.loadMark(ctx); err != nil {
		return nil, err
	}
	b := &batch{generation: s.d.opt.Routes.Generation()}
	e := s.encoder()
	s.mu.Lock()
	queue := l.queue
	l.queue, l.waiting = nil, 0
	for _, x := range queue {
		x.pending = false // a hint from here on queues it again
	}
	s.mu.Unlock()
	for i, x := range queue {
		if len(b.items)+len(b.passed) >= s.MaxRecords || e.size() >= s.MaxBytes {
			l.again(queue[i:])
			break
		}
		if ahead && l.leaves(x) {
			l.again(queue[i : i+1])
			continue
		}
		more, err := l.read(ctx, b, &e, x, s.MaxRecords-len(b.items)-len(b.passed), s.MaxBytes-e.size())
		if err != nil {
			e.fill(b)
			b.free()
			l.again(queue)
			return nil, fmt.Errorf("read feed %s: %w", x.Feed, err)
		}
		if more {
			l.again(queue[i : i+1])
		}
	}
	e.fill(b)
	if len(b.items)+len(b.passed) == 0 {
		b.free()
		return nil, nil
	}
	return b, nil
}

// again queues feeds that have more; at the end, so that others come first.
func (l *lane) again(feeds []*feed) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	for _, x := range feeds {
		l.s.mark(x, l.s.MaxRecords)
	}
}

// leaves reports whether a feed belongs to another lane by now.
func (l *lane) leaves(x *feed) bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return x.want != l.name
}

// read adds what lies behind a feed's place, and reports whether there may be
// more.
func (l *lane) read(ctx context.Context, b *batch, e *encoder, x *feed, rows, size int) (more bool, err error) {
	l.s.mu.Lock()
	place, tenant, gone := x.place, *x.tenant, x.removed
	if !gone && x.want != l.name {
		l.s.move(x, x.want) // nothing of it is under way here
		gone = true
	}
	l.s.mu.Unlock()
	if gone {
		return false, nil
	}
	c, err := l.choose(ctx, x, tenant, place.Seq, rows, size)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && c.until == place.Seq {
		return false, nil // the tenant was removed meanwhile, or all of it is too young
	}
	if err != nil {
		return false, err
	}
	var failed error
	err = l.s.d.opt.Store.Walk(ctx, x.Feed, place.Seq, rows, size, func(rev *drover.Revision) {
		if failed != nil || rev.Seq > c.until {
			return
		}
		more = true
		if _, done := slices.BinarySearch(place.Beyond, rev.Seq); done {
			return
		}
		var why string
		if why, failed = c.why(ctx, rev); failed == nil {
			l.add(b, e, tenant, rev, why, &c.telling)
		}
	})
	if errors.Is(err, ledger.ErrNotFound) {
		return more, nil // the tenant was removed meanwhile
	}
	return more, errors.Join(err, failed)
}

// add encodes a revision into the batch, or notes why it is not sent.
func (l *lane) add(b *batch, e *encoder, t drover.Tenant, rev *drover.Revision, why string, w *telling) {
	it := item{feed: rev.Feed, seq: rev.Seq, sum: rev.Sum, size: len(rev.Raw), why: why}
	if why != "" {
		b.passed = append(b.passed, it)
		return
	}
	at := rev.Changed
	if !at.Known() {
		at = rev.Created
	}
	it.rec = drover.Record{EventID: rev.EventID(0), Tenant: t.ID, Customer: t.Customer, Source: rev.Feed.Source, Seq: rev.Seq, Time: at}
	if err := e.encode(t, rev, w); err != nil {
		it.why, it.detail = unencodable, err.Error()
		b.passed = append(b.passed, it)
		return
	}
	b.items = append(b.items, it)
}

// loadMark reads the lane's mark once.
func (l *lane) loadMark(ctx context.Context) error {
	if l.marked {
		return nil
	}
	mark, err := l.s.d.opt.Store.Mark(ctx, l.s.ID, l.name)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("read the lane's mark: %w", err)
	}
	l.mark, l.marked = mark, true
	return nil
}

// rebuild puts a batch together again, byte for byte: a record is a pure
// function of the stored row and the sink's config. What was settled since is
// left out, and so is what a tenant that was removed has left.
func (l *lane) rebuild(ctx context.Context, h *held) (*batch, error) {
	if err := l.loadMark(ctx); err != nil {
		return nil, err
	}
	if len(h.manifests) > 0 {
		return l.retell(ctx, h)
	}
	b := &batch{generation: h.generation, claimed: h.claimed, unclear: h.unclear}
	e := l.s.encoder()
	for _, r := range h.ranges {
		l.s.mu.Lock()
		x := l.s.feeds[r.Feed]
		if x == nil {
			l.s.mu.Unlock()
			continue
		}
		place, tenant := x.place, *x.tenant
		l.s.mu.Unlock()
		if err := l.reread(ctx, b, &e, r, place, tenant); err != nil {
			return nil, err
		}
	}
	e.fill(b)
	return b, nil
}

// reread adds the revisions of a range that are not done.
func (l *lane) reread(ctx context.Context, b *batch, e *encoder, r drover.Range, place ledger.Place, tenant drover.Tenant) error {
	w, why := l.telling(tenant, r.Feed.Source), "" // what it was made of is sent, whatever the sink is given by now
	if !w.routed {
		why = unrouted
	}
	for seq := max(r.First, place.Seq+1); seq <= r.Last; {
		last := uint64(0)
		err := l.s.d.opt.Store.Walk(ctx, r.Feed, seq-1, int(r.Last-seq+1), l.s.MaxBytes, func(rev *drover.Revision) {
			last = rev.Seq
			if _, done := slices.BinarySearch(place.Beyond, rev.Seq); !done && rev.Seq <= r.Last {
				l.add(b, e, tenant, rev, why, &w)
			}
		})
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return nil // the tenant was removed meanwhile
		case err != nil:
			return err
		case last == 0 || last >= r.Last:
			return nil
		}
		seq = last + 1
	}
	return nil
}

// encoder encodes the records of one batch into one buffer.
type encoder struct {
	s           *dest
	incarnation string
	buf         []byte
	pooled      *[]byte
	ends        []int
}

func (s *dest) encoder() encoder {
	pooled := buffers.Get(0)
	return encoder{s: s, incarnation: s.d.opt.Store.Identity().Incarnation, buf: (*pooled)[:0], pooled: pooled}
}

func (e *encoder) size() int { return len(e.buf) }

// encode appends a record and a line feed. A format that fails, or panics, on a
// revision costs that revision only.
func (e *encoder) encode(t drover.Tenant, rev *drover.Revision, w *telling) (err error) {
	start := len(e.buf)
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the format panicked on it")
		}
		if err != nil {
			e.buf = e.buf[:start]
			return
		}
		e.ends = append(e.ends, len(e.buf))
	}()
	buf, err := e.s.Format.Encode(e.room(len(rev.Raw)), rev, format.Context{Tenant: t, Incarnation: e.incarnation, OnlyHere: w.alone, AlsoToldBy: w.also})
	if err == nil {
		e.buf = append(buf, '\n')
	}
	return err
}

// perRecord is about what a format writes beside the row.
const perRecord = 1 << 10

// room returns the buffer with room for a row of n bytes. It grows at once to
// what a batch may take, if the batch has become half as large: copied again
// and again, a large one would cost more than all else.
func (e *encoder) room(n int) []byte {
	need := len(e.buf) + n + perRecord
	if need <= cap(e.buf) {
		return e.buf
	}
	size := max(2*cap(e.buf), need, 64<<10)
	if full := e.s.MaxBytes + e.s.MaxBytes/8; 2*size > full {
		size = max(full, need)
	}
	return append(make([]byte, 0, size), e.buf...)
}

// fill hands the encoded bodies to the batch's items, now that the buffer does
// not move any more.
func (e *encoder) fill(b *batch) {
	start := 0
	for i := range b.items {
		end := e.ends[i] - 1 // without the line feed
		b.items[i].rec.Body = e.buf[start:end:end]
		start = e.ends[i]
	}
	*e.pooled = e.buf
	b.buf, b.whole = e.pooled, len(b.items)
}
