package admin

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"drover"
	"drover/internal/ledger"
	"drover/internal/revision"
)

// VolumeQuery says what is to be counted.
type VolumeQuery struct {
	Tenants []string `json:"tenants"` // by name or ID; none means all
	Days    int      `json:"days"`    // back from now
}

// VolumeStatus is how many records of a tenant each choice of revisions would
// have brought to a sink. Since is where counting begins: the ledger may hold
// less than was asked for.
type VolumeStatus struct {
	Tenant    drover.TenantID `json:"tenant"`
	Name      string          `json:"name"`
	Sink      drover.SinkID   `json:"sink"` // empty: no route leads from the tenant to any
	Revisions revision.Choice `json:"revisions"`
	Since     drover.Instant  `json:"since"`
	All       int64           `json:"all"`
	NoTouches int64           `json:"no_touches"`
	Created   int64           `json:"created"`
	Settled   int64           `json:"settled"`
}

// Volume counts what each choice would have sent.
func (l *Local) Volume(ctx context.Context, q VolumeQuery) ([]VolumeStatus, error) {
	if q.Days < 1 || q.Days > 3650 {
		return nil, usage("count volume", "", fmt.Errorf("%d days cannot be counted; write 1 to 3650", q.Days))
	}
	tenants, err := l.Store.ListTenants(ctx)
	if err != nil {
		return nil, err
	}
	if len(q.Tenants) > 0 {
		tenants = nil
		for _, name := range q.Tenants {
			t, err := l.find(ctx, "count volume", name)
			if err != nil {
				return nil, err
			}
			tenants = append(tenants, t)
		}
	}
	heads, err := l.Store.Heads(ctx)
	if err != nil {
		return nil, err
	}
	since := drover.InstantOf(time.Now().AddDate(0, 0, -q.Days))
	out := []VolumeStatus{}
	for _, t := range tenants {
		if t.State == drover.Removed {
			continue
		}
		byFeed := make(map[drover.SourceID]tally)
		for f := range heads {
			if f.Tenant != t.ID {
				continue
			}
			if byFeed[f.Source], err = count(ctx, l.Store, f, since); err != nil {
				return nil, fmt.Errorf("count feed %s: %w", f, err)
			}
		}
		out = append(out, l.volumes(t, byFeed)...)
	}
	return out, nil
}

// volumes adds up a tenant's feeds for each sink that gets any of them.
func (l *Local) volumes(t drover.Tenant, byFeed map[drover.SourceID]tally) (out []VolumeStatus) {
	for _, id := range l.Sinks {
		v := VolumeStatus{Tenant: t.ID, Name: t.Name, Sink: id, Revisions: l.Revisions[id], Since: drover.NoInstant}
		routed := false
		for source, n := range byFeed {
			if l.Routed == nil || l.Routed(t, source, id) {
				routed = true
				v.add(n)
			}
		}
		if routed {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		v := VolumeStatus{Tenant: t.ID, Name: t.Name, Since: drover.NoInstant}
		for _, n := range byFeed {
			v.add(n)
		}
		out = append(out, v)
	}
	return out
}

func (v *VolumeStatus) add(n tally) {
	if n.since.Known() && (!v.Since.Known() || n.since < v.Since) {
		v.Since = n.since
	}
	v.All, v.NoTouches, v.Created, v.Settled = v.All+n.all, v.NoTouches+n.noTouches, v.Created+n.created, v.Settled+n.all-n.outrun
}

// tally counts the revisions of a feed.
type tally struct {
	since                           drover.Instant // when the first was stored
	all, noTouches, created, outrun int64

	window []stretch
	rows   int // in the window
}

// stretch is what one commit stored, as long as it can still be outrun.
type stretch struct {
	first    uint64
	at       drover.Instant
	versions []int64 // of its revisions; outrunBy for those that are outrun
}

const outrunBy = math.MaxInt64

// Bounds of what a count holds in memory.
const (
	volumeRows   = 4096
	volumeBytes  = 4 << 20
	volumeWindow = 1 << 20 // revisions that can still be outrun; beyond it the oldest count as not
)

// count goes through a feed once, in order. It holds what was stored within
// revision.Quiet, as one number for each revision.
func count(ctx context.Context, store ledger.Store, f drover.Feed, since drover.Instant) (tally, error) {
	n := tally{since: drover.NoInstant}
	for seq := uint64(0); ; {
		runs, err := store.Stored(ctx, f, seq, volumeRows)
		if err != nil || len(runs) == 0 {
			return n, err
		}
		if i := slices.IndexFunc(runs, func(r ledger.Stored) bool { return r.At >= since }); i != 0 {
			if i < 0 {
				i = len(runs)
			}
			seq = runs[i-1].Last // nothing of the period before it
			continue
		}
		last := seq
		err = store.Walk(ctx, f, max(seq, runs[0].First-1), volumeRows, volumeBytes, func(rev *drover.Revision) {
			for len(runs) > 1 && rev.Seq > runs[0].Last {
				runs = runs[1:]
			}
			if rev.Seq <= runs[0].Last {
				last = rev.Seq
				n.add(rev, runs[0].At, since)
			}
		})
		if err != nil {
			return n, err
		}
		if last == seq {
			return n, nil // pruned meanwhile
		}
		seq = last
	}
}

// add counts a revision that was stored at a moment.
func (n *tally) add(rev *drover.Revision, at, since drover.Instant) {
	n.forget(at)
	if at >= since {
		if n.all++; n.all == 1 {
			n.since = at
		}
		if revision.NoTouches.Takes(rev) {
			n.noTouches++
		}
		if revision.Created.Takes(rev) {
			n.created++
		}
	}
	if s, i := n.find(rev.Previous); s != nil && s.versions[i] <= rev.Version() && revision.Outrun(s.at, at) {
		s.versions[i] = outrunBy
		if s.at >= since {
			n.outrun++
		}
	}
	if k := len(n.window); k == 0 || n.window[k-1].at != at || n.window[k-1].first+uint64(len(n.window[k-1].versions)) != rev.Seq {
		n.window = append(n.window, stretch{first: rev.Seq, at: at})
	}
	s := &n.window[len(n.window)-1]
	s.versions = append(s.versions, rev.Version())
	n.rows++
}

// forget drops what nothing can outrun any more.
func (n *tally) forget(now drover.Instant) {
	for len(n.window) > 0 && (now.Sub(n.window[0].at) >= revision.Quiet || n.rows >= volumeWindow) {
		n.rows -= len(n.window[0].versions)
		n.window = n.window[1:]
	}
}

// find returns where a revision stands in the window, nil if it does not.
func (n *tally) find(seq uint64) (*stretch, uint64) {
	k := sort.Search(len(n.window), func(k int) bool { return n.window[k].first > seq }) - 1
	if k < 0 || seq-n.window[k].first >= uint64(len(n.window[k].versions)) {
		return nil, 0
	}
	return &n.window[k], seq - n.window[k].first
}

// Volume is API.Volume.
func (c *Client) Volume(ctx context.Context, q VolumeQuery) ([]VolumeStatus, error) {
	return ask[[]VolumeStatus](ctx, c, "volume", q)
}
