package collect

import (
	"context"
	"fmt"
	"math"
	"time"

	"drover"
	"drover/internal/ledger"
)

// LatenessBounds are the upper bounds of the histogram's classes; a last one
// holds what is later still.
var LatenessBounds = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour}

// Lateness is how late rows of a feed showed, as far as this process has seen:
// rows that an earlier whole read of their time did not hold. How late is
// counted up to the newest time that had been read, so it is at most that.
type Lateness struct {
	Rows  int64 // new ones, late or not, of the tail and sweeps
	Late  int64
	Most  time.Duration
	Sum   time.Duration
	Class [len(LatenessBounds) + 1]int64
	// Alarm says that there are many more than usual, or that they come close
	// to being out of reach, and what to do; empty if neither.
	Alarm string
}

// lateRows is what is seen of late rows of a feed.
type lateRows struct {
	Lateness
	judged time.Time // when it was last compared with what is usual
}

func (l *Lateness) add(late time.Duration) {
	l.Late++
	l.Sum += late
	l.Most = max(l.Most, late)
	for i, bound := range LatenessBounds {
		if late <= bound {
			l.Class[i]++
			return
		}
	}
	l.Class[len(LatenessBounds)]++
}

// within is the bound within which a share of the late rows came.
func (l *Lateness) within(share float64) time.Duration {
	n := int64(0)
	for i, bound := range LatenessBounds {
		if n += l.Class[i]; float64(n) >= share*float64(l.Late) {
			return bound
		}
	}
	return l.Most
}

const (
	// latenessEvery is how often a feed with late rows is compared with itself.
	latenessEvery = time.Hour
	// Days of the ledger's counts that are compared: the last ones with those
	// before, of which there must be some.
	latenessRecent = 2
	latenessBefore = 28
	latenessNeeds  = 7
	// latenessLeast late rows are no alarm, however unusual.
	latenessLeast = 10
)

// jumped reports whether late among rows is far more than usualLate among
// usualRows makes expect: four times as many, and six standard deviations.
func jumped(late, rows, usualLate, usualRows int64) bool {
	expect := float64(usualLate+1) / float64(usualRows+1) * float64(rows)
	n := float64(late)
	return late >= latenessLeast && n > 4*expect && n > expect+6*math.Sqrt(expect+1)
}

// judgeLateness compares a feed's late rows with its own history, and sets or
// takes back its alarm.
func (r *reader) judgeLateness(ctx context.Context) error {
	counts, err := r.c.opt.Store.Counts(ctx, r.feed.Tenant)
	if err != nil {
		return err
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	var rows, late [2]int64 // recently, before
	days := make(map[string]bool)
	for _, d := range counts {
		day, err := time.Parse(time.DateOnly, d.Day)
		age := int(today.Sub(day) / (24 * time.Hour))
		if err != nil || d.Source != r.feed.Source || d.Sink != "" || age < 0 || age >= latenessRecent+latenessBefore {
			continue
		}
		when := 0
		if age >= latenessRecent {
			when = 1
		}
		switch d.What {
		case "revisions":
			rows[when] += d.N
			days[d.Day] = days[d.Day] || when == 1
		case "late":
			late[when] += d.N
		}
	}
	usual := 0
	for _, before := range days {
		if before {
			usual++
		}
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	l, alarm := r.watch.late, ""
	switch {
	case l.Most > r.deepest()/2:
		alarm = fmt.Sprintf("rows show up to %s late and no sweep looks back further than %s: add a deeper one under collect: sweeps:", l.Most.Round(time.Minute), r.deepest())
	case usual >= latenessNeeds && jumped(late[0], rows[0], late[1], rows[1]):
		alarm = fmt.Sprintf("%d of %d rows of the last %d days showed late, before that %d of %d: ", late[0], rows[0], latenessRecent, late[1], rows[1])
		if w := l.within(0.99); w <= time.Hour {
			alarm += fmt.Sprintf("nearly all within %s; to have them earlier, set collect: overlap: to that", w)
		} else {
			alarm += fmt.Sprintf("nearly all within %s; to have them earlier, sweep that depth more often under collect: sweeps:", w)
		}
	}
	l.judged = time.Now()
	if alarm != "" && l.Alarm == "" {
		r.c.log.Warn("rows show late more than usual", "feed", r.feed, "hint", alarm)
		r.c.notify(Event{Feed: r.feed, What: "lateness", N: 1})
	} else if alarm == "" && l.Alarm != "" {
		r.c.log.Info("rows show late no more than usual", "feed", r.feed)
		r.c.notify(Event{Feed: r.feed, What: "lateness_over", N: 1})
	}
	l.Alarm = alarm
	return nil
}

// seeLate takes note of new rows of the tail and of sweeps, and says whether it
// is time to compare them with what is usual.
func (r *reader) seeLate(run *run, c *ledger.Commit) {
	if run.purpose == readHistory || run.purpose == readGap || len(c.Revisions) == 0 {
		return
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	if r.watch.late == nil {
		r.watch.late = new(lateRows)
	}
	for i := range c.Revisions {
		r.watch.late.Rows++
		if rev := &c.Revisions[i]; rev.Flags.Has(drover.Late) {
			r.watch.late.add(run.lateBelow.Sub(rev.Changed))
		}
	}
}

// latenessDue reports whether late rows are to be compared with what is usual.
func (r *reader) latenessDue() bool {
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	l := r.watch.late
	return l != nil && l.Late > 0 && time.Since(l.judged) >= latenessEvery
}
