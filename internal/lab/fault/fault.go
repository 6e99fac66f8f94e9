// Package fault deals the faults of the pretend cloud (reference
// faults-and-invariants P, T). A rule says what goes wrong, for whom, from when
// to when, and how often; which request it hits follows from a seed. Desk and
// docs/lab.md show the kinds that there are.
package fault

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rule is one fault.
type Rule struct {
	Kind   string    `json:"kind"`
	Tenant string    `json:"tenant,omitempty"` // "" = every one
	API    string    `json:"api,omitempty"`    // graph, graph.incidents, mde, siem, token, conn; "" = those with rows
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Share  float64   `json:"share,omitempty"` // of the requests it could hit; 0 = all
	Count  int       `json:"count,omitempty"` // how often at most; 0 = no end
	Skip   int       `json:"skip,omitempty"`  // how many requests pass before it begins
	Param  int       `json:"param,omitempty"`
	Value  string    `json:"value,omitempty"`
	// Body of the kind status: json (by default), nocode (an empty code), roles
	// (missing application roles), empty, html, text, null; inactive, licence,
	// unprovisioned, disabled (what is wrong with an account whose token is
	// good), quota (the number as the code, and which quota it is).
	Body string `json:"body,omitempty"`
	// RetryAfter is the header's text; "+30s" becomes an HTTP date. A request of
	// the same tenant that comes sooner is noted as early when Obey says until
	// when.
	RetryAfter string        `json:"retry_after,omitempty"`
	Obey       time.Duration `json:"-"`

	id, hits, seen int
	span           time.Duration // To is so long after From, or after now
}

// Dealer deals faults. Safe for concurrent use.
type Dealer struct {
	clock func() time.Time
	note  func(kind string, fields ...any)

	mu    sync.Mutex
	rng   *rand.Rand
	rules []*Rule
	last  int // number of the last rule
	hits  map[string]int
	until map[string]time.Time // by tenant and API: no request is welcome before
}

// New returns a dealer without rules. note is told of rules and early
// requests; it may be nil.
func New(seed uint64, clock func() time.Time, note func(kind string, fields ...any)) *Dealer {
	if note == nil {
		note = func(string, ...any) {}
	}
	return &Dealer{clock: clock, note: note, rng: rand.New(rand.NewPCG(seed, 7)), hits: make(map[string]int), until: make(map[string]time.Time)}
}

// Set adds rules. One that Check refuses is a mistake of the caller.
func (d *Dealer) Set(rules ...Rule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rules {
		if err := r.Check(); err != nil {
			panic("fault: " + err.Error())
		}
		d.last++
		r.id, r.hits, r.seen = d.last, 0, 0
		if r.span > 0 {
			from := r.From
			if from.IsZero() {
				from = d.clock()
			}
			r.To = from.Add(r.span)
		}
		d.rules = append(d.rules, &r)
		d.note("fault", "kind", r.Kind, "tenant", r.Tenant, "from", r.From, "to", r.To)
	}
}

// at reports whether the kind can be dealt at an API.
func (r *Rule) at(api string) bool {
	i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == r.Kind })
	return i >= 0 && slices.Contains(kinds[i].APIs, api)
}

// Wait is the text of the Retry-After header; "" for none.
func (r *Rule) Wait(now time.Time) string {
	if ahead, ok := strings.CutPrefix(r.RetryAfter, "+"); ok {
		if d, err := time.ParseDuration(ahead); err == nil {
			return now.Add(d).UTC().Format(http.TimeFormat)
		}
	}
	return r.RetryAfter
}

// Clear removes all rules.
func (d *Dealer) Clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = nil
}

// Hits counts dealt faults by kind.
func (d *Dealer) Hits() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make(map[string]int, len(d.hits))
	for k, v := range d.hits {
		out[k] = v
	}
	return out
}

// Deal returns the faults that hit a request, by kind.
func (d *Dealer) Deal(api, tenant string) map[string]Rule {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock()
	key := api + "/" + tenant
	if until, ok := d.until[key]; ok && now.Before(until) {
		d.note("early", "tenant", tenant, "api", api, "until", until)
		d.hits["early"]++
	}
	var out map[string]Rule
	for _, r := range d.rules {
		if r.Tenant != "" && r.Tenant != tenant || r.API != "" && r.API != api || r.API == "" && !slices.Contains(data, api) || !r.at(api) {
			continue
		}
		if !r.From.IsZero() && now.Before(r.From) || !r.To.IsZero() && !now.Before(r.To) || r.Count > 0 && r.hits >= r.Count {
			continue
		}
		if r.seen++; r.seen <= r.Skip || r.Share > 0 && d.rng.Float64() >= r.Share {
			continue
		}
		r.hits++
		d.hits[r.Kind]++
		if out == nil {
			out = make(map[string]Rule)
		}
		out[r.Kind] = *r
	}
	if s, ok := out[Status]; ok && s.Obey > 0 && !hides(out) {
		d.until[key] = now.Add(s.Obey)
	}
	return out
}

// hides reports whether the client gets to see something else than a status
// that is dealt to it.
func hides(dealt map[string]Rule) bool {
	for _, kind := range []string{Reset, Hang, Redirect, BigHeader, Drip} {
		if _, ok := dealt[kind]; ok {
			return true
		}
	}
	return false
}
