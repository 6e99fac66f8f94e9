package admin

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"drover"
	"drover/internal/ledger"
)

// Bounds of a search. All feeds together hold about maxHeld keys or lines in
// memory; a page of one feed is large enough that a block is opened once for
// many rows. An alert's rows are found by walking the index, scanRows at a time.
const (
	maxHeld  = 16_384
	maxPage  = 64
	minPage  = 4
	scanRows = 20_000
	maxTitle = 200 // characters
)

// Alerts lists alerts; see Alerts.Alerts. Feeds are merged by change time: each
// shows its next page of keys, and bodies are opened when a page is reached.
func (l *Local) Alerts(ctx context.Context, q AlertQuery, each func(AlertLine) error) (end AlertsEnd, err error) {
	feeds, err := l.feedsOf(ctx, "list alerts", q.Tenant, q.Customer, q.Source)
	if err != nil {
		return end, err
	}
	s := &search{store: l.Store, q: q, needles: needles(q.Text), rows: max(minPage, min(maxPage, maxHeld/max(len(feeds), 1)))}
	if q.ID != "" {
		hash := ledger.AlertHash(q.ID)
		s.alert, s.rows = &hash, scanRows
	}
	for _, f := range feeds {
		c := &cursor{search: s, feed: f.Feed, tenant: f.tenant, head: ^uint64(0)}
		if q.AsOf.Known() {
			if c.head, err = l.Store.HeadAt(ctx, f.Feed, q.AsOf); err != nil {
				return end, err
			}
		}
		if any, err := c.page(ctx, nil); err != nil {
			return end, err
		} else if any {
			s.cursors = append(s.cursors, c)
		}
	}
	heap.Init(&s.cursors)
	for n := 0; len(s.cursors) > 0; {
		line, err := s.next(ctx)
		if err != nil {
			return end, err
		}
		if line == nil {
			continue
		}
		if q.Limit > 0 && n == q.Limit {
			return AlertsEnd{More: true, Gone: s.gone}, nil
		}
		n++
		if err := each(*line); err != nil {
			return end, err
		}
	}
	return AlertsEnd{Gone: s.gone}, nil
}

// tenantFeed is a feed with whose it is.
type tenantFeed struct {
	drover.Feed
	tenant drover.Tenant
}

// feedsOf lists the feeds that a filter leaves. Removed tenants are left out:
// nobody can open their bodies.
func (l *Local) feedsOf(ctx context.Context, op, tenant string, customer drover.CustomerID, source drover.SourceID) (out []tenantFeed, err error) {
	var tenants []drover.Tenant
	if tenant != "" {
		t, err := l.find(ctx, op, tenant)
		if err != nil {
			return nil, err
		}
		if t.State == drover.Removed {
			return nil, usage(op, "", fmt.Errorf("tenant %s was removed, and its key destroyed: its alerts can be read by nobody", t.Name))
		}
		tenants = []drover.Tenant{t}
	} else if tenants, err = l.Store.ListTenants(ctx); err != nil {
		return nil, err
	}
	heads, err := l.Store.Heads(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[drover.TenantID]drover.Tenant, len(tenants))
	for _, t := range tenants {
		if t.State != drover.Removed && (customer == "" || t.Customer == customer) {
			byID[t.ID] = t
		}
	}
	if customer != "" && len(byID) == 0 {
		return nil, usage(op, "see: drover tenant list", fmt.Errorf("there is no tenant of a customer %q", customer))
	}
	for f := range heads {
		if t, ok := byID[f.Tenant]; ok && (source == "" || f.Source == source) {
			out = append(out, tenantFeed{f, t})
		}
	}
	slices.SortFunc(out, func(a, b tenantFeed) int { return strings.Compare(a.String(), b.String()) })
	return out, nil
}

// search is one search under way.
type search struct {
	store   ledger.Store
	q       AlertQuery
	alert   *drover.Hash
	needles [][]byte
	rows    int
	cursors cursors
	gone    int64
}

// next takes the newest state that is left, nil if the filters leave it out.
func (s *search) next(ctx context.Context) (*AlertLine, error) {
	c := s.cursors[0]
	if !c.opened {
		if err := c.open(ctx); err != nil {
			return nil, err
		}
	}
	line := c.lines[c.i]
	if c.i++; c.i < len(c.states) {
		heap.Fix(&s.cursors, 0)
		return line, nil
	}
	switch more, err := c.page(ctx, &c.last); {
	case err != nil:
		return nil, err
	case more:
		heap.Fix(&s.cursors, 0)
	default:
		heap.Pop(&s.cursors)
	}
	return line, nil
}

// cursor is where a search stands in one feed.
type cursor struct {
	*search
	feed   drover.Feed
	tenant drover.Tenant
	head   uint64 // what came later counts as not there
	states []ledger.State
	lines  []*AlertLine // of states, once the page is opened
	opened bool
	i      int
	last   ledger.Key
	ended  bool
}

// page reads the next page of keys that may be asked for, and reports whether
// there was any.
func (c *cursor) page(ctx context.Context, below *ledger.Key) (bool, error) {
	c.states, c.opened, c.i = nil, false, 0
	for !c.ended {
		p, err := c.store.States(ctx, c.feed, ledger.StateOrder{Span: drover.Span{From: c.q.Since, To: c.q.Until}, Alert: c.alert, Below: below, Rows: c.rows})
		if err != nil {
			return false, err
		}
		c.last, c.ended = p.Last, !p.More
		c.states = slices.DeleteFunc(p.States, func(st ledger.State) bool {
			// One that came later, or that a later state known then has replaced.
			return st.Seq > c.head || !c.q.All && st.Newest != 0 && st.Newest != st.Seq && st.Newest <= c.head
		})
		if len(c.states) > 0 {
			return true, nil
		}
		below = &c.last
	}
	return false, nil
}

// open reads the bodies of a page, each block once.
func (c *cursor) open(ctx context.Context) error {
	c.lines, c.opened = make([]*AlertLine, len(c.states)), true
	order := make([]int, len(c.states))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(c.states[a].Seq, c.states[b].Seq) })
	for _, i := range order {
		st := &c.states[i]
		found := false
		err := c.store.Walk(ctx, c.feed, st.Seq-1, 1, 0, func(r *drover.Revision) {
			if found = r.Seq == st.Seq; found && c.wants(r) {
				c.lines[i] = lineOf(c.tenant, r)
			}
		})
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return nil // the tenant has been removed just now
		case err != nil:
			return err
		}
		if c.lines[i] == nil && found {
			continue
		}
		if !c.q.All && st.Newest > c.head {
			then, err := c.newestThen(ctx, st.Newest)
			if err != nil {
				return err
			}
			if then != 0 && then != st.Seq {
				c.lines[i] = nil
				continue
			}
		}
		if !found {
			c.gone++
		}
	}
	return nil
}

// newestThen follows an alert back from its newest state to the one that was
// its newest at c.head; 0 if that is not known. Each state names the one that
// was the newest when it was read.
func (c *cursor) newestThen(ctx context.Context, seq uint64) (uint64, error) {
	for seq > c.head {
		previous, found := uint64(0), false
		err := c.store.Walk(ctx, c.feed, seq-1, 1, 0, func(r *drover.Revision) {
			if r.Seq == seq {
				previous, found = r.Previous, true
			}
		})
		if err != nil {
			return 0, err
		}
		if !found || previous >= seq {
			return 0, nil
		}
		seq = previous
	}
	return seq, nil
}

// wants reports whether a state passes the filters.
func (s *search) wants(r *drover.Revision) bool {
	is := func(list []string, v string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(w string) bool { return strings.EqualFold(w, v) })
	}
	if !is(s.q.Severity, r.Severity) || !is(s.q.Status, r.Status) || s.q.ID != "" && r.AlertID != s.q.ID {
		return false
	}
	if len(s.needles) == 0 {
		return true
	}
	lower := bytes.ToLower(r.Raw)
	return slices.ContainsFunc(s.needles, func(n []byte) bool { return bytes.Contains(lower, n) })
}

// needles are the spellings that a text can have in JSON: as it is, with quotes
// and backslashes escaped, and with everything beyond ASCII escaped too.
func needles(text string) (list [][]byte) {
	if text == "" {
		return nil
	}
	text = strings.ToLower(text)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string can always be encoded
	quoted := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
	var ascii strings.Builder
	for _, r := range quoted {
		switch {
		case r < utf8.RuneSelf:
			ascii.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		}
	}
	for _, s := range []string{text, quoted, ascii.String()} {
		if !slices.ContainsFunc(list, func(n []byte) bool { return string(n) == s }) {
			list = append(list, []byte(s))
		}
	}
	return list
}

// lineOf keeps of a revision what a list shows.
func lineOf(t drover.Tenant, r *drover.Revision) *AlertLine {
	return &AlertLine{EventID: r.EventID(0), Tenant: t.ID, Name: t.Name, Customer: t.Customer, Source: r.Feed.Source, AlertID: r.AlertID, Changed: r.Changed, Created: r.Created, Stored: r.Stored,
		Ordinal: r.Ordinal, Seq: r.Seq, Severity: r.Severity, Status: r.Status, Title: titleOf(r.Raw), Flags: r.Flags.Names()}
}

// titleOf finds what a row calls itself, in whatever source's words.
func titleOf(raw []byte) string {
	var row struct {
		Title       any `json:"title"`
		AlertTitle  any `json:"alertTitle"`
		DisplayName any `json:"displayName"`
	}
	_ = json.Unmarshal(raw, &row) // what is no such object has no title
	for _, v := range []any{row.Title, row.AlertTitle, row.DisplayName} {
		if s, ok := v.(string); ok && s != "" {
			return clipRunes(s, maxTitle)
		}
	}
	return ""
}

// clipRunes shortens a text to so many characters.
func clipRunes(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i] + "…"
		}
	}
	return s
}

// cursors is a heap, the newest change on top.
type cursors []*cursor

func (h cursors) Len() int      { return len(h) }
func (h cursors) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h cursors) Less(i, j int) bool {
	a, b := h[i], h[j]
	if x, y := a.states[a.i].Changed, b.states[b.i].Changed; x != y {
		return x > y
	}
	return a.feed.String() < b.feed.String()
}

func (h *cursors) Push(x any) { *h = append(*h, x.(*cursor)) }

func (h *cursors) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}
