package coverage

import (
	"os"
	"strings"
	"testing"
	"time"

	"drover"
)

var now = drover.InstantOf(testStart).Add(30 * 24 * hour)

// saw is a source that has brought alerts of Defender for Identity.
func saw(n int, newest time.Duration, gap time.Duration) Source {
	return Source{ID: drover.GraphAlerts, Answer: Open, ReadUpTo: now, Seen: []Seen{{Product: "defender_for_identity", Name: "Defender for Identity", Alerts: n, Newest: now.Add(-newest), UsualGap: gap}}}
}

func tenant(sources ...Source) Tenant {
	t := Tenant{Name: "contoso", State: drover.Active, From: drover.InstantOf(testStart), Sources: sources}
	t.Judge()
	return t
}

func (t *Tenant) line(id string) Line {
	for _, l := range t.Products {
		if l.Product == id {
			return l
		}
	}
	return Line{}
}

func TestEveryVerdictHasItsWords(t *testing.T) {
	answers := func(a Answer) Source {
		s := saw(50, hour, hour)
		s.Answer, s.Says, s.Hint = a, "what it says", "what to do"
		return s
	}
	absent, failed, unread, behind := saw(50, hour, hour), saw(50, hour, hour), saw(0, 0, 0), saw(50, 5*24*hour, hour)
	absent.Absent, failed.Failed = []string{"Microsoft/microsoftDefenderForIdentity"}, []string{"Microsoft/microsoftDefenderForIdentity"}
	unread.Seen, unread.ReadUpTo = nil, drover.NoInstant
	behind.ReadUpTo = now.Add(-5*24*hour + hour)
	never := saw(0, 0, 0)
	never.Seen = nil
	other := saw(50, hour, hour)
	other.Absent = []string{"Microsoft/microsoftSentinel"}
	for name, tt := range map[string]struct {
		source        Source
		verdict       Verdict
		says          string
		wrong, unsure bool
	}{
		"alerts as usual":                        {saw(50, hour, hour), Covered, "", false, false},
		"a pause of less than a day":             {saw(50, 23*hour, hour), Covered, "", false, false},
		"a pause that is usual there":            {saw(50, 100*hour, 62*hour), Covered, "", false, false},
		"longer than twice the usual":            {saw(50, 125*hour, 62*hour), Silent, "no new alert for 5d 5h, up to where drover has read; usually one comes within 2d 14h", true, false},
		"too few to tell what is usual":          {saw(3, 500*hour, 0), Covered, "", false, false},
		"drover has not read since":              {behind, Covered, "", false, false},
		"never an alert":                         {never, Undetermined, "no alert in 30d: it is not licensed, not onboarded, or quiet", false, false},
		"never read":                             {unread, Undetermined, "never been read", false, true},
		"consent is missing":                     {answers(NotGranted), Ungranted, "what it says", true, false},
		"no active Defender":                     {answers(NotOnboarded), Unlicensed, "what it says", true, false},
		"403 without a word":                     {answers(Ambiguous), Refused, "what it says", true, false},
		"refused for something else":             {answers(Denied), Unread, "what it says", true, false},
		"throttled":                              {answers(Unasked), Undetermined, "what it says", false, true},
		"left out by the API, though it was had": {absent, Unlicensed, "not licensed or not onboarded there, or not granted; it does not say which", true, false},
		"another one left out":                   {other, Covered, "", false, false},
		"did not answer":                         {failed, Undetermined, "did not answer", false, true},
	} {
		got := tenant(tt.source)
		l := got.line("defender_for_identity")
		if l.Verdict != tt.verdict || !strings.Contains(l.Says, tt.says) || tt.says == "" && l.Says != "" || got.Wrong() != tt.wrong || got.Unsure() != tt.unsure {
			t.Errorf("%s: %s, %q, wrong %v, unsure %v", name, l.Verdict, l.Says, got.Wrong(), got.Unsure())
		}
		if (l.Verdict == Silent || l.Verdict == Ungranted || l.Verdict == Unlicensed) && l.Hint == "" {
			t.Errorf("%s: nothing to do", name)
		}
	}
}

func TestOfTwoSourcesTheBetterCounts(t *testing.T) {
	mde := Source{ID: drover.MDEAlerts, Answer: Open, ReadUpTo: now, Seen: []Seen{{Product: Endpoint, Alerts: 9, Newest: now.Add(-hour), UsualGap: hour}}}
	graph := Source{ID: drover.GraphAlerts, Answer: NotGranted, ReadUpTo: now}
	incidents := Source{ID: drover.GraphIncidents, Answer: Open, ReadUpTo: now, Seen: []Seen{{Product: Incidents, Alerts: 4, Newest: now}}}
	siem := Source{ID: drover.SIEMDetections, Answer: Open, ReadUpTo: now}
	got := tenant(graph, mde, incidents, siem)
	if l := got.line(Endpoint); l.Verdict != Covered || l.By != drover.MDEAlerts {
		t.Errorf("Endpoint: %+v", l)
	}
	if l := got.line("sentinel"); l.Verdict != Ungranted || l.By != drover.GraphAlerts {
		t.Errorf("Sentinel: %+v", l)
	}
	if l := got.line(Incidents); l.Verdict != Covered || l.By != drover.GraphIncidents || len(got.Products) != len(products)+1 {
		t.Errorf("%d products, incidents: %+v", len(got.Products), l)
	}
	if !got.Wrong() {
		t.Error("a source that is refused is nothing wrong")
	}
	alone := tenant(mde)
	if len(alone.Products) != 1 {
		t.Errorf("MDE alone can bring %+v", alone.Products)
	}
	mde.Seen = append(mde.Seen, Seen{Product: "other:toaster", Name: "toaster", Alerts: 1, Newest: now})
	if withOther := tenant(mde); withOther.line("other:toaster").Verdict != Covered {
		t.Errorf("a product outside of the table: %+v", withOther.Products)
	}
}

func TestOneIsTheCustomersMatterAndAllAreMicrosofts(t *testing.T) {
	quiet := func(d time.Duration) Tenant { return tenant(saw(50, d, 2*hour)) }
	stale, denied := tenant(saw(50, hour, 2*hour)), tenant(saw(50, hour, 2*hour))
	stale.Sources[0].ReadUpTo = now.Add(-3 * 24 * hour)
	stale.Judge()
	denied.Sources[0].Answer = NotGranted
	denied.Judge()
	never := tenant(Source{ID: drover.GraphAlerts, Answer: Open, ReadUpTo: now})
	for name, tt := range map[string]struct {
		tenants []Tenant
		all     int
	}{
		"none":                             {nil, 0},
		"the only one":                     {[]Tenant{quiet(48 * hour)}, 0},
		"one of two":                       {[]Tenant{quiet(48 * hour), quiet(hour)}, 0},
		"two of two":                       {[]Tenant{quiet(48 * hour), quiet(72 * hour)}, 2},
		"and one that never had it":        {[]Tenant{quiet(48 * hour), never, quiet(72 * hour)}, 2},
		"and one that cannot be read":      {[]Tenant{quiet(48 * hour), denied, quiet(72 * hour)}, 2},
		"and one that was not read since":  {[]Tenant{quiet(48 * hour), stale, quiet(72 * hour)}, 2},
		"and one with too few to tell":     {[]Tenant{quiet(48 * hour), tenant(saw(2, hour, 0)), quiet(72 * hour)}, 2},
		"twenty, of which one brings some": {append([]Tenant{quiet(hour)}, many(19, quiet(48*hour))...), 0},
		"twenty":                           {many(20, quiet(48*hour)), 20},
	} {
		got := Everywhere(tt.tenants, nil)
		marked := 0
		for i := range tt.tenants {
			if l := tt.tenants[i].line("defender_for_identity"); l.Everywhere {
				marked++
			}
		}
		if (len(got) == 1) != (tt.all > 0) || marked != tt.all || tt.all > 0 && (got[0].Tenants != tt.all || got[0].Since != now.Add(-48*hour)) {
			t.Errorf("%s: %+v, marked %d", name, got, marked)
		}
	}
}

func many(n int, t Tenant) (list []Tenant) {
	for range n {
		t.Judge()
		list = append(list, t)
	}
	return list
}

func TestDurationsAreSaidInTheirLargestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0m", 15 * time.Minute: "15m", hour: "1h", 90 * time.Minute: "1h 30m", 24 * hour: "1d", 31 * hour: "1d 7h", 30 * 24 * hour: "30d", 9*24*hour + hour: "9d 1h", 24*hour - time.Second: "1d"} {
		if got := Words(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestTheDocsListWhatIsNotShown(t *testing.T) {
	text, err := os.ReadFile("../../docs/coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range NotShown() {
		if !strings.Contains(string(text), "\n- "+line+"\n") {
			t.Errorf("docs/coverage.md does not say: %s", line)
		}
	}
}
