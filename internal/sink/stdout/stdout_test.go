package stdout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"drover"
	"drover/internal/format"
	"drover/internal/proof"
	"drover/internal/sink/sinktest"
	"drover/internal/sink/stdout"
)

// ids lists the event IDs of a stream; it must be whole lines.
func ids(stream string) (out []string, err error) {
	if stream != "" && !strings.HasSuffix(stream, "\n") {
		return nil, errors.New("the last line is torn")
	}
	for line := range strings.Lines(stream) {
		id, ok := format.EventID([]byte(line))
		if !ok {
			return nil, fmt.Errorf("a line is no record: %.60q", line)
		}
		out = append(out, id)
	}
	return out, nil
}

func TestTheSuite(t *testing.T) {
	ran := func(t testing.TB, fault, figure string) { proof.Ran(t, fault, "%s", figure) }
	sinktest.Run(t, sinktest.Harness{Ran: ran, Open: func(*testing.T) sinktest.Target {
		var b bytes.Buffer
		return sinktest.Target{Sink: stdout.New(&b), OneLane: true, Records: func(string) ([]string, error) { return ids(b.String()) }}
	}})
}

// full is a stream that ends after some bytes.
type full struct {
	bytes.Buffer
	left int
	err  error
}

func (f *full) Write(b []byte) (int, error) {
	n := min(len(b), f.left)
	f.left -= n
	_, _ = f.Buffer.Write(b[:n])
	if n < len(b) {
		return n, f.err
	}
	return n, nil
}

func TestWhatIsNotWrittenWholeIsNotCounted(t *testing.T) {
	recs := sinktest.Records(sinktest.Tenants[0], 1, 5)
	size := 0
	for i := range recs {
		size += len(recs[i].Body) + 1
	}
	cut := 0
	for _, why := range []error{syscall.ENOSPC, syscall.EPIPE, io.ErrClosedPipe, nil} {
		for left := range size {
			w := &full{left: left, err: why}
			taken, err := stdout.New(w).Deliver(t.Context(), sinktest.Batch("stdout", recs, nil))
			if whole := strings.Count(w.String(), "\n"); taken.N != whole || drover.KindOf(err) != drover.Broken {
				t.Fatalf("%v after %d bytes: %d counted, %d whole lines, %v", why, left, taken.N, whole, err)
			}
			if why != nil && drover.HintOf(err) == "" {
				t.Fatalf("%v: no hint", err)
			}
			cut++
		}
	}
	proof.Ran(t, "D23", "stream cut at %d places: counted but not written whole 0", cut)
}

func TestAReaderThatStallsDoesNotHoldTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		s := stdout.New(w)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 2)
		for n := range 2 { // one in the write, one behind it
			recs := sinktest.Records(sinktest.Tenants[n], 1, 3)
			go func() {
				taken, err := s.Deliver(ctx, sinktest.Batch("stdout", recs, nil))
				if taken.N > 0 {
					err = fmt.Errorf("%d counted", taken.N)
				}
				result <- err
			}()
			synctest.Wait()
		}
		cancel()
		for range 2 {
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		// The write under way is let go, and the stream can be used again.
		go func() { _, _ = io.Copy(io.Discard, r) }()
		if _, err := s.Deliver(t.Context(), sinktest.Batch("stdout", sinktest.Records(sinktest.Tenants[0], 1, 3), nil)); err != nil {
			t.Error(err)
		}
		_ = r.Close()
	})
}
