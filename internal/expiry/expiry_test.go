package expiry

import (
	"slices"
	"testing"
	"time"
)

var end = time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)

func TestEachThresholdIsSaidOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		days  []int
		looks []int // hours before the end at which somebody looks
		want  []int // those at which something is said
	}{
		"every hour of a credential's last year": {Credential, count(365*24, -48), []int{60 * 24, 30 * 24, 7 * 24, 0}},
		"a server's":                             {Server, count(365*24, -48), []int{30 * 24, 7 * 24, 0}},
		"a start five days before":               {Credential, []int{120, 119, 24, 1, 0, -1}, []int{120, 0}},
		"a start when it has ended":              {Credential, []int{-1, -2, -100}, []int{-1}},
		"a clock that steps back":                {Credential, []int{100, 100 * 24, 100, 99}, []int{100}},
	} {
		t.Run(name, func(t *testing.T) {
			var w Watch
			var got []int
			for _, h := range tt.looks {
				due := w.Due(end.Add(-time.Duration(h)*time.Hour), []Item{{What: "secret", ID: "a", Until: end, Days: tt.days}})
				if len(due) > 0 {
					got = append(got, h)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("said %v hours before, want %v", got, tt.want)
			}
		})
	}
}

// count lists whole numbers downwards.
func count(from, to int) (list []int) {
	for n := from; n >= to; n-- {
		list = append(list, n)
	}
	return list
}

func TestASuccessorIsAnotherThing(t *testing.T) {
	var w Watch
	now := end.AddDate(0, 0, -5)
	first := Item{What: "secret of app a", ID: "1", Until: end, Days: Credential}
	successor, neighbour, endless := first, first, first
	successor.ID, neighbour.What, endless.What, endless.Until = "2", "secret of app b", "secret of app c", time.Time{}
	for _, tt := range []struct {
		items []Item
		want  int
	}{{[]Item{first, endless}, 1}, {[]Item{first, successor}, 1}, {[]Item{neighbour, first, successor}, 1}, {[]Item{neighbour, first, successor, endless}, 0}} {
		if got := w.Due(now, tt.items); len(got) != tt.want {
			t.Errorf("%v: said %v, want %d", tt.items, got, tt.want)
		}
	}
}

func TestItIsSaidInWords(t *testing.T) {
	i := Item{What: "the certificate of app a", Until: end, Days: Credential}
	for left, want := range map[time.Duration]string{
		60*day + time.Hour: "the certificate of app a ends in 60 days, on 2027-03-01 00:00Z",
		day + time.Hour:    "the certificate of app a ends in 1 day, on 2027-03-01 00:00Z",
		time.Hour:          "the certificate of app a ends within a day, on 2027-03-01 00:00Z",
		0:                  "the certificate of app a has ended on 2027-03-01 00:00Z",
	} {
		if got := i.Says(end.Add(-left)); got != want {
			t.Errorf("%v before: %q, want %q", left, got, want)
		}
		if i.Ended(end.Add(-left)) != (left == 0) {
			t.Errorf("%v before: ended is wrong", left)
		}
	}
	if got := (Item{What: "the secret"}).Says(end); got != "the secret: nobody has said when it ends" {
		t.Error(got)
	}
}
