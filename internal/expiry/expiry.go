// Package expiry says when something that ends must be spoken of: a client
// secret, a certificate. It promises that each threshold of each thing is said
// once in the life of a process (reference faults T08, D07).
package expiry

import (
	"fmt"
	"sync"
	"time"
)

const day = 24 * time.Hour

// Thresholds, in days that are left. What somebody of ours must renew by hand
// is said early; what a receiver's owner must renew, a month ahead. A sign-in is
// renewed by drover itself, so that something is wrong when any is reached.
var (
	Credential = []int{60, 30, 7, 0}
	Server     = []int{30, 7, 0}
	SignIn     = []int{30, 10, 0} // of 90 days: after 60, and after 80
)

// SignInAlarm is how many days before its end a sign-in's end is an alarm.
const SignInAlarm = 10

// Item is one thing that ends.
type Item struct {
	What  string    // in words: the client secret of app default
	ID    string    // tells it from its successor; never the secret itself
	Until time.Time // from then on it does not work; zero: nobody has said
	Hint  string    // what to do about it
	Days  []int     // its thresholds, falling
	Alarm int       // so many days before it is as bad as if it had ended; 0: only then
}

// Reached returns the lowest threshold that has been reached at a time.
func (i Item) Reached(now time.Time) (days int, ok bool) {
	if i.Until.IsZero() {
		return 0, false
	}
	for _, d := range i.Days {
		if i.Until.Sub(now) <= time.Duration(d)*day {
			days, ok = d, true
		}
	}
	return days, ok
}

// Ended reports whether it does not work any more.
func (i Item) Ended(now time.Time) bool { return !i.Until.IsZero() && !now.Before(i.Until) }

// Alarming reports whether it has ended, or is so near to it that somebody must
// act at once.
func (i Item) Alarming(now time.Time) bool {
	return !i.Until.IsZero() && i.Until.Sub(now) <= time.Duration(i.Alarm)*day
}

// Says puts it in words: when it ends, and in how many days.
func (i Item) Says(now time.Time) string {
	date := i.Until.UTC().Format("2006-01-02 15:04Z")
	switch left := i.Until.Sub(now); {
	case i.Until.IsZero():
		return i.What + ": nobody has said when it ends"
	case left <= 0:
		return i.What + " has ended on " + date
	case left < day:
		return i.What + " ends within a day, on " + date
	case left < 2*day:
		return i.What + " ends in 1 day, on " + date
	default:
		return fmt.Sprintf("%s ends in %d days, on %s", i.What, left/day, date)
	}
}

// Watch remembers what has been said. The zero Watch is ready; it is safe for
// concurrent use.
type Watch struct {
	mu   sync.Mutex
	said map[string]int // by What and ID: the lowest threshold that was said
}

// Due returns those of the items that have reached a threshold which was not
// said yet. Of several that are reached at once only the lowest is said.
func (w *Watch) Due(now time.Time, items []Item) (due []Item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.said == nil {
		w.said = make(map[string]int)
	}
	for _, i := range items {
		key := i.What + "\x00" + i.ID
		d, ok := i.Reached(now)
		if before, said := w.said[key]; !ok || said && before <= d {
			continue
		}
		w.said[key] = d
		due = append(due, i)
	}
	return due
}
