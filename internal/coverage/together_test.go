package coverage

import (
	"fmt"
	"testing"
	"time"

	"drover"
)

// A product that is rare in each tenant is usual in all of them together: when it
// stops everywhere it is missed before any tenant's own pause is unusual.
func TestWhatIsRareInEachTenantIsMissedInAllOfThem(t *testing.T) {
	const span = 30 * 24 * hour
	type one struct {
		every, last time.Duration // an alert each so often, the last so long ago
		readTo      time.Duration // how long ago it has been read, up to then
	}
	rare := func(n int, last time.Duration) (list []one) { // one in 60 hours of each, one in 60/n of all
		for i := range n {
			list = append(list, one{60 * hour, last + time.Duration(i)*60*hour/time.Duration(n), 0})
		}
		return list
	}
	for name, tt := range map[string]struct {
		tenants []one
		silent  bool
	}{
		"they go on":                               {rare(5, hour), false},
		"all have stopped":                         {rare(5, 40*hour), true},
		"all have stopped, not for long":           {rare(5, 30*hour), false},
		"only two had it":                          {rare(2, 50*hour), false},
		"one still has it":                         {append(rare(5, 40*hour), one{60 * hour, 3 * hour, 0}), false},
		"they have not been read since":            {[]one{{60 * hour, 40 * hour, 39 * hour}, {60 * hour, 52 * hour, 39 * hour}, {60 * hour, 64 * hour, 39 * hour}, {60 * hour, 76 * hour, 39 * hour}, {60 * hour, 88 * hour, 39 * hour}}, false},
		"many, each hour, for a short while":       {[]one{{hour, 3 * hour, 0}, {hour, 3 * hour, 0}, {hour, 3 * hour, 0}}, false},
		"many, each hour, for longer than a night": {[]one{{hour, 5 * hour, 0}, {hour, 5 * hour, 0}, {hour, 5 * hour, 0}}, true},
		"one alert long ago in each is no custom":  {[]one{{span, 20 * 24 * hour, 0}, {span, 20 * 24 * hour, 0}, {span, 20 * 24 * hour, 0}}, false},
	} {
		var tenants []Tenant
		var all Together
		from := now.Add(-span)
		for i, o := range tt.tenants {
			tally := NewTally(drover.GraphAlerts, from, now)
			for at := now.Add(-o.last); at > from; at = at.Add(-o.every) {
				tally.Add(&drover.Revision{AlertID: fmt.Sprint(at), Created: at, Raw: []byte(`{"serviceSource":"microsoftSentinel"}`)})
			}
			all.Add(tally)
			x := Tenant{ID: drover.TenantID(fmt.Sprint(i)), From: from, Sources: []Source{{ID: drover.GraphAlerts, Answer: Open, ReadUpTo: now.Add(-o.readTo), Seen: tally.Seen()}}}
			x.Judge()
			if x.line("sentinel").Verdict != Covered {
				t.Errorf("%s: by itself tenant %d is %s", name, i, x.line("sentinel").Verdict)
			}
			tenants = append(tenants, x)
		}
		got := Everywhere(tenants, all.Seen())
		if (len(got) == 1) != tt.silent {
			t.Errorf("%s: %+v; together %+v", name, got, all.Seen())
			continue
		}
		for i := range tenants {
			if l := tenants[i].line("sentinel"); l.Everywhere != tt.silent || (l.Verdict == Silent) != tt.silent || tenants[i].Wrong() != tt.silent {
				t.Errorf("%s: tenant %d: %+v", name, i, l)
			}
		}
		if tt.silent && (got[0].Tenants != len(tenants) || got[0].Since != now.Add(-tt.tenants[0].last) || got[0].Together == 0 || got[0].Longest != 0) {
			t.Errorf("%s: %+v", name, got[0])
		}
	}
}
