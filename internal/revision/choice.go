package revision

import (
	"time"

	"drover"
)

// Choice says which revisions of an alert a sink is given.
type Choice string

// The choices, by their names in the config. An empty one is All.
const (
	All       Choice = "all"        // each
	NoTouches Choice = "no_touches" // each but those in which nothing changed but the change time
	Created   Choice = "created"    // the first of each alert
	Settled   Choice = "settled"    // those behind which the alert rested, and the last of each hour
)

// Choices lists them in the order of how much they give.
var Choices = []Choice{All, NoTouches, Created, Settled}

// Takes reports whether a revision is given, as far as the revision alone says
// it. For Settled that is not all: see Outrun.
func (c Choice) Takes(r *drover.Revision) bool {
	switch c {
	case NoTouches:
		return !r.Flags.Has(drover.Touch)
	case Created:
		return r.Previous == 0
	}
	return true
}

// Quiet is for how long an alert must have shown nothing new until it counts as
// settled.
const Quiet = 10 * time.Minute

// Unseen is how long a tenant's primary source has to show an alert that a
// secondary one tells, from when that was stored: as deep as the sweeps go that
// find what shows late. What it has not shown by then is told by the other.
const Unseen = 48 * time.Hour

// hour bounds how long an alert that never rests is not told.
const hour = drover.Instant(time.Hour / drover.Tick)

// Outrun reports whether Settled passes a state over: it was stored at one
// moment, and the next state of the same alert at another that lies less than
// Quiet behind it and in the same hour of UTC. So of an alert that never rests
// the last state of each hour is given. Of the states of an alert the newest is
// never passed over: it has no next one.
func Outrun(at, next drover.Instant) bool {
	return next.Sub(at) < Quiet && slot(at) == slot(next)
}

// slot numbers the hours.
func slot(i drover.Instant) drover.Instant {
	if i < 0 {
		return (i - hour + 1) / hour
	}
	return i / hour
}
