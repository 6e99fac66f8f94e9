package collect

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"drover"
	"drover/internal/proof"
)

// rhythm makes the change times of a feed's rows.
type rhythm func(rng *rand.Rand, perDay float64) func(after time.Time) time.Time

var rhythms = map[string]rhythm{
	"by chance": func(rng *rand.Rand, perDay float64) func(time.Time) time.Time {
		return func(t time.Time) time.Time { return t.Add(exponential(rng, perDay)) }
	},
	"in bursts": func(rng *rand.Rand, perDay float64) func(time.Time) time.Time {
		left := 0
		return func(t time.Time) time.Time {
			if left--; left >= 0 {
				return t.Add(time.Duration(rng.Float64() * float64(2*time.Minute)))
			}
			left = 1 + rng.IntN(14)
			return t.Add(exponential(rng, perDay/8))
		}
	},
	"in working hours": func(rng *rand.Rand, perDay float64) func(time.Time) time.Time {
		return func(t time.Time) time.Time {
			for {
				t = t.Add(exponential(rng, perDay*24/10))
				if h, d := t.Hour(), t.Weekday(); h >= 8 && h < 18 && d != time.Saturday && d != time.Sunday {
					return t
				}
				if rng.IntN(50) == 0 { // somebody works late
					return t
				}
			}
		}
	},
}

func exponential(rng *rand.Rand, perDay float64) time.Duration {
	return time.Duration(-math.Log(1-rng.Float64()) / perDay * float64(24*time.Hour))
}

func TestAFeedThatFallsSilentIsShownInTimeAndAlmostNeverFalsely(t *testing.T) {
	const feeds, days, floor = 120, 365, 15 * time.Minute
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, r := range rhythms {
		rng := rand.New(rand.NewPCG(39, uint64(len(name))))
		falsely, armed, unarmed, armedDays, worst := 0, 0, 0, 0.0, 0.0
		for n := range feeds {
			perDay := math.Pow(10, -0.5+2.5*float64(n)/feeds) // a row in three days, to a hundred a day
			next := r(rng, perDay)
			var p pulse
			for at := next(begin); at.Before(begin.AddDate(0, 0, days)); {
				p.beat(drover.InstantOf(at))
				then := next(at)
				if _, ok := p.usual(floor); ok {
					armedDays += then.Sub(at).Hours() / 24
				}
				if _, _, yes := p.silent(drover.InstantOf(then), floor); yes {
					falsely++
				}
				at = then
			}
			// From here on the token sees nothing: it is looked every minute.
			usual, ok := p.usual(floor)
			if !ok {
				unarmed++
				continue
			}
			armed++
			now := p.last.Time()
			for yes := false; !yes; _, _, yes = p.silent(drover.InstantOf(now), floor) {
				now = now.Add(time.Minute)
			}
			worst = max(worst, float64(now.Sub(p.last.Time())-time.Minute)/float64(usual))
		}
		per1000 := 1000 * float64(falsely) / (feeds * days)
		if per1000 >= 1 || 1000*float64(falsely)/armedDays >= 1 {
			t.Errorf("rows %s: %d false alarms in %.0f feed-days that were watched", name, falsely, armedDays)
		}
		if worst > silences || armed < feeds/2 {
			t.Errorf("rows %s: shown after %.2f times the usual silence; %d of %d feeds are watched", name, worst, armed, feeds)
		}
		proof.Ran(t, "P39", "rows %s: shown within %.2f times the usual silence; %d false alarms in %.0f watched feed-days (%.2f per 1,000); %d of %d feeds too quiet to be watched", name, worst, falsely, armedDays, 1000*float64(falsely)/armedDays, unarmed, feeds)
	}
}

func TestAnOutageIsNotUsualUntilItHappensAgainAndAgain(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var p pulse
	at := begin
	for range 24 * 30 {
		at = at.Add(time.Hour)
		p.beat(drover.InstantOf(at))
	}
	if usual, ok := p.usual(0); !ok || usual != time.Hour {
		t.Fatalf("usual %s, %v", usual, ok)
	}
	at = at.Add(72 * time.Hour)
	p.beat(drover.InstantOf(at))
	if usual, _ := p.usual(0); usual != 2*time.Hour {
		t.Errorf("after an outage of three days %s are usual", usual)
	}
	for range 5 {
		at = at.Add(72 * time.Hour)
		p.beat(drover.InstantOf(at))
	}
	if usual, _ := p.usual(0); usual < 60*time.Hour {
		t.Errorf("a feed that has become quiet: %s are usual", usual)
	}
	for range 24 * 30 * 7 {
		at = at.Add(time.Hour)
		p.beat(drover.InstantOf(at))
	}
	if usual, _ := p.usual(0); usual != time.Hour {
		t.Errorf("half a year later %s are usual", usual)
	}
}

func TestACalendarTakesRowsInAnyOrder(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rng := rand.New(rand.NewPCG(1, 2))
	var c calendar
	var times []time.Time
	for n := range 24 * 60 {
		times = append(times, begin.Add(time.Duration(n)*time.Hour))
	}
	var p pulse
	for _, at := range times {
		p.beat(drover.InstantOf(at))
	}
	rng.Shuffle(len(times), func(i, j int) { times[i], times[j] = times[j], times[i] })
	for _, at := range times {
		c.mark(drover.InstantOf(at.Add(17 * time.Second)))
	}
	if got := c.pulse(); *got != p {
		t.Errorf("got %+v, want %+v", got, p)
	}
	c.mark(drover.InstantOf(begin.AddDate(2, 0, 0)))
	c.mark(drover.InstantOf(begin))
	if got := c.pulse(); got.first != got.last || got.last != drover.InstantOf(begin.AddDate(2, 0, 0)) {
		t.Errorf("two years later: %s to %s", got.first, got.last)
	}
}
