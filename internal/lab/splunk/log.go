package splunk

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// memory keeps the newest events within a number of bytes.
type memory struct {
	events  []Event
	bytes   int
	dropped uint64
}

// size is what an event costs in memory, roughly.
func (e *Event) size() int {
	return 256 + len(e.TokenName) + len(e.Channel) + len(e.Host) + len(e.Source) + len(e.Sourcetype) + len(e.IndexName) + len(e.Fields) + len(e.Body)
}

func (m *memory) add(e Event, limit int) {
	m.events = append(m.events, e)
	m.bytes += e.size()
	drop := 0
	for m.bytes > limit && drop < len(m.events) {
		m.bytes -= m.events[drop].size()
		m.events[drop] = Event{}
		drop++
	}
	m.events = m.events[drop:]
	m.dropped += uint64(drop)
}

// settle books a request when the fate of its answer is known: counters,
// memory and the log, one write for all its lines.
func (x *exchange) settle(answer reply, sent bool) {
	r := x.r
	var lines []byte
	done := r.opt.Now()
	told := 0
	if sent && (answer.success() || answer.invalid != none) {
		told = x.batch.told
	}
	for i := range x.batch.events {
		e := &x.batch.events[i]
		e.Answered = i < told
		if r.opt.Log != nil {
			lines = appendEvent(lines, e, x.at, done)
		}
	}
	if r.opt.Log != nil {
		for _, s := range x.told {
			lines = fmt.Appendf(lines, `{"t":"ack","at":%q,"n":%d,"token_name":%s,"channel":%q,"ack":%d,"answered":%t}`+"\n", stamp(done), s.request, quote(x.tokenName()), x.channel, s.id, sent && answer.status == 200 && !x.bentPage())
		}
		fault := ""
		if x.fault != nil {
			fault = x.fault.Kind
		}
		lines = fmt.Appendf(lines, `{"t":"request","at":%q,"n":%d,"path":%q,"status":%d,"code":%d,"events":%d,"bytes":%d,"fault":%q,"answered":%t}`+"\n", stamp(x.at), x.number, x.point, answer.status, answer.code, len(x.batch.events), x.bytes, fault, sent)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count.Codes[answer.code]++
	r.count.Bytes += uint64(x.bytes)
	r.count.Confirmed += uint64(len(x.told))
	for _, e := range x.batch.events {
		r.count.Events++
		switch {
		case e.Kept && !e.Answered:
			r.count.Unanswered++
		case !e.Kept && e.Answered:
			r.count.Swallowed++
		}
		if e.Kept {
			r.count.Kept++
		}
		if r.opt.KeepBytes > 0 {
			r.kept.add(e, r.opt.KeepBytes)
		}
	}
	if len(lines) > 0 {
		if _, err := r.opt.Log.Write(lines); err != nil && r.logErr == nil {
			r.logErr = fmt.Errorf("write receiver log: %w", err)
		}
	}
}

func (x *exchange) tokenName() string {
	if x.token == nil {
		return ""
	}
	return x.token.Name
}

// bentPage reports whether the answer was replaced by a page that says nothing
// of what was asked.
func (x *exchange) bentPage() bool {
	return x.fault != nil && effects[x.fault.Kind].manner == answerPage
}

// appendEvent appends the log line of an event. A value that cannot stand on
// one line as it came (it holds a line end, or is not UTF-8) stands as
// "event_base64" instead of "event". "done" is when the fate of the answer was
// known, if that was later than the arrival.
func appendEvent(b []byte, e *Event, at, done time.Time) []byte {
	b = fmt.Appendf(b, `{"t":"event","at":%q,"n":%d,"i":%d,"token_name":%s,"channel":%q,"host":%s,"source":%s,"sourcetype":%s,"index":%s,"time":%q`,
		stamp(at), e.Request, e.Index, quote(e.TokenName), e.Channel, quote(e.Host), quote(e.Source), quote(e.Sourcetype), quote(e.IndexName), e.Time)
	if done.After(at) {
		b = fmt.Appendf(b, `,"done":%q`, stamp(done))
	}
	if e.Fields != nil {
		var flat bytes.Buffer
		if json.Compact(&flat, e.Fields) == nil && utf8.Valid(flat.Bytes()) {
			b = append(b, `,"fields":`...)
			b = append(b, flat.Bytes()...)
		}
	}
	if e.AckID != none {
		b = append(b, `,"ack":`...)
		b = strconv.AppendInt(b, e.AckID, 10)
	}
	b = fmt.Appendf(b, `,"kept":%t,"answered":%t`, e.Kept, e.Answered)
	switch {
	case len(e.Body) == 0: // refused because it had none
	case bytes.ContainsAny(e.Body, "\r\n") || !utf8.Valid(e.Body):
		b = append(b, `,"event_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, e.Body)
		b = append(b, '"')
	default:
		b = append(b, `,"event":`...)
		b = append(b, e.Body...)
	}
	return append(b, '}', '\n')
}

// stamp is how the log writes times.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// quote is s as a JSON string.
func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be marshalled
	}
	return b
}
