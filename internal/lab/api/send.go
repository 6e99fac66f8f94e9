package api

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

// send writes a whole body, or what a fault makes of it. Rows count as shown
// only when the answer went out whole and can be read.
func (q *request) send(status int, body []byte) {
	h := q.w.Header()
	h.Set("Content-Type", "application/json; odata.metadata=minimal; charset=utf-8")
	if q.source == estate.SIEM {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	if f, ok := q.has(fault.ContentType); ok {
		h.Set("Content-Type", f.Value)
	}
	q.status = status
	if f, ok := q.has(fault.BigPage); ok {
		q.sendBig(status, body, f)
		return
	}
	body = q.spoil(body)
	if body = q.encode(body); q.sendBroken(status, body) {
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.w.WriteHeader(status)
	if _, err := q.w.Write(body); err != nil {
		return
	}
	// Out of our hands is not yet in the client's, but no error is seen before.
	q.told = http.NewResponseController(q.w).Flush() == nil
}

// spoil changes the text of an answer that is sent whole.
func (q *request) spoil(body []byte) []byte {
	if _, ok := q.has(fault.BOM); ok { // behind which the text is whole
		body = append([]byte("\xef\xbb\xbf"), body...)
	}
	whole := len(body)
	if _, ok := q.has(fault.Trailing); ok {
		body = append(body, " junk"...)
	}
	if _, ok := q.has(fault.TwoValues); ok {
		body = append(body, body...)
	}
	if f, ok := q.has(fault.Truncated); ok {
		body = body[:part(f, len(body))]
	}
	if len(body) != whole {
		q.rows = nil
	}
	return body
}

// part is how much of n bytes a fault lets through.
func part(f fault.Rule, n int) int {
	if f.Value == "bytes" {
		return min(max(f.Param, 0), n)
	}
	return min(max(n*f.Param/1000, 0), n)
}

// encode compresses for those who take it, or as a fault wants it.
func (q *request) encode(body []byte) []byte {
	h := q.w.Header()
	if f, ok := q.has(fault.Encoding); ok {
		q.rows = nil
		h.Set("Content-Encoding", "gzip")
		switch f.Value {
		case "nested":
			return zipped(zipped(body))
		case "junk":
			return append(zipped(body), "junk"...)
		case "plain":
			return body
		}
		h.Set("Content-Encoding", "br")
		return body
	}
	if _, ok := q.has(fault.GzipBomb); ok {
		q.rows = nil
		h.Set("Content-Encoding", "gzip")
		return bomb()
	}
	if strings.Contains(q.r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		h.Set("Vary", "Accept-Encoding")
		return zipped(body)
	}
	return body
}

// bomb is 512 MB of zeros as gzip.
var bomb = sync.OnceValue(func() []byte { return zeros(512) })

// zeros is so many MB of zeros as gzip. A piece of deflate between two flushes
// can be repeated where all that it refers to is zeros, so one is made, not all.
func zeros(mb int) []byte {
	var z bytes.Buffer
	w, _ := flate.NewWriter(&z, flate.DefaultCompression)
	mega, crc := make([]byte, 1<<20), crc32.NewIEEE()
	piece := func() []byte {
		from := z.Len()
		_, _ = w.Write(mega)
		_ = w.Flush()
		return z.Bytes()[from:]
	}
	out := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
	out = append(out, piece()...)
	again := bytes.Clone(piece())
	for range mb - 1 {
		out = append(out, again...)
	}
	from := z.Len()
	_ = w.Close()
	out = append(out, z.Bytes()[from:]...)
	for range mb {
		_, _ = crc.Write(mega)
	}
	out = binary.LittleEndian.AppendUint32(out, crc.Sum32())
	return binary.LittleEndian.AppendUint32(out, uint32(mb)<<20) //nolint:gosec // the format counts modulo 2^32
}

func zipped(body []byte) []byte {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	_, _ = w.Write(body)
	_ = w.Close()
	return z.Bytes()
}

// sendBroken deals the faults that end a connection, or nearly; true when one
// was dealt.
func (q *request) sendBroken(status int, body []byte) bool {
	h := q.w.Header()
	if f, ok := q.has(fault.Cut); ok {
		q.rows = nil
		h.Set("Content-Length", strconv.Itoa(len(body)))
		n := part(f, len(body))
		if n == len(body) { // all of it would be an answer
			n--
		}
		q.begun(status, body[:n])
		panic(http.ErrAbortHandler)
	}
	if f, ok := q.has(fault.Hang); ok && f.Param == 2 {
		q.rows = nil
		h.Set("Content-Length", strconv.Itoa(len(body)))
		q.begun(status, body[:len(body)/2])
		q.hang()
	}
	if _, ok := q.has(fault.Chunked); ok {
		q.rows = nil
		q.begun(status, body)
		panic(http.ErrAbortHandler)
	}
	if f, ok := q.has(fault.Drip); ok {
		q.drip(status, body, f)
		return true
	}
	return false
}

// begun writes the header and the beginning of a body at once.
func (q *request) begun(status int, body []byte) {
	q.w.WriteHeader(status)
	_, _ = q.w.Write(body)
	_ = http.NewResponseController(q.w).Flush()
}

// drip writes a byte at a time until it is done or the client gives up.
func (q *request) drip(status int, body []byte, f fault.Rule) {
	h := q.w.Header()
	h.Set("Content-Length", strconv.Itoa(len(body)))
	out, flush := io.Writer(q.w), func() error { return http.NewResponseController(q.w).Flush() }
	if f.Value == "header" {
		conn, _, err := http.NewResponseController(q.w).Hijack()
		if err != nil { // HTTP/2 has no bytes of a header
			q.rows = nil
			q.hang()
		}
		defer func() { _ = conn.Close() }()
		var head bytes.Buffer
		_, _ = head.WriteString("HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\nConnection: close\r\n")
		_ = h.Write(&head)
		_, _ = head.WriteString("\r\n")
		body = append(head.Bytes(), body...)
		out, flush = conn, func() error { return nil }
	} else {
		q.w.WriteHeader(status)
	}
	gap := time.NewTicker(time.Duration(max(f.Param, 1)) * time.Millisecond)
	defer gap.Stop()
	for i := range body {
		if _, err := out.Write(body[i : i+1]); err != nil || flush() != nil {
			q.rows = nil
			return
		}
		select {
		case <-gap.C:
		case <-q.r.Context().Done():
			q.rows = nil
			return
		}
	}
	q.told = true
}

// sendBig writes a body that is still whole JSON and has so many MiB.
func (q *request) sendBig(status int, body []byte, f fault.Rule) {
	size := f.Param << 20
	if size <= 0 {
		size = 64 << 20
	}
	q.rows = nil
	q.w.WriteHeader(status)
	// The rows stand between the last "value":[ and the end; a bare array begins
	// with its first byte.
	from, end := 1, len(body)-1
	if body[0] == '{' {
		from, end = bytes.Index(body, []byte(`"value":[`))+len(`"value":[`), len(body)-2
	}
	rows := body[from:end]
	_, _ = q.w.Write(body[:end])
	pad := bytes.Repeat([]byte(" "), 1<<16)
	if f.Value == "rows" && len(rows) > 0 {
		pad = append([]byte(","), rows...)
	}
	for n := len(body); n < size; n += len(pad) {
		if _, err := q.w.Write(pad); err != nil {
			return
		}
	}
	_, _ = q.w.Write(body[end:])
}
