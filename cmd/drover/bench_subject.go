package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
)

// job is what a process that is measured is told, on standard input.
type job struct {
	What     string        `json:"what"`
	Config   string        `json:"config"`
	Tenants  []string      `json:"tenants"`
	Alerts   int           `json:"alerts"` // of all tenants; the work is done when all have arrived
	Window   time.Duration `json:"window"` // measured after warmUp, instead
	Interval string        `json:"interval"`
	Profile  string        `json:"profile"`

	trace bool
}

// subject is what runs in the process that is measured.
func subject(c *cobra.Command) error {
	var j job
	if err := json.NewDecoder(c.InOrStdin()).Decode(&j); err != nil {
		return err
	}
	cfg, err := load(c)
	if err != nil {
		return err
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return err
	}
	a.steady = true // the reference is as well
	start := nowInstant().Add(-60 * 24 * time.Hour)
	if j.Window > 0 {
		start = nowInstant()
	}
	var tenants []drover.Tenant
	for i, id := range j.Tenants {
		name := fmt.Sprintf("t%05d", i)
		tenants = append(tenants, drover.Tenant{ID: drover.TenantID(id), Name: name, Customer: drover.CustomerID(name), Cloud: "lab", App: "default", State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}, Start: start})
	}
	profiled, err := profile(j.Profile)
	if err != nil {
		return err
	}
	var m measure
	switch {
	case j.What == "drover":
		m, err = a.measured(c.Context(), cfg, tenants, j)
	case j.Window > 0:
		m, err = a.barePoll(c.Context(), tenants, j)
	default:
		m, err = a.bareRead(c.Context(), tenants, filepath.Join(filepath.Dir(j.Config), "reference.ndjson"))
	}
	if err = errors.Join(err, profiled()); err != nil {
		return err
	}
	m.What = j.What
	return json.NewEncoder(c.OutOrStdout()).Encode(struct {
		measure
		From, To int64
	}{m, m.from, m.to})
}

// measured runs drover until everything has arrived, or for the window.
func (a *app) measured(ctx context.Context, cfg *config.Config, tenants []drover.Tenant, j job) (m measure, err error) {
	if err := a.addTenants(ctx, tenants); err != nil {
		return m, err
	}
	before, err := usageNow()
	if err != nil {
		return m, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	over := func(err error) error {
		return errors.Join(err, errors.New("it ended before everything had arrived"))
	}
	api := admin.Dial(cfg.Ledger.Dir)
	held := func() (n int, whole int, behind bool) {
		s, err := api.Status(ctx)
		if err != nil || len(s.Sinks) != 1 {
			return 0, 0, true
		}
		for _, t := range s.Tenants {
			r := int(t.Feeds[0].Revisions)
			if n += r; r >= j.Alerts/len(tenants) {
				whole++
			}
		}
		return n, whole, s.Sinks[0].Behind > 0
	}
	if j.Window > 0 {
		if !pause(ctx, warmUp(len(tenants))) {
			return m, over(<-done)
		}
		// Counted at the sink: a status of so many tenants would be most of the memory.
		first, err := linesBelow(filepath.Join(filepath.Dir(j.Config), "out"))
		if err != nil {
			return m, err
		}
		if before, err = usageNow(); err != nil {
			return m, err
		}
		select {
		case err := <-done:
			return m, over(err)
		case <-time.After(j.Window):
		}
		if m, err = before.since(); err != nil {
			return m, err
		}
		last, err := linesBelow(filepath.Join(filepath.Dir(j.Config), "out"))
		if err != nil {
			return m, err
		}
		m.Alerts = last - first
	} else {
		half, poll := 0.0, 20*time.Millisecond+time.Duration(len(tenants))*time.Millisecond // asking costs as well
		for {
			select {
			case err := <-done:
				return m, over(err)
			case <-time.After(poll):
			}
			n, whole, behind := held()
			if half == 0 && whole*2 >= len(tenants) {
				half = time.Since(before.at).Seconds()
			}
			if n >= j.Alerts && !behind {
				break
			}
		}
		if m, err = before.since(); err != nil {
			return m, err
		}
		m.Alerts, m.HalfDone = j.Alerts, half
	}
	cancel()
	return m, <-done
}

// linesBelow counts the lines of the files of a file sink, none if there is none
// yet.
func linesBelow(dir string) (n int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.ndjson"))
	for _, path := range files {
		text, rerr := os.ReadFile(path)
		n, err = n+bytes.Count(text, []byte("\n")), errors.Join(err, rerr)
	}
	return n, err
}

// warmUp is how long it takes until every tenant has been read once: its first
// token comes at most fifty a second (entra), and its first read takes the feed.
func warmUp(tenants int) time.Duration {
	return max(time.Minute, time.Duration(tenants)*time.Second/50+30*time.Second)
}

// addTenants registers tenants, many at a time, so that they share commits.
func (a *app) addTenants(ctx context.Context, tenants []drover.Tenant) error {
	if err := a.openLedger(ctx); err != nil {
		return err
	}
	err := inParallel(64, len(tenants), func(i int) error { return a.store.AddTenant(ctx, tenants[i]) })
	return errors.Join(err, a.store.Close())
}

// inParallel calls f for 0 to n-1, k at a time.
func inParallel(k, n int, f func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, k)
	for w := range k {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[w] = f(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// bareRead reads tenants the bare way into one file with one fsync.
func (a *app) bareRead(ctx context.Context, tenants []drover.Tenant, path string) (m measure, err error) {
	f, err := os.Create(path)
	if err != nil {
		return m, err
	}
	before, err := usageNow()
	if err != nil {
		return m, err
	}
	w := &shared{w: bufio.NewWriterSize(f, 1<<20)}
	var rows atomic.Int64
	if err := inParallel(16, len(tenants), func(i int) error {
		n, err := newBare(a, tenants[i]).read(ctx, w)
		rows.Add(int64(n))
		return err
	}); err != nil {
		return m, errors.Join(err, f.Close())
	}
	if err := errors.Join(w.w.Flush(), f.Sync(), f.Close()); err != nil {
		return m, err
	}
	m, err = before.since()
	m.Alerts = int(rows.Load())
	return m, err
}

// shared is a writer that many use. Rows of two tenants may come between a row
// and its line end: nobody reads this file.
type shared struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// barePoll polls each tenant once a minute the bare way.
func (a *app) barePoll(ctx context.Context, tenants []drover.Tenant, j job) (m measure, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := make(chan *bare)
	var rows atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for b := range work {
				n, err := b.read(ctx, io.Discard)
				if err == nil {
					rows.Add(int64(n))
				}
			}
		})
	}
	wg.Go(func() {
		defer close(work)
		all := make([]*bare, len(tenants))
		for i := range tenants {
			all[i] = newBare(a, tenants[i])
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		tick := time.NewTicker(max(time.Minute/time.Duration(len(all)), 10*time.Microsecond))
		defer tick.Stop()
		for i := 0; ; i = (i + 1) % len(all) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				work <- all[i]
			}
		}
	})
	pause(ctx, warmUp(len(tenants)))
	first := rows.Load()
	before, err := usageNow()
	if err != nil {
		return m, err
	}
	pause(ctx, j.Window)
	if m, err = before.since(); err != nil {
		return m, err
	}
	m.Alerts = int(rows.Load() - first)
	cancel()
	wg.Wait()
	return m, nil
}
