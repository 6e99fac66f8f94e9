package splunk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"drover"
)

const waitOp = "wait for Splunk's acknowledgement"

// probe asks for an acknowledgement that was never given, before the first
// events of a lane: a token that has them switched off says so, and nothing
// was sent that would have to be sent again.
func (s *Sink) probe(ctx context.Context, l *lane) error {
	if l.probed {
		return nil
	}
	a, err := s.post(ctx, l, "/ack", []byte(`{"acks":[0]}`))
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || a.Acks == nil {
		return a.failure(waitOp)
	}
	l.probed = true
	return nil
}

// confirm waits until Splunk says that a request is indexed. It says so once.
// A poll that got no answer, or one that may pass, is made again: sending the
// events again would repeat them for certain. When the one answer was lost, or
// the indexer forgot the ID, false comes back until AckWait ends.
func (s *Sink) confirm(ctx context.Context, l *lane, id *uint64) error {
	if id == nil {
		l.probed = false
		return &drover.Error{Op: waitOp, Kind: drover.Denied, Err: errors.New("the answer has no ackId"), Hint: ackIsOff}
	}
	key := strconv.FormatUint(*id, 10)
	body := []byte(`{"acks":[` + key + `]}`)
	end := time.Now().Add(s.opt.AckWait)
	said := errors.New("it says false")
	for pause := min(s.opt.AckEvery, 250*time.Millisecond); ; pause = min(2*pause, s.opt.AckEvery) {
		a, err := s.post(ctx, l, "/ack", body)
		switch {
		case err != nil:
		case a.status == http.StatusOK && a.Acks[key]:
			return nil
		case a.status != http.StatusOK || a.Acks == nil:
			err = a.failure(waitOp)
		}
		if err != nil {
			if k := drover.KindOf(err); ctx.Err() != nil || k != drover.Transient && k != drover.Throttled {
				return err
			}
			said = err
		}
		wait := max(pause, drover.WaitOf(err))
		if time.Until(end) < wait {
			return &drover.Error{Op: waitOp, Kind: drover.Transient, Err: fmt.Errorf("none came in %s: %w", s.opt.AckWait, said), Hint: "the events are sent again; they may be there twice, with the same drover.event_id"}
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
