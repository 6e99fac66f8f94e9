package sim

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/proof"
)

// lags plays some hours of quiet tenants and a first one that is made noisy,
// and returns how long the quiet ones' revisions took from their change to the
// SIEM, in order.
func lags(t *testing.T, perMinute float64, noise func(w *world)) []time.Duration {
	p := plan{size: size{tenants: 8, active: 90 * time.Minute, calm: 30 * time.Minute, interval: 2 * time.Minute}, overlap: 15 * time.Minute, unrouted: -1}
	for i := range p.tenants {
		o := estate.Options{PerMinute: quiet, Horizon: 80 * time.Minute, Updates: 0.3}
		if i == 0 {
			o.PerMinute = perMinute
		}
		p.stories = append(p.stories, o)
	}
	if noise != nil {
		p.deeds = append(p.deeds, deed{5 * time.Minute, "noise", noise})
	}
	var mu sync.Mutex
	var took []time.Duration
	v := run(t, 11, p, func(w *world) {
		sink(sinkHEC, func(ctx context.Context, real drover.Sink, b drover.Batch) (drover.Taken, error) {
			taken, err := real.Deliver(ctx, b)
			mu.Lock()
			defer mu.Unlock()
			for i := range b.Records {
				if r := &b.Records[i]; string(r.Tenant) != w.tenant(0) {
					took = append(took, time.Since(r.Time.Time()))
				}
			}
			return taken, err
		})(w)
		w.play()
	})
	for _, s := range v.wrong() {
		t.Error(s)
	}
	slices.Sort(took)
	return took
}

// Rows a minute of a quiet tenant, and how many times as many a loaded one has.
const (
	quiet = 0.6
	times = 50
)

func p99(d []time.Duration) time.Duration { return d[len(d)*99/100] }

func TestOneTenantsTroubleDelaysNoOther(t *testing.T) {
	t.Parallel()
	alone := lags(t, quiet, nil)
	throttled := lags(t, quiet, func(w *world) {
		w.lab.Faults().Set(fault.Rule{Kind: fault.Status, Param: 429, RetryAfter: "45", Obey: 45 * time.Second, Tenant: w.tenant(0), To: w.now().Add(75 * time.Minute)})
	})
	loaded := lags(t, quiet*times, nil)
	if len(alone) < 300 || len(throttled) < 300 || len(loaded) < 300 {
		t.Fatalf("%d, %d and %d revisions are too few to tell", len(alone), len(throttled), len(loaded))
	}
	ratio := func(d []time.Duration) float64 { return float64(p99(d)) / float64(p99(alone)) }
	if r := ratio(throttled); r > 1.1 || r < 0.9 {
		t.Errorf("the others' p99 is %s, and %s with one tenant throttled", p99(alone), p99(throttled))
	}
	if r := ratio(loaded); r > 1.2 {
		t.Errorf("the others' p99 is %s, and %s with one tenant at %d times the load", p99(alone), p99(loaded), times)
	}
	second := func(d time.Duration) time.Duration { return d.Round(time.Second) }
	proof.Ran(t, "P25", "one of 8 tenants throttled for 75 min: the others' p99 from change to SIEM is %s, %.2f times that without", second(p99(throttled)), ratio(throttled))
	proof.Ran(t, "I16", "one of 8 tenants at %d times the load: the others' p99 from change to SIEM is %s, %.2f times that without", times, second(p99(loaded)), ratio(loaded))
}
