package coverage

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"drover"
)

const hour = time.Hour

var testStart = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func alertAt(source string, at time.Time) *drover.Revision {
	return &drover.Revision{AlertID: "x", Created: drover.InstantOf(at), Changed: drover.InstantOf(at.Add(hour)), Raw: []byte(`{"serviceSource":"` + source + `"}`)}
}

func month(s drover.SourceID) *Tally {
	from := drover.InstantOf(testStart)
	return NewTally(s, from, from.Add(30*24*hour))
}

func TestAnAlertCountsOnceWhenItIsNewAndOfTheSpan(t *testing.T) {
	tally := month(drover.GraphAlerts)
	add := func(change func(*drover.Revision)) {
		r := alertAt("microsoftSentinel", testStart.Add(hour))
		change(r)
		tally.Add(r)
	}
	add(func(*drover.Revision) {})
	add(func(r *drover.Revision) { r.Previous = 7 })
	add(func(r *drover.Revision) { r.Created = drover.InstantOf(testStart).Add(-time.Second) })
	add(func(r *drover.Revision) { r.Created = drover.NoInstant }) // by its change time
	add(func(r *drover.Revision) { r.Created, r.Changed = drover.NoInstant, drover.NoInstant })
	add(func(r *drover.Revision) { r.Created = drover.InstantOf(testStart.AddDate(1, 0, 0)) }) // a wrong clock
	seen := tally.Seen()
	if len(seen) != 1 || seen[0].Alerts != 3 || seen[0].Product != "sentinel" || seen[0].Newest != drover.InstantOf(testStart.AddDate(1, 0, 0)) {
		t.Errorf("%+v", seen)
	}
	siem := month(drover.SIEMDetections)
	siem.Add(&drover.Revision{AlertID: "x", Created: drover.InstantOf(testStart.AddDate(0, 0, -9)), Changed: drover.InstantOf(testStart.Add(hour)), Raw: []byte(`{"Source":"EDR"}`)})
	if seen := siem.Seen(); len(seen) != 1 || seen[0].Newest != drover.InstantOf(testStart.Add(hour)) {
		t.Errorf("a detection of an old event that shows now: %+v", seen)
	}
}

func TestTheOrderOfRevisionsDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var list []*drover.Revision
	for range 500 {
		list = append(list, alertAt([]string{"microsoftSentinel", "dataLossPrevention"}[r.IntN(2)], testStart.Add(time.Duration(r.Int64N(int64(30*24*hour))))))
	}
	count := func() []Seen {
		tally := month(drover.GraphAlerts)
		for _, r := range list {
			tally.Add(r)
		}
		return tally.Seen()
	}
	want := count()
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if got := count(); !reflect.DeepEqual(got, want) || len(got) != 2 || got[0].UsualGap == 0 {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestStrangersAreCountedByNameUpToABound(t *testing.T) {
	tally := month(drover.GraphAlerts)
	for n := range 1000 {
		tally.Add(alertAt(fmt.Sprintf("product %d\\u0007 %s", n, strings.Repeat("x", 99)), testStart))
	}
	seen := tally.Seen()
	all := 0
	for _, s := range seen {
		all += s.Alerts
		if len(s.Name) > maxName || strings.Contains(s.Name, "\a") {
			t.Errorf("%q", s.Name)
		}
	}
	if len(seen) != maxStrangers+1 || all != 1000 {
		t.Errorf("%d products, %d alerts", len(seen), all)
	}
}

// arrive makes gaps of arrivals at given hours.
func arrive(hours ...float64) (gaps []time.Duration) {
	slices.Sort(hours)
	tally := month(drover.GraphAlerts)
	for _, h := range hours {
		tally.Add(alertAt("microsoftSentinel", testStart.Add(time.Duration(h*float64(hour)))))
	}
	return tally.by["sentinel"].gaps()
}

// every so many hours from first to last.
func every(first, last, step float64) (list []float64) {
	for h := first; h <= last; h += step {
		list = append(list, h)
	}
	return list
}

// working hours of four weeks: an alert an hour from 8 to 18, Monday to Friday.
func working() (list []float64) {
	for d := range 28 {
		if d%7 < 5 {
			list = append(list, every(float64(d*24+8), float64(d*24+18), 1)...)
		}
	}
	return list
}

func TestTheUsualGapIsThatOfMostOfTheTime(t *testing.T) {
	burst := func(at float64) []float64 { return every(at, at+2, 0.01) }
	for name, tt := range map[string]struct {
		hours []float64
		want  time.Duration
	}{
		"one":                                   {every(0, 0, 1), 0},
		"too few to tell":                       {every(0, 150, 50), 0},
		"just enough":                           {every(0, 200, 50), 50 * hour},
		"too short a time to tell":              {every(0, 100, 1), 0},
		"every hour":                            {every(0, 600, 1), hour},
		"every three days":                      {every(0, 700, 72), 72 * hour},
		"bursts of 200 every three days":        {slices.Concat(burst(0), burst(72), burst(144), burst(216), burst(288), burst(360)), 70 * hour},
		"working hours: the weekend is usual":   {working(), 62 * hour},
		"every hour, and one outage of 5 days":  {slices.Concat(every(0, 300, 1), every(420, 700, 1)), hour},
		"one burst in a month and nothing else": {burst(10), 0},
	} {
		got := usual(arrive(tt.hours...))
		if d := got - tt.want; d < -slot || d > slot {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestPureChanceIsRarelyCalledSilence(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	const tries = 2000
	wrong := 0
	for range tries {
		// One in 40 hours by chance; is the pause at the end called silence?
		var hours []float64
		for h := 0.0; h < 720; h += r.ExpFloat64() * 40 {
			hours = append(hours, h)
		}
		pause := time.Duration((720 - hours[len(hours)-1]) * float64(hour))
		if silent(pause, usual(arrive(hours...))) {
			wrong++
		}
	}
	t.Logf("%d of %d", wrong, tries)
	if wrong > tries/40 {
		t.Errorf("%d of %d pauses by chance are called silence", wrong, tries)
	}
}
