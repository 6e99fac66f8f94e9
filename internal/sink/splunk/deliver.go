package splunk

import (
	"context"
	"errors"
	"net/http"
	"time"

	"drover"
)

// Deliver sends the batch in requests that fit, in order.
func (s *Sink) Deliver(ctx context.Context, b drover.Batch) (drover.Taken, error) {
	s.mu.Lock()
	l := s.lanes[b.Lane]
	s.mu.Unlock()
	if l == nil {
		return drover.Taken{}, &drover.Error{Op: sendOp, Kind: drover.Denied, Err: errors.New("the lane belongs to no tenant of this configuration"), Hint: "start drover again"}
	}
	d := &delivery{s: s, l: l, recs: b.Records}
	err := d.run(ctx)
	return d.taken, err
}

// delivery sends one batch. Everything before taken.N is done.
type delivery struct {
	s     *Sink
	l     *lane
	recs  []drover.Record
	taken drover.Taken
	most  int // records of the next request at most; 0: as many as fit
	// suspect is the size of a request that Splunk called malformed at its
	// first event. It was too large, or that event is: its fate alone tells.
	suspect int
}

func (d *delivery) run(ctx context.Context) error {
	for d.taken.N < len(d.recs) {
		if d.s.opt.Ack {
			if err := d.s.probe(ctx, d.l); err != nil {
				return err
			}
		}
		if err := sleep(ctx, time.Until(d.l.slow)); err != nil {
			return err
		}
		n, body := d.request()
		a, err := d.s.post(ctx, d.l, "/event", body)
		if err != nil {
			return err
		}
		if err := d.judge(ctx, a, n, len(body)); err != nil {
			return err
		}
	}
	return nil
}

// request puts together the next records that fit, at least one.
func (d *delivery) request() (n int, body []byte) {
	for i := d.taken.N; i < len(d.recs) && (d.most == 0 || n < d.most); i++ {
		mark := len(body)
		body = d.l.event(body, &d.recs[i])
		if n > 0 && len(body) > d.l.limit {
			return n, body[:mark]
		}
		n++
	}
	return n, body
}

// slowDown is how long a lane waits when Splunk has taken a request and says
// that it will not take many more.
const slowDown = time.Second

// judge books what an answer to n records of size bytes says. Without an error
// the delivery goes on, though nothing may have been taken.
func (d *delivery) judge(ctx context.Context, a *answer, n, size int) error {
	switch {
	case a.taken():
		if a.is(24, 25) {
			d.l.slow = time.Now().Add(slowDown)
		}
		if d.s.opt.Ack {
			if err := d.s.confirm(ctx, d.l, a.AckID); err != nil {
				return err
			}
		}
		if d.suspect > 0 {
			d.learn(d.suspect)
		}
		d.done(n)
		return nil
	case a.status == http.StatusRequestEntityTooLarge && n == 1:
		d.refuse("larger than this Splunk takes")
		return nil
	case a.status == http.StatusRequestEntityTooLarge:
		d.learn(size)
		return nil
	case a.status == http.StatusBadRequest && a.is(6, 12, 13, 15), a.status == http.StatusBadRequest && a.is(5) && a.Invalid != nil:
		return d.malformed(ctx, a, n, size)
	case a.status == http.StatusBadRequest && a.is(7):
		return d.wrongIndex(ctx, a, n)
	}
	return a.failure(sendOp)
}

// done moves over n records that are in.
func (d *delivery) done(n int) {
	d.taken.N += n
	d.most, d.suspect = 0, 0
}

// refuse sets the next record aside.
func (d *delivery) refuse(why string) {
	d.taken.Refused = append(d.taken.Refused, drover.Refusal{Index: d.taken.N, Reason: why})
	d.done(1)
}

// learn sets the lane's limit to half of a request that was too large. It
// stays until drover starts again. A record goes alone whatever the limit.
func (d *delivery) learn(size int) { d.l.limit = size / 2 }

// malformed handles 400 about one event: those before the numbered one are in,
// the numbered one never will be, those behind it were not looked at.
func (d *delivery) malformed(ctx context.Context, a *answer, n, size int) error {
	at := -1
	if a.Invalid != nil && *a.Invalid >= 0 && *a.Invalid < n {
		at = *a.Invalid
	}
	why := "Splunk: " + a.String()
	switch {
	case at < 0 && n == 1:
		d.refuse(why)
	case at < 0:
		// What is in is not known: the halves tell, at the price of repeats.
		d.most = n / 2
	case at == 0 && n > 1 && a.is(6):
		// Splunk Cloud says this of a body that is too large.
		d.suspect, d.most = size, 1
	case at > 0 && d.s.opt.Ack && a.AckID == nil:
		// Nothing to ask by for those before it: sent alone they get an ID.
		d.most = at
	default:
		if at > 0 && d.s.opt.Ack {
			if err := d.s.confirm(ctx, d.l, a.AckID); err != nil {
				return err
			}
		}
		d.done(at)
		d.refuse(why)
	}
	return nil
}

// wrongIndex books the events before the bad one, which is the one before the
// numbered one, and parks the lane.
func (d *delivery) wrongIndex(ctx context.Context, a *answer, n int) error {
	if a.Invalid != nil && *a.Invalid > 1 && *a.Invalid <= n && (!d.s.opt.Ack || a.AckID != nil) {
		if d.s.opt.Ack {
			if err := d.s.confirm(ctx, d.l, a.AckID); err != nil {
				return err
			}
		}
		d.done(*a.Invalid - 1)
	}
	return a.failure(sendOp)
}
