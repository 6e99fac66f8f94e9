package sim

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/lab/splunk"
)

// size is how large a run is.
type size struct {
	tenants  int
	active   time.Duration // while things go wrong
	calm     time.Duration // afterwards: the deepest pause and the sweep over 48 h fit
	interval time.Duration
}

// plan is everything that is drawn for a run.
type plan struct {
	size
	stories  []estate.Options
	overlap  time.Duration
	pageSize int
	ahead    time.Duration // the cloud's clock against ours
	hiccups  float64       // the share of calls to the ledger that meet a passing error
	refusals int           // one in so many records is refused for good by one sink; 0: none
	unrouted int           // a tenant that no route leads from to one sink; -1: none
	deeds    []deed
	could    map[string]bool // kinds of faults that a plan may deal, whether this one does or not
}

// deed is something that happens at a moment of a run.
type deed struct {
	at   time.Duration
	what string
	do   func(w *world)
}

// quietBefore is how long before the end of the calm the newest states are
// noted: what shows later may be on its way still.
const quietBefore = 20 * time.Minute

// draw draws a run. Each deals about half of the kinds of faults, so that none
// hides behind others for good; a seed and the next one deal them all.
func draw(seed uint64, z size) plan {
	r := rand.New(rand.NewPCG(seed, 101))
	tenants, active := z.tenants, z.active
	p := plan{size: z, overlap: 15 * time.Minute, pageSize: pick(r, 0, 0, 7, 50, 200), hiccups: pick(r, 0, 0.003, 0.02), refusals: pick(r, 0, 40), unrouted: tenants - 1, could: make(map[string]bool)}
	p.ahead = pick(r, 0, 0, 5*time.Second, -5*time.Second, 10*time.Minute, -10*time.Minute, 24*time.Hour, -24*time.Hour)
	for i := range tenants {
		o := estate.Options{Backlog: r.IntN(60), BacklogSpan: 72 * time.Hour, PerMinute: 0.01 + 0.05*r.Float64(), Horizon: active - 90*time.Minute, Updates: r.Float64(), LateShare: 0.05 * r.Float64(), LateMax: 90 * time.Minute,
			Shuffle: i%3 == 0, LiveField: i%3 == 1, Silent: 0.1, Ties: pick(r, 0, 0, 3, 20, 120), Unnamed: r.IntN(3), Bad: r.IntN(3), SIEM: i%4 == 1, Reprocess: i%8 == 1,
			Incidents: i%4 >= 2, MDE: i%4 == 1 || i%4 == 2}
		if o.SIEM { // enough in a window that a cut can be told
			o.Backlog, o.BacklogSpan = 60+o.Backlog, 12*time.Hour
		}
		if i%10 == 0 { // a busy one, with rows of somebody else among its own
			o.PerMinute, o.Foreign = 0.3, 2
		}
		p.stories = append(p.stories, o)
	}
	d := &drawer{r: r, p: &p, tenants: tenants, seed: seed}
	d.cloud()
	d.authority()
	d.receivers()
	d.processes()
	d.r = rand.New(rand.NewPCG(seed, 103))
	d.wire()
	slices.SortStableFunc(p.deeds, func(a, b deed) int { return int(a.at - b.at) })
	return p
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// drawer adds deeds to a plan.
type drawer struct {
	r       *rand.Rand
	p       *plan
	tenants int
	seed    uint64
}

// deals reports whether this plan deals a kind, and notes that one may.
func (d *drawer) deals(kind string) bool {
	d.p.could[kind] = true
	h := fnv.New64a()
	_, _ = h.Write([]byte(kind))
	return (h.Sum64()+d.seed)%2 == 0 || d.r.IntN(4) == 0
}

func (d *drawer) add(at time.Duration, what string, do func(w *world)) {
	d.p.deeds = append(d.p.deeds, deed{at, what, do})
}

// moment is when a fault of some length begins.
func (d *drawer) moment(long time.Duration) time.Duration {
	return time.Duration(d.r.Int64N(int64(max(d.p.active-long, 1))))
}

// between draws a duration.
func (d *drawer) between(least, most time.Duration) time.Duration {
	return least + time.Duration(d.r.Int64N(int64(most-least)))
}

// deal is always for a rule that this plan may leave out.
func (d *drawer) deal(rule fault.Rule, least, most time.Duration) {
	kind := rule.Kind
	if kind == fault.Status || kind == fault.AADSTS {
		kind = fmt.Sprint(kind, " ", rule.Param)
	}
	if d.p.could[rule.Kind] = true; d.deals(kind) {
		d.always(rule, least, most)
	}
}

// always draws when, how long and for whom a rule holds that every plan deals.
func (d *drawer) always(rule fault.Rule, least, most time.Duration) {
	d.p.could[rule.Kind] = true
	long := d.between(least, most)
	at, who := d.moment(long), d.r.IntN(d.tenants)
	all := rule.Tenant == "*"
	d.add(at, fmt.Sprintf("%s %d %s for %s at %d", rule.Kind, rule.Param, rule.Value, long, who), func(w *world) {
		rule.From, rule.To, rule.Tenant = w.now(), w.now().Add(long), w.tenant(who)
		if all {
			rule.Tenant = ""
		}
		w.lab.Faults().Set(rule)
	})
}

const everyone = "*"

// cloud deals the faults of the APIs: each kind to a tenant or more, some to
// all at once.
func (d *drawer) cloud() {
	iv := d.p.interval
	least, most := 3*iv, 12*iv
	often := func() float64 { return pick(d.r, 0, 0, 0.3, 0.7) }
	for _, k := range []string{fault.Reset, fault.Trailing, fault.TwoValues, fault.HTML200, fault.NoValue, fault.NullBody, fault.EmptyBody, fault.NotArray, fault.ErrorObject, fault.Encoding,
		fault.EmptyPage, fault.LoopLink, fault.EndlessLinks, fault.NoLink, fault.Unordered, fault.LinkRefused} {
		d.deal(fault.Rule{Kind: k, Share: often()}, least, most)
		d.deal(fault.Rule{Kind: k, Share: often()}, least, most)
	}
	for range 4 {
		d.deal(fault.Rule{Kind: fault.Cut, Param: d.r.IntN(1000), Share: often()}, least, most)
		d.deal(fault.Rule{Kind: fault.Clamp, Param: 1 + d.r.IntN(40), Share: often()}, most, 10*most)
		d.deal(fault.Rule{Kind: fault.TopRefused, Param: 1 + d.r.IntN(300), Share: often()}, least, most)
		d.deal(fault.Rule{Kind: fault.Hang, Param: d.r.IntN(2), Share: often(), Count: 3}, least, most)
		d.deal(fault.Rule{Kind: fault.SlowSkew, Param: pick(d.r, -5, 5, 90, -600, 600, 86400, -86400), Share: often()}, least, most)
		d.deal(fault.Rule{Kind: fault.NewestOnly, API: "siem", Param: 50 + d.r.IntN(30)}, most, 10*most)
	}
	for _, status := range []int{500, 502, 503, 504, 429, 429, 429, 429, 400, 401, 401, 403, 403, 404, 408} {
		rule := fault.Rule{Kind: fault.Status, Param: status, Share: often(), Body: pick(d.r, "", "empty", "html", "text")}
		if status == 429 || status == 503 {
			rule.RetryAfter = pick(d.r, "", "0", "-1", "30", "600", "soon", "Mon, 02 Mar 2026 08:00:00 GMT")
			switch rule.RetryAfter {
			case "30":
				rule.Obey = 30 * time.Second
			case "600":
				rule.Obey = 10 * time.Minute
			}
		}
		d.deal(rule, least, most)
	}
	// Long trouble for one, storms for all.
	d.deal(fault.Rule{Kind: fault.Status, Param: 500}, d.p.active/8, d.p.active/4)
	d.deal(fault.Rule{Kind: fault.Status, Param: 403}, d.p.active/8, d.p.active/4)
	d.deal(fault.Rule{Kind: fault.Status, Param: 503, Body: "html", Share: 0.8, Tenant: everyone}, 2*iv, 4*iv)
	d.deal(fault.Rule{Kind: fault.Status, Param: 429, RetryAfter: "20", Obey: 20 * time.Second, Share: 0.5, Tenant: everyone}, 2*iv, 4*iv)
	d.deal(fault.Rule{Kind: fault.Status, Param: 403, Tenant: everyone}, 2*iv, 4*iv)
	d.deal(fault.Rule{Kind: fault.Status, Param: 401, Share: 0.2, Tenant: everyone}, 2*iv, 4*iv)
	d.deal(fault.Rule{Kind: fault.Cut, Param: 500, Share: 0.3, Tenant: everyone}, 2*iv, 4*iv)
	d.deal(fault.Rule{Kind: fault.Redirect, Param: pick(d.r, 301, 302, 307, 308), Value: "https://evil.example/"}, least, most)
	d.deal(fault.Rule{Kind: fault.ForeignLink, Value: pick(d.r, "https://evil.example/v1.0/security/alerts_v2?$skip=1", "http://graph.lab.test/", "//evil.example/", "not a link")}, least, most)
	for _, status := range []int{504, 504, 401, 403} {
		d.deal(fault.Rule{Kind: fault.Provider, Param: status, Value: pick(d.r, "microsoftDefenderForEndpoint", "microsoftDefenderForOffice365", "microsoft365Defender")}, least, 80*time.Minute)
	}
	d.p.could[fault.PoisonAt] = true
	for range 3 {
		long := d.between(d.p.active/20, d.p.active/5)
		who, which := d.r.IntN(d.tenants), d.r.IntN(1<<20)
		d.add(d.moment(long), fmt.Sprintf("poison for %s at %d", long, who), func(w *world) {
			var ids []string
			w.lab.Estate().See(w.tenant(who), estate.Graph, w.now(), func(v estate.View) {
				for _, r := range v.Rows {
					ids = append(ids, r.ID)
				}
			})
			if len(ids) > 0 {
				w.lab.Faults().Set(fault.Rule{Kind: fault.PoisonAt, Tenant: w.tenant(who), Value: ids[len(ids)-1-which%min(len(ids), 10)], From: w.now(), To: w.now().Add(long)})
			}
		})
	}
	d.deal(fault.Rule{Kind: fault.GzipBomb, Count: 1}, most, 2*most)
	// Alerts change while somebody looks.
	for range 40 {
		who, which, times := d.r.IntN(d.tenants), d.r.IntN(1<<20), 1+d.r.IntN(3)
		d.add(d.moment(2*time.Hour), fmt.Sprintf("%d changes at %d", times, who), func(w *world) { w.change(who, which, times) })
	}
	// So do incidents, and one becomes part of another.
	for range 20 {
		who, which, merge := d.r.IntN(d.tenants), d.r.IntN(1<<20), d.r.IntN(4) == 0
		d.add(d.moment(2*time.Hour), fmt.Sprintf("an incident changes at %d, merged %t", who, merge), func(w *world) { w.changeIncident(who, which, merge) })
	}
}

// byHand is added to the number of a revision that a story did not foresee, so
// that it takes no number of one that is to come.
const byHand = 1000

// change gives alerts of a tenant a new state now.
func (w *world) change(who, which, times int) {
	var rows []estate.Row
	w.lab.Estate().See(w.tenant(who), estate.Graph, w.now(), func(v estate.View) {
		for _, r := range v.Rows {
			// A state that came without a new time is taken when two reads agree
			// on it: it must not be replaced before.
			if r.Kind == "" && r.Visible.Sub(r.Changed) < time.Second {
				rows = append(rows, *r)
			}
		}
	})
	for n := range min(times, len(rows)) {
		r := rows[(which+n)%len(rows)]
		r.Rev += byHand
		r.Changed = w.now().UTC().Truncate(time.Millisecond).Add(time.Duration(n) * 100)
		r.Text, r.Visible = estate.Text(r.Changed), w.now()
		w.lab.Estate().Put(w.tenant(who), estate.Graph, r)
	}
}

// changeIncident gives an incident of a tenant a new state now, or merges it
// into another one.
func (w *world) changeIncident(who, which int, merge bool) {
	var rows []estate.Row
	w.lab.Estate().See(w.tenant(who), estate.Incidents, w.now(), func(v estate.View) {
		for _, r := range v.Rows {
			if r.Kind == "" && r.Visible.Sub(r.Changed) < time.Second { // see change
				rows = append(rows, *r)
			}
		}
	})
	switch n := len(rows); {
	case n == 0:
	case merge:
		w.lab.Estate().MergeIncident(w.tenant(who), rows[which%n].ID, rows[(which+1)%n].ID, w.now())
	default:
		w.lab.Estate().ChangeIncident(w.tenant(who), rows[which%n].ID, w.now(), false)
	}
}

// wire deals what may become of an answer's bytes, and rows that are not as
// they should be. Rows whose content or time is mangled are the sources' own
// tests' (P15, P21): the judge takes each for a revision.
func (d *drawer) wire() {
	iv := d.p.interval
	least, most := 3*iv, 12*iv
	often := func() float64 { return pick(d.r, 0, 0.3, 0.7) }
	for _, k := range []string{fault.Chunked, fault.BOM, fault.GoAway, fault.ContentType} {
		d.deal(fault.Rule{Kind: k, Share: often(), Value: "text/plain"}, least, most)
	}
	for range 2 {
		d.deal(fault.Rule{Kind: fault.Truncated, Param: d.r.IntN(1000), Share: often()}, least, most)
		d.deal(fault.Rule{Kind: fault.Encoding, Value: pick(d.r, "nested", "junk", "plain"), Share: often()}, least, most)
		d.deal(fault.Rule{Kind: fault.Drip, Param: 2000, Value: pick(d.r, "", "header"), Count: 3}, least, most)
		d.deal(fault.Rule{Kind: fault.Overlap, Param: d.r.IntN(20), Share: often()}, most, 4*most)
		d.deal(fault.Rule{Kind: fault.TopIgnored, Param: 1 + d.r.IntN(60)}, most, 4*most)
		d.deal(fault.Rule{Kind: fault.BadRow, Param: d.r.IntN(4), Value: pick(d.r, "dup_id", "no_id", "null_id", "foreign"), Share: often()}, least, most)
	}
	d.deal(fault.Rule{Kind: fault.BigHeader, Count: 3}, least, most)
	d.deal(fault.Rule{Kind: fault.Rewind, Param: 600}, least, most)
}

// authority deals the faults of Entra.
func (d *drawer) authority() {
	const least, most = 70 * time.Minute, 100 * time.Minute
	for _, k := range []string{fault.TokenWrongTID, fault.TokenNoRoles, fault.TokenOpaque, fault.Reset} {
		d.deal(fault.Rule{Kind: k, API: "token"}, least, most)
	}
	d.deal(fault.Rule{Kind: fault.Redirect, API: "token", Param: 307, Value: "https://evil.example/"}, least, most)
	for _, code := range []int{90055, 50196, 65001, 53003, 90002, 7000229, 700016, 50034} {
		d.deal(fault.Rule{Kind: fault.AADSTS, API: "token", Param: code}, least, most)
	}
	// The app itself is refused: tokens that are there go on for an hour, so it
	// takes longer than that until all have noticed.
	for range 2 {
		d.always(fault.Rule{Kind: fault.AADSTS, API: "token", Param: pick(d.r, 7000222, 7000215, 700027), Tenant: everyone}, 70*time.Minute, 80*time.Minute)
	}
	for _, status := range []int{500, 503, 429} {
		d.deal(fault.Rule{Kind: fault.Status, API: "token", Param: status, Body: pick(d.r, "html", "text"), RetryAfter: pick(d.r, "", "60"), Tenant: everyone}, 10*time.Minute, 30*time.Minute)
	}
}

// receivers deals the faults of the pretend Splunks, all but those that break
// what a sink has promised.
func (d *drawer) receivers() {
	for _, k := range slices.Sorted(maps.Keys(splunk.Kinds())) {
		if k == "swallowed" || k == "outage" || !d.deals("sink:"+k) {
			continue
		}
		for range 2 {
			// A sink is asked when there is something to send, so a fault waits for
			// its requests.
			at := d.moment(d.p.active / 4)
			long := d.p.active - at
			f := splunk.Fault{Kind: k, Every: 1 + d.r.IntN(2), Count: 1 + d.r.IntN(5), RetryAfter: pick(d.r, "", "10")}
			if k == "slow" {
				f.Delay = pick(d.r, 0, 20*time.Second)
			}
			which := d.r.IntN(2)
			if k == "unconfirmed" || strings.HasPrefix(k, "confirmation") {
				which = 1
			}
			d.add(at, fmt.Sprintf("sink %d: %s for %s", which, k, long), func(w *world) { w.deal(which, f, long) })
		}
	}
	for which := range 2 {
		off := d.between(10*time.Minute, 40*time.Minute)
		d.add(d.moment(off), fmt.Sprintf("sink %d: token disabled for %s", which, off), func(w *world) {
			w.must(w.splunk(which).DisableToken("t", true))
			time.AfterFunc(off, func() { w.must(w.splunk(which).DisableToken("t", false)) })
		})
		long := d.between(10*time.Minute, d.p.active/5)
		d.add(d.moment(long), fmt.Sprintf("sink %d: outage for %s", which, long), func(w *world) { w.deal(which, splunk.Fault{Kind: "outage"}, long) })
	}
}

// deal sets a fault of a receiver.
func (w *world) deal(which int, f splunk.Fault, long time.Duration) {
	f.Until = w.now().Add(long)
	_, err := w.splunk(which).Set(f)
	w.must(err)
}

func (w *world) splunk(which int) *splunk.Receiver {
	if which == 1 {
		return w.ack
	}
	return w.hec
}

// processes stops, kills and starts the product, and makes the cloud's clock
// jump.
func (d *drawer) processes() {
	for i := range 8 {
		away := d.between(time.Second, 10*time.Minute)
		dead := i%2 == 1
		d.add(d.moment(away+time.Minute), fmt.Sprintf("restart, killed %t, away %s", dead, away), func(w *world) { w.restart(dead, away) })
	}
	for range 2 {
		jump := d.between(-time.Minute, 10*time.Minute)
		d.add(d.moment(0), fmt.Sprintf("the clocks part by %s", jump), func(w *world) { w.ahead.Add(int64(jump)) })
	}
}

// play plays a plan: its deeds, then the calm.
func (w *world) play() {
	begun := time.Now()
	w.begin()
	for _, d := range w.plan.deeds {
		time.Sleep(time.Until(begun.Add(d.at)))
		d.do(w)
	}
	time.Sleep(time.Until(begun.Add(w.plan.active)))
	w.lab.Faults().Clear()
	w.hec.Unset(0)
	w.ack.Unset(0)
	w.calm.Store(true)
	w.lab.Truth().Event("mark", "kind", "calm")
	time.Sleep(w.plan.calm - quietBefore)
	w.remember()
	w.pass(quietBefore)
}
