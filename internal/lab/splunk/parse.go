package splunk

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// Event is one event of a request, as it was received and as it fared.
type Event struct {
	Request    uint64 // number of the request, from 1
	Index      int    // position in the request, from 0
	TokenName  string
	Channel    string
	Host       string
	Source     string
	Sourcetype string
	IndexName  string // named, or the token's default
	Time       string // the text of "time", without quotes; may be empty
	Fields     []byte // JSON object as received, or nil
	Body       []byte // the value of "event", exactly as received
	Kept       bool   // indexed
	Answered   bool   // the sender got an answer that says so
	AckID      int64  // -1 without acknowledgement
}

// batch is a parsed request body.
type batch struct {
	events []Event // all that could be read, good or not
	good   int     // events[:good] are to be indexed
	told   int     // the answer tells the sender that events[:told] were taken
	answer reply
}

// refuse ends a batch at event i: those before it are indexed and listed.
func (b *batch) refuse(i, code int) {
	b.good, b.told = i, i
	b.answer = coded(code)
	b.answer.invalid = i
}

// parse judges the objects of a body one by one, in the order they stand:
// concatenated, or in an array (reference sink-protocols §2).
func parse(body []byte, t *token) batch {
	var b batch
	dec := json.NewDecoder(bytes.NewReader(body))
	inArray := false
	stopped := false // an unknown key was met: the rest is read past, and not indexed
	for {
		rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n")
		switch {
		case !inArray && len(rest) == 0:
			return b.finish(stopped)
		case !inArray && rest[0] == '[':
			if _, err := dec.Token(); err != nil {
				b.refuse(len(b.events), 6)
				return b
			}
			inArray = true
			continue
		case inArray && !dec.More():
			if _, err := dec.Token(); err != nil {
				b.refuse(len(b.events), 6)
				return b
			}
			inArray = false
			continue
		}
		i := len(b.events)
		var members map[string]json.RawMessage
		if err := dec.Decode(&members); err != nil || members == nil {
			if stopped {
				return b.finish(true)
			}
			b.refuse(i, 6)
			return b
		}
		e := Event{Index: i, AckID: none}
		code := e.fill(members, t)
		b.events = append(b.events, e)
		switch {
		case stopped:
		case code == unknownKey:
			stopped, b.good = true, i
		case code == 7:
			b.refuse(i, 7)
			b.answer.invalid = i + 1 // it names the object after the bad one
			return b
		case code != 0:
			b.refuse(i, code)
			return b
		}
	}
}

// finish ends a batch in which no event was refused.
func (b batch) finish(stopped bool) batch {
	if !stopped {
		b.good = len(b.events)
	}
	if b.good == 0 {
		b.answer = coded(5)
		return b
	}
	b.answer, b.told = coded(0), len(b.events)
	return b
}

// unknownKey is fill's verdict on an object with a key that the collector does
// not know; the collector has no code for it.
const unknownKey = none

// fill reads the members of one object. It returns 0, a code of the collector,
// or unknownKey.
func (e *Event) fill(members map[string]json.RawMessage, t *token) int {
	e.IndexName, e.Body = t.DefaultIndex, members["event"]
	for key := range members {
		switch key {
		case "event", "time", "host", "source", "sourcetype", "index", "fields":
		default:
			return unknownKey
		}
	}
	if len(e.Body) == 0 || string(e.Body) == "null" {
		return 12
	}
	if text, ok := jsonString(e.Body); ok && strings.TrimSpace(text) == "" {
		return 13
	}
	for key, into := range map[string]*string{"host": &e.Host, "source": &e.Source, "sourcetype": &e.Sourcetype, "index": &e.IndexName} {
		raw, ok := members[key]
		if !ok || string(raw) == "null" {
			continue
		}
		text, ok := jsonString(raw)
		if !ok {
			return 6
		}
		*into = text
	}
	if code := e.setTime(members["time"]); code != 0 {
		return code
	}
	if raw, ok := members["fields"]; ok {
		if !flat(raw) {
			return 15
		}
		e.Fields = raw
	}
	if !t.allows(e.IndexName) {
		return 7
	}
	return 0
}

// setTime reads "time": Unix seconds, a number or a string of one, never in
// scientific notation.
func (e *Event) setTime(raw json.RawMessage) int {
	if len(raw) == 0 || string(raw) == "null" {
		return 0
	}
	text, ok := jsonString(raw)
	if !ok {
		text = string(raw)
	}
	digits := strings.TrimPrefix(text, "-")
	if strings.ContainsAny(digits, "eE") && strings.Trim(digits, "0123456789.eE+-") == "" {
		return 15
	}
	whole, fraction, dot := strings.Cut(digits, ".")
	if whole == "" || strings.Trim(whole, "0123456789") != "" || strings.Trim(fraction, "0123456789") != "" || (dot && fraction == "") {
		return 6
	}
	e.Time = text
	return 0
}

// flat reports whether raw is an object whose values are strings or lists of
// strings.
func flat(raw json.RawMessage) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return false
	}
	for _, v := range members {
		if _, ok := jsonString(v); ok {
			continue
		}
		var list []json.RawMessage
		if json.Unmarshal(v, &list) != nil || list == nil {
			return false
		}
		for _, item := range list {
			if _, ok := jsonString(item); !ok {
				return false
			}
		}
	}
	return true
}

// jsonString decodes a JSON string.
func jsonString(raw []byte) (string, bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// parseRaw takes each line that is not blank as an event.
func parseRaw(body []byte, t *token, query func(string) string) batch {
	var b batch
	for line := range bytes.Lines(body) {
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		text, err := json.Marshal(string(line))
		if err != nil {
			b.refuse(len(b.events), 6)
			return b
		}
		e := Event{Index: len(b.events), AckID: none, Body: text, Host: query("host"), Source: query("source"), Sourcetype: query("sourcetype"), IndexName: query("index")}
		if e.IndexName == "" {
			e.IndexName = t.DefaultIndex
		}
		if !t.allows(e.IndexName) {
			b.answer = coded(7)
			return b
		}
		b.events = append(b.events, e)
	}
	return b.finish(false)
}

// parseAcks reads {"acks":[0,1]}.
func parseAcks(r io.Reader, limit int64) ([]int64, bool) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil || int64(len(body)) > limit {
		return nil, false
	}
	var ask struct {
		Acks []int64 `json:"acks"`
	}
	if json.Unmarshal(body, &ask) != nil || ask.Acks == nil {
		return nil, false
	}
	return ask.Acks, true
}
