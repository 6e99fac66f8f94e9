// Package manifest shows that the searches for manifests name what happened to
// records behind drover's back, at files and at the pretend Splunk, and nothing
// else (docs/manifests.md). Verify is what they compute, for rigs in which it
// must find nothing.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// envelope is what Verify reads of a record.
type envelope struct {
	Kind, Tenant, Source, Incarnation, Hour, Hash, SHA256 string
	EventID                                               string `json:"event_id"`
	Seq, After, First, Last                               uint64
	Count                                                 int
}

func (e *envelope) key() string { return e.Tenant + "|" + e.Source + "|" + e.Incarnation }

// Verify checks records, one a line, against the manifests among them, and
// returns what does not match and how many manifests and alerts it has matched.
// Where the place may hold a record more than once, repeats are passed over.
func Verify(lines [][]byte, repeats bool) (found []string, manifests, alerts int, err error) {
	rows := make(map[string][]envelope)
	told := make(map[string]envelope)
	for _, l := range lines {
		var rec struct{ Drover envelope }
		if err := json.Unmarshal(l, &rec); err != nil {
			return nil, 0, 0, fmt.Errorf("a record: %w", err)
		}
		e := rec.Drover
		if e.Kind == "manifest" {
			if old, ok := told[e.EventID]; ok && (old != e || !repeats) {
				found = append(found, fmt.Sprintf("%s %s: two manifests with one event ID", e.key(), e.Hour))
			}
			told[e.EventID] = e
			continue
		}
		if raw, err := rowOf(l); err != nil {
			return nil, 0, 0, err
		} else if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != e.SHA256 {
			e.SHA256 = "altered"
		}
		rows[e.key()] = append(rows[e.key()], e)
	}
	var list []envelope
	for _, m := range told {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b envelope) int {
		if c := strings.Compare(a.key(), b.key()); c != 0 {
			return c
		}
		return int(a.Last) - int(b.Last)
	})
	for i := range list {
		m := &list[i]
		say := func(format string, args ...any) {
			found = append(found, fmt.Sprintf("%s %s, %d to %d: ", m.key(), m.Hour, m.First, m.Last)+fmt.Sprintf(format, args...))
		}
		if i > 0 && list[i-1].key() == m.key() && list[i-1].Last != m.After {
			say("comes after %d, the one before it ends at %d", m.After, list[i-1].Last)
		}
		var items []string
		for _, e := range rows[m.key()] {
			if m.First <= e.Seq && e.Seq <= m.Last {
				items = append(items, e.EventID+":"+e.SHA256)
			}
		}
		n := len(items)
		slices.Sort(items)
		items = slices.Compact(items)
		sum := sha256.Sum256([]byte(strings.Join(items, ",")))
		switch {
		case len(items) != m.Count:
			say("%d alerts, want %d", len(items), m.Count)
		case hex.EncodeToString(sum[:]) != m.Hash:
			say("another hash")
		case n > len(items) && !repeats:
			say("%d repeated", n-len(items))
		}
		manifests, alerts = manifests+1, alerts+len(items)
	}
	return found, manifests, alerts, nil
}

// rowOf is a record's row as received.
func rowOf(l []byte) ([]byte, error) {
	if i := bytes.Index(l, []byte(`},"alert":`)); i >= 0 {
		return l[i+len(`},"alert":`) : len(l)-1], nil
	}
	var rec struct {
		Packed []byte `json:"raw_base64"`
	}
	if err := json.Unmarshal(l, &rec); err != nil {
		return nil, fmt.Errorf("a packed row: %w", err)
	}
	return rec.Packed, nil
}

// Received takes out of a pretend Splunk's log the events that it has indexed.
func Received(log []byte) (lines [][]byte, err error) {
	for l := range bytes.Lines(log) {
		var e struct {
			T      string
			Kept   bool
			Event  json.RawMessage
			Packed string `json:"event_base64"`
		}
		if err := json.Unmarshal(l, &e); err != nil {
			return nil, fmt.Errorf("the receiver's log: %w", err)
		}
		if e.T != "event" || !e.Kept {
			continue
		}
		if e.Packed != "" {
			b, err := base64.StdEncoding.DecodeString(e.Packed)
			if err != nil {
				return nil, fmt.Errorf("the receiver's log: %w", err)
			}
			e.Event = b
		}
		lines = append(lines, e.Event)
	}
	return lines, nil
}
