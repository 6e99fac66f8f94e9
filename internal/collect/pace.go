package collect

import "time"

// pace is how often a feed's tail is read: soon again after new rows, as more
// tend to follow and an alert is changed most in its first minutes; ever more
// rarely where nothing happens.
type pace struct {
	every time.Duration // between the last read and the next
	empty int           // reads in a row that brought nothing new
}

const (
	quickest  = 4               // times as often as the interval says, after new rows
	quickLeft = 5 * time.Second // no read follows another sooner, unless the interval says so
	idleAfter = 10              // empty reads, before they become rarer
	slowest   = 2               // times the interval, at last
)

// next is how long to wait after a read that brought fresh new rows. Without
// room in the budget nothing is read sooner than the interval says.
func (p *pace) next(interval time.Duration, fresh int, room bool) time.Duration {
	quick := min(max(interval/quickest, quickLeft), interval)
	switch {
	case fresh > 0:
		p.every, p.empty = quick, 0
	case p.every == 0:
		p.every = interval
	case p.every < interval:
		p.every = min(2*p.every, interval)
	default:
		if p.empty++; p.empty >= idleAfter {
			p.every = min(p.every*5/4, slowest*interval)
		}
	}
	if !room {
		return max(p.every, interval)
	}
	return p.every
}
