package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"drover"
)

// row is a row as an answer shows it now.
type row struct {
	id               string // "": it has none that can be used
	changed, created drover.Instant
	tenant           string // the other tenant that it names; "" if it names none or its own
	severity         string
	provider         string
	sum              drover.Hash // of raw
	raw              []byte      // nil once it is known to be as the ledger has it
	single           bool        // of an answer for one row: raw is not what a list would show
}

// page is an answer.
type page struct {
	rows  []*row
	next  string // the link, "" if there is none
	count int    // how many rows the question has in all, -1 if it was not said
}

var errNotRows = errors.New("the answer holds no rows")

// parse reads an answer: {"value": […]}, a bare array, or a single row. The
// whole text must be one JSON value.
func (s *source) parse(body []byte, tenant drover.TenantID) (page, error) {
	out := page{count: -1}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	var whole json.RawMessage
	if err := dec.Decode(&whole); err != nil {
		return out, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return out, errors.New("something stands behind the answer")
	}
	list, single := []json.RawMessage(nil), false
	switch whole[0] {
	case '[':
		if err := json.Unmarshal(whole, &list); err != nil {
			return out, err
		}
	case '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(whole, &members); err != nil {
			return out, err
		}
		if e, bad := members["error"]; bad && string(e) != "null" {
			return out, errors.New("the answer is an error in place of rows")
		}
		value, many := members["value"]
		switch {
		case many:
			if len(value) == 0 || value[0] != '[' || json.Unmarshal(value, &list) != nil {
				return out, errNotRows
			}
			_ = json.Unmarshal(members["@odata.nextLink"], &out.next)
			if n, ok := members["@odata.count"]; ok && json.Unmarshal(n, &out.count) != nil {
				out.count = -1
			}
		case members[s.names.id] != nil:
			delete(members, "@odata.context")
			text, err := json.Marshal(members)
			if err != nil {
				return out, err
			}
			list, single = []json.RawMessage{text}, true
		default:
			return out, errNotRows
		}
	default:
		return out, errNotRows
	}
	for _, raw := range list {
		r := s.row(raw, tenant)
		r.single = single
		out.rows = append(out.rows, r)
	}
	return out, nil
}

// row reads what a row is known by.
func (s *source) row(raw []byte, tenant drover.TenantID) *row {
	r := &row{raw: raw, sum: sha256.Sum256(raw), changed: drover.NoInstant, created: drover.NoInstant}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return r
	}
	text := func(name string) (v string) {
		if name != "" && json.Unmarshal(members[name], &v) != nil {
			return ""
		}
		return v
	}
	at := func(name string) drover.Instant {
		i, err := drover.ParseInstant(text(name))
		if err != nil {
			return drover.NoInstant
		}
		return i
	}
	r.id, r.changed, r.created = text(s.names.id), at(s.names.changed), at(s.names.created)
	r.severity, r.provider = strings.ToLower(text(s.names.severity)), text(s.names.provider)
	for _, name := range s.names.tenant {
		if v := text(name); drover.IsGUID(v) && !strings.EqualFold(v, string(tenant)) {
			r.tenant = strings.ToLower(v)
		}
	}
	return r
}

// when is the time by which the window is bounded.
func (s *source) when(changed, created drover.Instant) drover.Instant {
	if s.by == byCreated {
		return created
	}
	return changed
}
