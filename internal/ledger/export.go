package ledger

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"drover"
)

// Export writes what a store holds, without bodies, one JSON object a line:
// every revision, gap, thing set aside, and place of the given sinks. It is
// what an outside judge compares with what the cloud showed. A tenant whose
// key is destroyed has no revisions to show.
func Export(ctx context.Context, s Store, sinks []drover.SinkID, w io.Writer) error {
	buf := bufio.NewWriterSize(w, 256<<10)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	feeds, err := s.Feeds(ctx)
	if err != nil {
		return fmt.Errorf("export feeds: %w", err)
	}
	for _, f := range feeds {
		for r, err := range s.Revisions(ctx, f.Feed, 1) {
			if errors.Is(err, ErrNotFound) {
				break
			}
			if err != nil {
				return fmt.Errorf("export feed %s: %w", f.Feed, err)
			}
			flags := r.Flags.Names()
			if flags == nil {
				flags = []string{}
			}
			if err := enc.Encode(exportRevision{"revision", r.Feed.Tenant, r.Feed.Source, r.AlertID, r.Changed, r.Ordinal, r.Seq, r.Sum.String(), r.EventID(0), flags}); err != nil {
				return err
			}
		}
	}
	gaps, err := s.Gaps(ctx, GapFilter{})
	if err != nil {
		return fmt.Errorf("export gaps: %w", err)
	}
	for _, g := range gaps {
		if err := enc.Encode(exportGap{"gap", g.Feed.Tenant, g.Feed.Source, g.Sink, g.Span.From, g.Span.To, g.Provider, g.Cause, g.State}); err != nil {
			return err
		}
	}
	aside, err := s.SetAside(ctx, AsideFilter{})
	if err != nil {
		return fmt.Errorf("export what was set aside: %w", err)
	}
	for _, a := range aside {
		if err := enc.Encode(exportAside{"set_aside", a.Feed.Tenant, a.Feed.Source, a.Sink, a.Reason, a.Sum.String(), a.EventID, a.Seq}); err != nil {
			return err
		}
	}
	for _, id := range sinks {
		places, err := s.Places(ctx, id)
		if err != nil {
			return fmt.Errorf("export places of sink %s: %w", id, err)
		}
		for _, p := range places {
			if err := enc.Encode(exportPlace{"place", id, p.Feed.Tenant, p.Feed.Source, p.Seq, p.Head}); err != nil {
				return err
			}
		}
	}
	return buf.Flush()
}

// The lines of an export. docs/ledger.md describes them.
type (
	exportRevision struct {
		T       string          `json:"t"`
		Tenant  drover.TenantID `json:"tenant"`
		Source  drover.SourceID `json:"source"`
		AlertID string          `json:"alert_id"`
		Changed drover.Instant  `json:"changed"`
		Ordinal uint8           `json:"ordinal"`
		Seq     uint64          `json:"seq"`
		SHA256  string          `json:"sha256"`
		EventID string          `json:"event_id"`
		Flags   []string        `json:"flags"`
	}
	exportGap struct {
		T        string          `json:"t"`
		Tenant   drover.TenantID `json:"tenant"`
		Source   drover.SourceID `json:"source"`
		Sink     drover.SinkID   `json:"sink,omitempty"`
		From     drover.Instant  `json:"from"`
		To       drover.Instant  `json:"to"`
		Provider string          `json:"provider,omitempty"`
		Cause    string          `json:"cause"`
		State    drover.GapState `json:"state"`
	}
	exportAside struct {
		T       string          `json:"t"`
		Tenant  drover.TenantID `json:"tenant"`
		Source  drover.SourceID `json:"source"`
		Sink    drover.SinkID   `json:"sink,omitempty"`
		Reason  string          `json:"reason"`
		SHA256  string          `json:"sha256"`
		EventID string          `json:"event_id,omitempty"`
		Seq     uint64          `json:"seq,omitempty"`
	}
	exportPlace struct {
		T      string          `json:"t"`
		Sink   drover.SinkID   `json:"sink"`
		Tenant drover.TenantID `json:"tenant"`
		Source drover.SourceID `json:"source"`
		Seq    uint64          `json:"seq"`
		Head   uint64          `json:"head"`
	}
)
