package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
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
	"drover/internal/collect"
	"drover/internal/config"
)

// job is what a process that is measured is told, on standard input.
type job struct {
	What     string            `json:"what"`
	Config   string            `json:"config"`
	Tenants  []string          `json:"tenants"`
	Sources  []drover.SourceID `json:"sources"`
	Alerts   int               `json:"alerts"` // of all tenants; the work is done when all have arrived
	Window   time.Duration     `json:"window"` // measured after warmUp, instead
	Interval string            `json:"interval"`
	Profile  string            `json:"profile"`
	Feeds    bool              `json:"feeds"` // tokens come faster before the window, and commitsName is written behind it

	trace bool
}

// subject is what runs in the process that is measured.
func subject(c *cobra.Command) error {
	var j job
	if err := json.NewDecoder(c.InOrStdin()).Decode(&j); err != nil {
		return err
	}
	a, err := loadApp(c)
	if err != nil {
		return err
	}
	a.steady = true // the reference is as well
	if j.Feeds {
		a.tokens = a.newTokens(time.Second / rushed)
	}
	start := nowInstant().Add(-60 * 24 * time.Hour)
	if j.Window > 0 {
		start = nowInstant()
	}
	var tenants []drover.Tenant
	for i, id := range j.Tenants {
		name := fmt.Sprintf("t%05d", i)
		tenants = append(tenants, drover.Tenant{ID: drover.TenantID(id), Name: name, Customer: drover.CustomerID(name), Cloud: "lab", App: "default", State: drover.Active, Sources: j.Sources, Start: start})
	}
	whole := j.Profile
	if j.Window > 0 {
		whole = "" // only the window
	}
	profiled, err := profile(whole)
	if err != nil {
		return err
	}
	var m measure
	switch {
	case j.What == "drover":
		m, err = a.measured(c.Context(), a.cfg, tenants, j)
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
	forgetPeak() // of adding them
	before, err := usageNow()
	if err != nil {
		return m, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := newFirsts(len(j.Tenants) * len(j.Sources))
	if j.Window > 0 {
		a.heard = func(e collect.Event) {
			if e.What == "read" {
				begun.note(e.Feed)
			}
		}
	}
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
		select {
		case err := <-done:
			return m, over(err)
		case <-begun.all:
		case <-time.After(j.patience()):
			return m, fmt.Errorf("only %d of %d feeds had been read after %s", begun.count(), begun.want, j.patience())
		}
		j.settle(ctx)
		// Counted at the sink: a status of so many tenants would be most of the memory.
		first, err := linesBelow(filepath.Join(filepath.Dir(j.Config), "out"))
		if err != nil {
			return m, err
		}
		if m, err = j.watch(ctx); err != nil {
			return m, err
		}
		select {
		case err := <-done:
			return m, over(err)
		default:
		}
		last, err := linesBelow(filepath.Join(filepath.Dir(j.Config), "out"))
		if err != nil {
			return m, err
		}
		m.Alerts = last - first
		if j.Feeds {
			pause(ctx, drain) // so that what showed last can be there
		}
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
	if err := <-done; err != nil || !j.Feeds {
		return m, err
	}
	return m, a.listCommits(context.WithoutCancel(ctx), filepath.Join(filepath.Dir(j.Config), commitsName))
}

// watch measures the window.
func (j *job) watch(ctx context.Context) (m measure, err error) {
	profiled, err := profile(j.Profile)
	if err != nil {
		return m, err
	}
	before, err := usageNow()
	if err != nil {
		return m, err
	}
	pause(ctx, j.Window)
	m, err = before.since()
	return m, errors.Join(err, profiled())
}

// linesBelow counts the lines of the files of a file sink, none if there is none
// yet. They lie in folders, or are one.
func linesBelow(dir string) (n int, err error) {
	for _, pattern := range []string{"*.ndjson", "*/*.ndjson"} {
		files, gerr := filepath.Glob(filepath.Join(dir, pattern))
		err = errors.Join(err, gerr)
		for _, path := range files {
			text, rerr := os.ReadFile(path)
			n, err = n+bytes.Count(text, []byte("\n")), errors.Join(err, rerr)
		}
	}
	return n, err
}

// warmUp is how long it takes until every feed has been read once: its first
// token comes at most fifty a second (entra), and its first read takes the feed.
func (j *job) warmUp() time.Duration {
	perSecond := 50
	if j.Feeds {
		perSecond = rushed
	}
	return max(time.Minute, time.Duration(len(j.Tenants)*len(j.Sources))*time.Second/time.Duration(perSecond)+30*time.Second)
}

// patience is how long one waits for that on a busy machine.
func (j *job) patience() time.Duration { return 4 * j.warmUp() }

// settle waits until what is measured goes its usual way.
func (j *job) settle(ctx context.Context) {
	if j.Feeds {
		pause(ctx, calm)
	}
}

// firsts counts feeds that have been read for the first time.
type firsts struct {
	want int
	all  chan struct{} // closed when as many have been read as are wanted

	mu   sync.Mutex
	seed maphash.Seed
	read map[uint64]struct{} // nil when all have been
}

func newFirsts(want int) *firsts {
	return &firsts{want: want, all: make(chan struct{}), seed: maphash.MakeSeed(), read: make(map[uint64]struct{})}
}

func (f *firsts) note(x drover.Feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read == nil {
		return
	}
	if f.read[maphash.Comparable(f.seed, x)] = struct{}{}; len(f.read) == f.want {
		f.read = nil
		close(f.all)
	}
}

func (f *firsts) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.read)
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
		n, err := newBare(a, tenants[i], tenants[i].Sources[0]).read(ctx, w)
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

// barePoll polls each feed once a minute the bare way, those that are due in a
// tenth of a second together: waking for each one would cost more than reading it.
func (a *app) barePoll(ctx context.Context, tenants []drover.Tenant, j job) (m measure, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work, begun := make(chan *bare), newFirsts(len(tenants)*len(j.Sources))
	var rows atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for b := range work {
				if n, err := b.read(ctx, io.Discard); err == nil {
					rows.Add(int64(n))
					begun.note(drover.Feed{Tenant: b.tenant.ID, Source: b.source})
				}
			}
		})
	}
	wg.Go(func() {
		defer close(work)
		var all []*bare
		for i := range tenants {
			for _, s := range tenants[i].Sources {
				all = append(all, newBare(a, tenants[i], s))
			}
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		tick, begin := time.NewTicker(100*time.Millisecond), time.Now()
		defer tick.Stop()
		for i := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for due := int(time.Since(begin) * time.Duration(len(all)) / time.Minute); i < due && ctx.Err() == nil; i++ {
				work <- all[i%len(all)]
			}
		}
	})
	select {
	case <-begun.all:
	case <-time.After(j.patience()):
		return m, fmt.Errorf("only %d of %d feeds had been read after %s", begun.count(), begun.want, j.patience())
	}
	j.settle(ctx)
	first := rows.Load()
	if m, err = j.watch(ctx); err != nil {
		return m, err
	}
	m.Alerts = int(rows.Load() - first)
	cancel()
	wg.Wait()
	return m, nil
}
