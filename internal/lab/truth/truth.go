// Package truth is the lab's own account of what it showed: every row of every
// answer that was written whole, every request, every fault. The oracle reads
// it; nothing else does. One JSON object a line, in the order of events.
package truth

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// Log writes events. The zero writer drops them. Safe for concurrent use.
type Log struct {
	clock func() time.Time
	mu    sync.Mutex
	w     io.Writer
	buf   []byte
	n     uint64
	size  int64
}

// New returns a log that writes to w; nil drops everything.
func New(w io.Writer, clock func() time.Time) *Log { return &Log{clock: clock, w: w} }

// On reports whether anybody listens.
func (l *Log) On() bool { return l.w != nil }

// Request numbers a request.
func (l *Log) Request() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return l.n
}

// Requests is how many there were.
func (l *Log) Requests() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// Event writes one event; fields are names and values in turn.
func (l *Log) Event(kind string, fields ...any) {
	if l.w == nil {
		return
	}
	b := fmt.Appendf(nil, `{"t":%q,"at":%q`, kind, l.clock().UTC().Format(time.RFC3339Nano))
	for i := 0; i+1 < len(fields); i += 2 {
		v, err := json.Marshal(fields[i+1])
		if err != nil {
			v = []byte(`"?"`)
		}
		b = fmt.Appendf(b, `,%q:%s`, fields[i], v)
	}
	b = append(b, '}', '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(b)
}

func (l *Log) write(b []byte) {
	n, _ := l.w.Write(b)
	l.size += int64(n)
}

// Size is how many bytes were written.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Row is one row of an answer.
type Row struct {
	ID, Changed string
	Rev         int
	Sum         [32]byte
	Kind        string // "" for a row of the tenant; foreign, unnamed, bad
	Claims      string // the tenant that the row names, if it is special
}

// Served writes the rows of an answer that was written whole, with one write.
func (l *Log) Served(tenant, source string, request uint64, rows []Row) {
	if l.w == nil || len(rows) == 0 {
		return
	}
	at := l.clock().UTC().Format(time.RFC3339Nano)
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buf[:0]
	for i := range rows {
		r := &rows[i]
		kind, special := "served", r.Kind
		if special == "" && r.Claims != "" {
			special = "unnamed" // the tenant's own, and the judge looks for the mark
		}
		if special != "" {
			kind = "row"
		}
		b = fmt.Appendf(b, `{"t":%q,"at":%q,"tenant":%q,"source":%q,"id":%s,"rev":%d,"changed":%s,"sha256":"%x","request":%d,"page_rows":%d`,
			kind, at, tenant, source, quote(r.ID), r.Rev, quote(r.Changed), r.Sum, request, len(rows))
		if special != "" {
			b = fmt.Appendf(b, `,"kind":%q,"claims":%s`, special, quote(r.Claims))
		}
		b = append(b, '}', '\n')
	}
	l.write(b)
	l.buf = b
}

func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(strconv.Quote("?"))
	}
	return b
}
