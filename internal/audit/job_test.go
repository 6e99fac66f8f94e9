package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/httpx"
	"drover/internal/ledger"
)

// The collector makes its requests whenever it likes; the audit makes what is
// left of the share, and never so many that both together exceed it.
func TestAnAuditTakesOfTheShareOnlyWhatTheCollectorLeaves(t *testing.T) {
	const minute, hour = 60, 700
	feed := drover.Feed{Tenant: tenantID, Source: drover.MDEAlerts}
	for name, tt := range map[string]struct {
		alone     bool
		collector func(second int) int // requests in that second
		least     int                  // requests of the audit in two hours
	}{
		"nothing reads beside it":    {true, func(int) int { return 0 }, 1300},
		"a quiet collector":          {false, func(s int) int { return one(s%60 == 0) }, 850},
		"a busy one":                 {false, func(s int) int { return one(s%8 == 0) }, 400},
		"one that wakes":             {false, func(s int) int { return 20*one(s == 2000) + one(s > 2000 && s%2 == 0 && s < 2500) }, 700},
		"one that wakes at once":     {false, func(s int) int { return 20*one(s == 1) + one(s > 1 && s%6 == 0 && s < 3600) }, 400},
		"one that asks all the time": {false, func(s int) int { return one(s%6 == 0) }, 100},
		"one that takes all it may":  {false, func(s int) int { return 20*one(s == 0) + one(s%8 == 0) }, 400},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const length = 2 * 3600
				var mu sync.Mutex
				var m, h Recent
				mine, others := make([]int, length+1), make([]int, length+1)
				start := time.Now()
				second := func() int { return min(int(time.Since(start)/time.Second), length) }
				p := &Paces{Allowed: func(drover.Tenant, drover.SourceID) (int, int) { return minute, hour }}
				if !tt.alone {
					p.Used = func(f drover.Feed) (int, int) {
						mu.Lock()
						defer mu.Unlock()
						if f != feed {
							t.Errorf("asked for %s", f)
						}
						return m.Count(time.Minute, time.Now()), h.Count(time.Hour, time.Now())
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), length*time.Second)
				defer cancel()
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					for s := range length {
						mu.Lock()
						for range tt.collector(s) {
							m.Add(time.Minute, time.Now())
							h.Add(time.Hour, time.Now())
							others[s]++
						}
						mu.Unlock()
						time.Sleep(time.Second)
					}
				}()
				for p.of(drover.Tenant{ID: tenantID}, feed.Source).wait(ctx) == nil {
					mine[second()]++
				}
				<-gone
				most := func(list []int, over int) (most int) {
					n := 0
					for i := range list {
						n += list[i]
						if i >= over {
							n -= list[i-over]
						}
						most = max(most, n)
					}
					return most
				}
				sum, total := make([]int, length+1), 0
				for i := range sum {
					sum[i] = mine[i] + others[i]
					total += mine[i]
				}
				if a, b := most(sum, 60), most(sum, 3600); a > minute*13/12 || b > hour*13/12 || total < tt.least {
					t.Errorf("both together at most %d in a minute and %d in an hour; the audit %d in two hours, want %d at least", a, b, total, tt.least)
				}
				if a, b := most(mine, 60), most(mine, 3600); !tt.alone && (a > minute*2/3 || b > hour*2/3) {
					t.Errorf("the audit alone has used %d a minute and %d an hour: nothing was left for a collector that wakes", a, b)
				}
			})
		})
	}
}

// Two audits of one process share what is left of an API.
func TestAuditsOfOneProcessShareOnePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Paces{Allowed: func(drover.Tenant, drover.SourceID) (int, int) { return 60, 0 }, Used: func(drover.Feed) (int, int) { return 0, 0 }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		var n, others atomic.Int64
		for i := range 4 {
			wg.Go(func() {
				for p.of(drover.Tenant{ID: manyID(i / 2)}, drover.GraphAlerts).wait(ctx) == nil {
					if i < 2 {
						n.Add(1)
					} else {
						others.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if n.Load() > 40*10 || n.Load() < 300 || others.Load() < 300 {
			t.Errorf("two audits of a tenant have asked %d times in ten minutes, those of another %d times; 35 a minute are theirs", n.Load(), others.Load())
		}
	})
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// many is a ledger of many tenants, each with the one that it stands for.
type many struct {
	*shelfless
	n int
}

func manyID(i int) drover.TenantID { return drover.TenantID(fmt.Sprintf("%s%04d", tenantID[:32], i)) }

func (m many) ListTenants(ctx context.Context) (out []drover.Tenant, err error) {
	list, err := m.shelfless.ListTenants(ctx)
	for i := range m.n {
		t := list[0]
		t.ID, t.Name = manyID(i), fmt.Sprint("customer", i)
		out = append(out, t)
	}
	return out, err
}

func (m many) Feeds(ctx context.Context) (out []ledger.FeedState, err error) {
	list, err := m.shelfless.Feeds(ctx)
	for i := range m.n {
		s := list[0]
		s.Feed.Tenant = manyID(i)
		out = append(out, s)
	}
	return out, err
}

// slow answers after a while, and counts how many wait for it.
type slow struct {
	Doer
	mu        sync.Mutex
	now, most int
	takes     time.Duration
}

func (s *slow) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	err := sleep(ctx, s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	if err != nil {
		return nil, err
	}
	return s.Doer.Do(ctx, r)
}

func (m many) auditor(d Doer, says func(string)) (*Auditor, Order) {
	o := Order{From: begin, To: begin.Add(900 * time.Hour)}
	for i := range m.n {
		o.Tenants = append(o.Tenants, manyID(i))
	}
	return New(Options{Store: m, HTTP: func(drover.Tenant) (Doer, error) { return d, nil }, Tokens: noTokens{}, Compare: bytesAlone{}, Wait: 90 * time.Second, Progress: says,
		Paces: &Paces{Allowed: func(drover.Tenant, drover.SourceID) (int, int) { return 75, 0 }},
		Host:  func(drover.Tenant, drover.SourceID) (string, error) { return "https://api.test", nil },
		Now:   func() time.Time { return begin.Add(1000 * time.Hour).Time() }}), o
}

func TestTenantsAreAuditedSideBySideInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{src: &graphAlerts, limit: 100, links: true}
		a.add(200, time.Hour)
		m := many{&shelfless{feed: drover.Feed{Tenant: tenantID, Source: drover.GraphAlerts}}, 60}
		m.hold(&graphAlerts, a.rows[:199]) // so that each waits before it looks again
		s := &slow{Doer: a, takes: 2 * time.Second}
		var lines []string
		auditor, o := m.auditor(s, func(l string) { lines = append(lines, l) })
		start := time.Now()
		r, err := auditor.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range r.Feeds {
			if f.Tenant != manyID(i) || f.Counts.API != 200 || f.Counts.Unexplained != 1 {
				t.Errorf("%d: %s %+v", i, f.Tenant, f.Counts)
			}
		}
		// One after another they would take 60 times 4 requests of two seconds and
		// 60 times three minutes.
		if took := time.Since(start); took > 15*time.Minute || s.most > atOnce || s.most < 2 {
			t.Errorf("it took %s, %d were asked at once", took, s.most)
		}
		if !strings.HasPrefix(lines[0], "0 of 60 feeds, 0 of about 11940 rows, 0 of about 120 requests, 0s of about 10s; begins") || !strings.HasPrefix(lines[len(lines)-1], "60 of 60 feeds, 12000 of about 11940 rows, ") {
			t.Errorf("it says %q … %q", lines[0], lines[len(lines)-1])
		}
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, " wait for up to 3m0s to look at the ledger again") }) {
			t.Error("it does not say that it waits")
		}
		if n := int(time.Since(start) / sayEvery); len(lines) < n {
			t.Errorf("it spoke %d times in %s", len(lines), time.Since(start))
		}
	})
}

// Whatever an audit waits for, it ends when it is told to.
func TestAnAuditThatIsStoppedEndsAtOnce(t *testing.T) {
	for name, d := range map[string]time.Duration{"while it asks": time.Second, "while it waits to look again": time.Minute, "while it keeps its pace": 20 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			a := &api{src: &graphAlerts, limit: 4, links: true}
			a.add(200, time.Hour)
			m := many{&shelfless{feed: drover.Feed{Tenant: tenantID, Source: drover.GraphAlerts}}, 60}
			auditor, o := m.auditor(&slow{Doer: a, takes: 2 * time.Second / time.Duration(1+one(d == 20*time.Second)*9)}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			start := time.Now()
			if _, err := auditor.Run(ctx, o); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != d {
				t.Errorf("%s: %v after %s, was told after %s", name, err, time.Since(start), d)
			}
		})
	}
}

// throttled refuses the third request, and notes when it is asked.
type throttled struct {
	Doer
	at []time.Time
}

func (d *throttled) Do(ctx context.Context, r httpx.Request) (*httpx.Response, error) {
	if d.at = append(d.at, time.Now()); len(d.at) == 3 {
		return &httpx.Response{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3540"}}, Body: []byte(`{"error":{"code":"TooManyRequests"}}`)}, nil
	}
	return d.Doer.Do(ctx, r)
}

func TestAnAuditWaitsAsLongAsTheAPISays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &api{src: &graphAlerts, limit: 50, links: true}
		a.add(200, time.Hour)
		m := many{&shelfless{feed: drover.Feed{Tenant: tenantID, Source: drover.GraphAlerts}}, 1}
		m.hold(&graphAlerts, a.rows)
		d := &throttled{Doer: a}
		auditor, o := m.auditor(d, nil)
		r, err := auditor.Run(t.Context(), o)
		if err != nil || r.Verdict != Agree || d.at[3].Sub(d.at[2]) < 59*time.Minute {
			t.Errorf("%v %v: asked again after %s", err, r.Verdict, d.at[3].Sub(d.at[2]))
		}
	})
}
