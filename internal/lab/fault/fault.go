// Package fault deals the faults of the pretend cloud (reference
// faults-and-invariants P, T). A rule says what goes wrong, for whom, from when
// to when, and how often; which request it hits follows from a seed.
package fault

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Kinds of faults. What Param and Value mean stands beside each.
const (
	Status        = "status"        // Param: HTTP status; Body: json (default), empty, html, text, null, error200; RetryAfter
	Cut           = "cut"           // the body ends after Param per mille of its bytes, and the connection with it
	Reset         = "reset"         // the connection ends before any answer
	Hang          = "hang"          // no answer until the client gives up; Param 1: after the header
	Trailing      = "trailing"      // junk behind the body
	TwoValues     = "two_values"    // a second JSON value behind the body
	HTML200       = "html200"       // a sign-in page with status 200
	NoValue       = "no_value"      // 200 with an object that lacks "value"
	NullBody      = "null"          // 200 with null
	EmptyBody     = "empty"         // 200 with nothing
	NotArray      = "not_array"     // "value" is an object
	ErrorObject   = "error_object"  // 200 with an error object
	Encoding      = "encoding"      // Content-Encoding: br
	GzipBomb      = "gzip_bomb"     // 1:1000
	Redirect      = "redirect"      // Param: 301…308; Value: where to
	ForeignLink   = "foreign_link"  // Value: the nextLink
	LoopLink      = "loop_link"     // the nextLink leads to the same page
	EndlessLinks  = "endless_links" // every page has a new nextLink
	EmptyPage     = "empty_page"    // no rows, and a nextLink to the real page
	NoLink        = "no_link"       // no nextLink though there is more
	Clamp         = "clamp"         // at most Param rows a page, whatever was asked
	TopRefused    = "top_refused"   // $top above Param is refused with 400 and an empty code
	Unordered     = "unordered"     // $orderby is ignored; rows are shuffled
	LinkRefused   = "link_refused"  // a request with $skip or $skiptoken is refused with 400
	PoisonAt      = "poison"        // 500 for every answer that would hold the alert Value
	Provider      = "provider"      // 206 with a Warning; Value: product whose rows are left out; Param: its status
	SlowSkew      = "date_skew"     // Param: seconds that the Date header is ahead
	NewestOnly    = "newest_only"   // at most the newest Param rows of a range, no link (SIEM)
	TokenWrongTID = "token_wrong_tid"
	TokenNoRoles  = "token_no_roles"
	TokenOpaque   = "token_opaque"
	AADSTS        = "aadsts" // Param: the number; Value: the error word, if it should disagree
)

// Rule is one fault.
type Rule struct {
	Kind   string    `json:"kind"`
	Tenant string    `json:"tenant,omitempty"` // "" = every one
	API    string    `json:"api,omitempty"`    // graph, siem, token; "" = graph and siem
	From   time.Time `json:"from,omitzero"`
	To     time.Time `json:"to,omitzero"`
	Share  float64   `json:"share,omitempty"` // of the requests it could hit; 0 = all
	Count  int       `json:"count,omitempty"` // how often at most; 0 = no end
	Skip   int       `json:"skip,omitempty"`  // how many requests pass before it begins
	Param  int       `json:"param,omitempty"`
	Value  string    `json:"value,omitempty"`
	Body   string    `json:"body,omitempty"`
	// RetryAfter is the header's text; a request of the same tenant that comes
	// sooner is noted as early when Obey says until when.
	RetryAfter string        `json:"retry_after,omitempty"`
	Obey       time.Duration `json:"obey,omitempty"`

	hits, seen int
}

// Dealer deals faults. Safe for concurrent use.
type Dealer struct {
	clock func() time.Time
	note  func(kind string, fields ...any)

	mu    sync.Mutex
	rng   *rand.Rand
	rules []*Rule
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

// Set adds rules.
func (d *Dealer) Set(rules ...Rule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range rules {
		d.rules = append(d.rules, &r)
		d.note("fault", "kind", r.Kind, "tenant", r.Tenant, "from", r.From, "to", r.To)
	}
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
		if r.Tenant != "" && r.Tenant != tenant || r.API != "" && r.API != api || r.API == "" && api == "token" {
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
	for _, kind := range []string{Reset, Hang, Redirect} {
		if _, ok := dealt[kind]; ok {
			return true
		}
	}
	return false
}

// ServeHTTP shows the rules (GET), adds some (POST) or replaces all (PUT).
func (d *Dealer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		var rules []Rule
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&rules); err != nil {
			http.Error(w, "want a JSON array of rules: "+err.Error(), http.StatusBadRequest)
			return
		}
		if r.Method == http.MethodPut {
			d.Clear()
		}
		d.Set(rules...)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(d.rules)
}
