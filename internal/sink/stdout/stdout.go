// Package stdout is the sink that writes records to a stream, one line each.
// What was written whole counts as taken; a stream that ends is the end of the
// process (reference faults-and-invariants D23). Nothing can be asked back, so
// a stop in the middle of a write may repeat its lines with the next start.
package stdout

import (
	"context"
	"errors"
	"io"
	"syscall"

	"drover"
)

// Sink writes lines.
type Sink struct {
	w io.Writer
	// free holds a value when nobody writes.
	free chan struct{}
}

// New returns a sink that writes to w.
func New(w io.Writer) *Sink {
	s := &Sink{w: w, free: make(chan struct{}, 1)}
	s.free <- struct{}{}
	return s
}

// Lane is the same for all: there is one stream.
func (s *Sink) Lane(drover.Tenant) string { return "stdout" }

// Deliver writes the batch with one call. A reader that has stalled blocks it
// until ctx ends; what is written from then on is not counted.
func (s *Sink) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	if err := ctx.Err(); err != nil || len(b.Records) == 0 {
		return drover.Taken{}, err
	}
	select {
	case <-s.free:
	case <-ctx.Done():
		return drover.Taken{}, ctx.Err()
	}
	// A copy: the records are written over once we have returned.
	var buf []byte
	ends := make([]int, len(b.Records))
	for i := range b.Records {
		buf = append(append(buf, b.Records[i].Body...), '\n')
		ends[i] = len(buf)
	}
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		n, err := s.w.Write(buf)
		if err == nil && n < len(buf) {
			err = io.ErrShortWrite
		}
		done <- outcome{n, err}
		s.free <- struct{}{}
	}()
	var o outcome
	select {
	case o = <-done:
	case <-ctx.Done():
		return drover.Taken{}, ctx.Err()
	}
	var taken drover.Taken
	for taken.N < len(ends) && ends[taken.N] <= o.n {
		taken.N++
	}
	if o.err != nil {
		return taken, failure(o.err)
	}
	return taken, nil
}

// failure ends the process: behind a torn line nothing can be written.
func failure(err error) error {
	e := &drover.Error{Op: "write to standard output", Kind: drover.Broken, Err: err}
	switch {
	case errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		e.Hint = "the reader of the pipe has ended"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Hint = "the disk behind it is full; a sink of type file survives that"
	}
	return e
}

// Check says what is promised.
func (s *Sink) Check(context.Context) (string, error) {
	return "written to the stream; nothing confirms that it was read", nil
}

// Close does nothing: the stream is its owner's.
func (s *Sink) Close() error { return nil }
