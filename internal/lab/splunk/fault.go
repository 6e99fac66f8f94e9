package splunk

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Fault is a switch: what goes wrong, for whom and for how long. The first
// switch in the order of setting that matches a request is dealt to it.
type Fault struct {
	ID   int    `json:"id,omitempty"` // given by Set
	Kind string `json:"kind"`         // one of Kinds

	// On says which requests are meant: "events" (default), "ack", "health" or
	// "any". Kinds that concern the ack endpoint alone ignore it.
	On string `json:"on,omitempty"`
	// Token limits the switch to requests of the token of that name.
	Token string `json:"token,omitempty"`

	From  time.Time `json:"from,omitzero"`  // zero: at once
	Until time.Time `json:"until,omitzero"` // zero: for good
	Skip  int       `json:"skip,omitempty"` // let the first n matching requests pass
	Every int       `json:"every,omitempty"`
	Count int       `json:"count,omitempty"` // deal it n times, then remove it; 0: no limit

	// Delay is how long "slow" waits before it answers; 0 waits until the
	// client gives up.
	Delay time.Duration `json:"delay,omitempty"`
	// RetryAfter is sent as the header of that name, whatever it says.
	RetryAfter string `json:"retry_after,omitempty"`

	seen int
}

// take says how much of what would be indexed is indexed.
type take int

const (
	takeAll take = iota
	takeHalf
	takeNone
)

// manner says what the sender gets to see.
type manner int

const (
	answerPlainly manner = iota
	answerCode           // effect.code in place of what would be said
	answerPage           // something that is not the collector's
	answerLost           // connection cut instead of an answer
	answerTorn           // connection cut in the middle of the answer
	answerLate           // after Delay, or never
)

// effect is what a kind of fault does.
type effect struct {
	about  string
	take   take
	manner manner
	code   int
	page   reply
	on     string // fixed point, if the kind has one
}

const loginPage = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to continue.</body></html>"

var effects = map[string]effect{
	"answer-lost":         {about: "all taken, connection cut instead of an answer", manner: answerLost},
	"answer-torn":         {about: "all taken, connection cut in the middle of the answer", manner: answerTorn},
	"half-taken":          {about: "first half taken, then the connection is cut", take: takeHalf, manner: answerLost},
	"cut":                 {about: "nothing taken, connection cut", take: takeNone, manner: answerLost},
	"outage":              {about: "every connection is reset at accept, every request cut; nothing taken", take: takeNone, manner: answerLost, on: "any"},
	"busy":                {about: "503, code 9, nothing taken", take: takeNone, manner: answerCode, code: 9},
	"error-after-taking":  {about: "500, code 8, all taken", manner: answerCode, code: 8},
	"error":               {about: "500, code 8, nothing taken", take: takeNone, manner: answerCode, code: 8},
	"gateway-timeout":     {about: "504 page of a proxy, all taken", manner: answerPage, page: page(504, "text/html", "<html><body><h1>504 Gateway Time-out</h1></body></html>")},
	"bad-gateway":         {about: "502 page of a proxy, nothing taken", take: takeNone, manner: answerPage, page: page(502, "text/html", "<html><body><h1>502 Bad Gateway</h1></body></html>")},
	"request-timeout":     {about: "408, all taken", manner: answerPage, page: page(408, "text/plain", "")},
	"throttled":           {about: "429, code 26, nothing taken", take: takeNone, manner: answerCode, code: 26},
	"ack-channel-full":    {about: "429, code 27, nothing taken", take: takeNone, manner: answerCode, code: 27},
	"unhealthy-queues":    {about: "503, code 18, nothing taken", take: takeNone, manner: answerCode, code: 18},
	"unhealthy-ack":       {about: "503, code 19, nothing taken", take: takeNone, manner: answerCode, code: 19},
	"unhealthy":           {about: "503, code 20, nothing taken", take: takeNone, manner: answerCode, code: 20},
	"shutting-down":       {about: "503, code 23, nothing taken", take: takeNone, manner: answerCode, code: 23},
	"slow":                {about: "all taken, answered after delay, or not before the client gives up", manner: answerLate},
	"html":                {about: "200 with a sign-in page, nothing taken", take: takeNone, manner: answerPage, page: page(200, "text/html; charset=utf-8", loginPage)},
	"empty":               {about: "200 with nothing in it, nothing taken", take: takeNone, manner: answerPage, page: page(200, "", "")},
	"queue-nearly-full":   {about: "200, code 24, all taken", manner: answerCode, code: 24},
	"ack-nearly-full":     {about: "200, code 25, all taken", manner: answerCode, code: 25},
	"swallowed":           {about: "200, code 0, nothing indexed, never confirmed", take: takeNone, manner: answerCode, code: 0},
	"unconfirmed":         {about: "acknowledgement says false for ever", on: "ack"},
	"confirmation-lost":   {about: "acknowledgement is used up, connection cut instead of an answer", manner: answerLost, on: "ack"},
	"confirmation-busy":   {about: "503, code 9 on the acknowledgement, nothing used up", take: takeNone, manner: answerCode, code: 9, on: "ack"},
	"confirmation-absent": {about: "200 with a sign-in page in place of acknowledgements, all used up", manner: answerPage, page: page(200, "text/html", loginPage), on: "ack"},
}

// Kinds returns every kind of fault with what it does.
func Kinds() map[string]string {
	m := make(map[string]string, len(effects))
	for name, e := range effects {
		m[name] = e.about
	}
	return m
}

// Set switches a fault on and returns its ID.
func (r *Receiver) Set(f Fault) (int, error) {
	if _, ok := effects[f.Kind]; !ok {
		return 0, fmt.Errorf("there is no fault %q; known are: %v", f.Kind, slices.Sorted(maps.Keys(effects)))
	}
	if f.On == "" {
		f.On = "events"
	}
	if !slices.Contains([]string{"events", "ack", "health", "any"}, f.On) {
		return 0, fmt.Errorf("a fault is on events, ack, health or any, not on %q", f.On)
	}
	if f.Skip < 0 || f.Every < 0 || f.Count < 0 || f.Delay < 0 {
		return 0, errors.New("skip, every, count and delay of a fault are not negative")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) >= maxFaults {
		return 0, fmt.Errorf("%d faults are set; remove some first", maxFaults)
	}
	r.lastFault++
	f.ID, f.seen = r.lastFault, 0
	r.faults = append(r.faults, &f)
	return f.ID, nil
}

// maxFaults bounds the list of switches.
const maxFaults = 1000

// Unset removes a fault; 0 removes all of them. It reports whether there was
// one.
func (r *Receiver) Unset(id int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.faults)
	r.faults = slices.DeleteFunc(r.faults, func(f *Fault) bool { return id == 0 || f.ID == id })
	return len(r.faults) < before
}

// Faults returns the switches that are set.
func (r *Receiver) Faults() []Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Fault, len(r.faults))
	for i, f := range r.faults {
		list[i] = *f
	}
	return list
}

// deal returns the fault for a request at one of the points, nil for none.
func (r *Receiver) deal(point, tokenName string) *Fault {
	now := r.opt.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = slices.DeleteFunc(r.faults, func(f *Fault) bool { return !f.Until.IsZero() && !now.Before(f.Until) })
	for i, f := range r.faults {
		on := f.On
		if fixed := effects[f.Kind].on; fixed != "" {
			on = fixed
		}
		if (on != "any" && on != point) || (f.Token != "" && f.Token != tokenName) || now.Before(f.From) {
			continue
		}
		f.seen++
		if f.seen <= f.Skip || (f.Every > 1 && (f.seen-f.Skip-1)%f.Every != 0) {
			continue
		}
		dealt := *f
		if f.Count > 0 {
			if f.Count--; f.Count == 0 {
				r.faults = slices.Delete(r.faults, i, i+1)
			}
		}
		r.count.Faults[f.Kind]++
		return &dealt
	}
	return nil
}

// out reports whether an outage is on now.
func (r *Receiver) out() bool {
	now := r.opt.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.faults, func(f *Fault) bool {
		return f.Kind == "outage" && f.Count == 0 && !now.Before(f.From) && (f.Until.IsZero() || now.Before(f.Until))
	})
}
