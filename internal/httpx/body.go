package httpx

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"drover/internal/freelist"
)

// nopCloser is a body in memory.
type nopCloser struct{ io.Reader }

func (nopCloser) Close() error { return nil }

// pace tells a trickle from an answer: each stretch of time must bring some
// bytes.
type pace struct {
	r    io.Reader
	came atomic.Int64

	mu    sync.Mutex
	timer *time.Timer // nil once stopped
}

// newPace calls stall when a stretch of d brings fewer than least bytes.
func newPace(r io.Reader, least int64, d time.Duration, stall func()) *pace {
	p := &pace{r: r}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.timer == nil:
		case p.came.Swap(0) < least:
			stall()
		default:
			p.timer.Reset(d)
		}
	})
	return p
}

func (p *pace) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Stop()
	p.timer = nil
}

func (p *pace) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.came.Add(int64(n))
	return n, err
}

// A body's first buffer.
const (
	firstBuffer = 16 << 10
	maxExpected = 8 << 20 // believed of a Content-Length before anything has come
)

var (
	buffers = freelist.List{Most: 3, Largest: 4 << 20} // 12 MiB at the very most
	readers = sync.Pool{New: func() any { return new(gzip.Reader) }}
	inputs  = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 32<<10) }}
)

// readBody reads and decodes the body whole into a buffer of the pool.
func readBody(res *http.Response, in io.Reader, limit int64) (body []byte, buf *[]byte, err error) {
	expect := max(res.ContentLength, 0)
	buf = buffers.Get(expect)
	defer func() {
		if err != nil {
			*buf = (*buf)[:0]
			buffers.Put(buf)
			body, buf = nil, nil
		}
	}()
	switch strings.ToLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ","))) {
	case "", "identity":
		if expect > limit {
			return nil, buf, ErrTooLarge
		}
		body, err = readAll(in, sized(*buf, expect), limit)
		return body, buf, err
	case "gzip":
		body, err = unzip(in, sized(*buf, 4*min(expect, limit)), limit)
		return body, buf, err
	}
	return nil, buf, ErrEncoding
}

// sized returns b, or a new buffer if b does not hold what is expected.
func sized(b []byte, expect int64) []byte {
	// One byte more lets the end be seen without growing.
	switch n := min(expect, maxExpected) + 1; {
	case expect == 0 && cap(b) == 0:
		return make([]byte, 0, firstBuffer)
	case n > int64(cap(b)):
		return make([]byte, 0, max(n, 512))
	}
	return b[:0]
}

// unzip decodes one gzip stream with nothing behind it. An empty body is
// empty, whatever its header says.
func unzip(in io.Reader, buf []byte, limit int64) ([]byte, error) {
	// Packed text is never longer than the text and a little more.
	src := inputs.Get().(*bufio.Reader)
	src.Reset(io.LimitReader(in, limit+limit/8+1024))
	defer func() { src.Reset(nil); inputs.Put(src) }()
	switch _, err := src.Peek(1); err {
	case nil:
	case io.EOF:
		return buf, nil
	default:
		return nil, err
	}
	z := readers.Get().(*gzip.Reader)
	defer readers.Put(z)
	if err := z.Reset(src); err != nil {
		return nil, encodingError(err)
	}
	z.Multistream(false)
	body, err := readAll(z, buf, limit)
	if err != nil {
		return nil, encodingError(err)
	}
	if _, err := src.ReadByte(); err == nil {
		return nil, ErrEncoding // something behind the end
	} else if err != io.EOF {
		return nil, err
	}
	return body, nil
}

// encodingError tells a stream that is no gzip from one that broke off.
func encodingError(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return ErrEncoding
	}
	if strings.HasPrefix(err.Error(), "flate: ") {
		return ErrEncoding
	}
	return err
}

// readAll reads in to its end into buf, at most limit bytes.
func readAll(in io.Reader, buf []byte, limit int64) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			// Doubled, but never far beyond what may come.
			bigger := make([]byte, len(buf), min(2*int64(cap(buf))+512, limit+512))
			copy(bigger, buf)
			buf = bigger
		}
		n, err := in.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, ErrTooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
