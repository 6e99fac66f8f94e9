// Package stdout is the sink that writes records to a stream, one line each.
// What was written whole counts as taken; a stream that ends is the end of the
// process (reference faults-and-invariants D23).
package stdout

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"

	"drover"
)

// Sink writes lines.
type Sink struct {
	mu sync.Mutex
	w  io.Writer
}

// New returns a sink that writes to w.
func New(w io.Writer) *Sink { return &Sink{w: w} }

// Lane is the same for all: there is one stream.
func (s *Sink) Lane(drover.Tenant) string { return "stdout" }

// Deliver writes the batch with one call.
func (s *Sink) Deliver(_ context.Context, b drover.Batch) (drover.Taken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var buf []byte
	ends := make([]int, len(b.Records))
	for i := range b.Records {
		buf = append(append(buf, b.Records[i].Body...), '\n')
		ends[i] = len(buf)
	}
	n, err := s.w.Write(buf)
	taken := drover.Taken{}
	for taken.N < len(ends) && ends[taken.N] <= n {
		taken.N++
	}
	if err != nil {
		e := &drover.Error{Op: "write to standard output", Kind: drover.Broken, Err: err}
		if errors.Is(err, syscall.EPIPE) {
			e.Hint = "the reader of the pipe has ended"
		}
		return taken, e
	}
	return taken, nil
}

// Check says what is promised.
func (s *Sink) Check(context.Context) (string, error) {
	return "written to the stream; nothing confirms that it was read", nil
}

// Close does nothing: the stream is its owner's.
func (s *Sink) Close() error { return nil }
