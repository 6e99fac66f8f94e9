package splunk

import (
	"encoding/json"
	"strconv"

	"drover"
)

// meta is the run of members that are the same in all events of a lane, each
// with a comma behind it.
func meta(t *Target) (b []byte) {
	for _, m := range []struct{ name, value string }{{"host", t.Host}, {"source", t.Source}, {"sourcetype", t.Sourcetype}, {"index", t.Index}} {
		if m.value != "" {
			b = append(quote(append(quote(b, m.name), ':'), m.value), ',')
		}
	}
	return b
}

// event appends one event object. Its body stands in it as it is.
func (l *lane) event(b []byte, r *drover.Record) []byte {
	b = append(b, '{')
	b = unixTime(b, r.Time)
	b = append(b, l.meta...)
	b = quote(append(b, `"fields":{"drover.event_id":`...), r.EventID)
	b = quote(append(b, `,"drover.tenant":`...), string(r.Tenant))
	b = quote(append(b, `,"drover.customer":`...), string(r.Customer))
	b = append(append(b, `},"event":`...), r.Body...)
	return append(b, '}')
}

// unixTime appends the time of an event digit by digit: Splunk refuses
// scientific notation. Without it, which is also for what lies before 1970, the
// event gets the time of its arrival.
func unixTime(b []byte, at drover.Instant) []byte {
	t := at.Time()
	if !at.Known() || t.Unix() < 0 {
		return b
	}
	b = strconv.AppendInt(append(b, `"time":`...), t.Unix(), 10)
	// A one in front keeps the zeros; it becomes the point.
	point := len(b)
	b = strconv.AppendInt(b, 1e7+int64(t.Nanosecond()/100), 10)
	b[point] = '.'
	return append(b, ',')
}

// quote appends s as a JSON string.
func quote(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			v, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string can always be marshalled
			}
			return append(b, v...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
