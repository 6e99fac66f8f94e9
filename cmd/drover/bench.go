package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"drover"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

func newBench() *cobra.Command {
	var all bench
	c := &cobra.Command{
		Use: "bench", Short: "Measure drover against a bare reference",
		Long: `bench measures drover on this machine: over TLS from a pretend cloud, into a ledger
and a file. Beside it, in the same run, a bare reference does the same work
without a ledger: it gets the same rows, finds where each begins and ends, and
writes them to a file, or throws them away where it polls. Each runs in a process
of its own; what counts is the ratio of their CPU seconds.

Where tenants are polled, each feed is read every minute, whatever happens: the
interval does not adapt as that of drover run does. Tokens are not renewed while
it is measured.`,
		Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().BoolVar(&all.json, "json", false, "print JSON")
	c.PersistentFlags().StringVar(&all.profile, "profile", "", "directory for CPU and heap profiles of each process (go tool pprof)")
	c.PersistentFlags().IntVar(&all.size, "size", 6000, "bytes of an alert, about")
	add := func(use, short string, run func(*bench, context.Context) (finding, error), flags func(*bench, *pflag.FlagSet)) {
		b := &bench{}
		sub := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
			b.json, b.profile, b.size, b.errs = all.json, all.profile, all.size, c.ErrOrStderr()
			return b.show(c.Context(), c.OutOrStdout(), run)
		}}
		flags(b, sub.Flags())
		c.AddCommand(sub)
	}
	add("backfill", "One tenant's backlog, by one source", (*bench).backfill, func(b *bench, f *pflag.FlagSet) {
		f.StringVar(&b.source, "source", string(drover.GraphAlerts), "the source that it is read by")
		f.IntVar(&b.alerts, "alerts", 50_000, "alerts in the backlog")
		f.IntVar(&b.runs, "runs", 3, "how often each is run; the median counts")
	})
	add("tenants", "Many tenants' small backlogs in one go, then with 20 % of the answers 429", (*bench).many, func(b *bench, f *pflag.FlagSet) {
		f.IntVar(&b.tenants, "tenants", 200, "how many tenants")
		f.IntVar(&b.alerts, "alerts", 100, "alerts that each has")
		f.IntVar(&b.runs, "runs", 3, "how often each is run; the median counts")
	})
	add("drip", "Many tenants polled each minute, few new alerts", (*bench).drip, func(b *bench, f *pflag.FlagSet) {
		f.IntVar(&b.tenants, "tenants", 10_000, "how many tenants")
		f.Float64Var(&b.rate, "rate", 3, "new alerts a second, of all together")
		f.DurationVar(&b.window, "for", 2*time.Minute, "how long each is measured, after every tenant has been read once (4 minutes for 10,000)")
	})
	add("feeds", "Many tenants polled each minute by all four sources", (*bench).feeds, func(b *bench, f *pflag.FlagSet) {
		f.IntVar(&b.tenants, "tenants", 10_000, "how many tenants, with four feeds each")
		f.Float64Var(&b.rate, "rate", 67, "new rows a second, of all feeds together, about")
		f.DurationVar(&b.window, "for", 3*time.Minute, "how long each is measured, after every feed has been read once (4 minutes for 40,000)")
	})
	c.AddCommand(&cobra.Command{Use: "subject", Hidden: true, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return subject(c) }})
	return c
}

// bench is what is to be measured, and how.
type bench struct {
	tenants, alerts, size, runs int
	rate                        float64
	window                      time.Duration
	json                        bool
	source, profile             string
	errs                        io.Writer
}

// measure is what one process took.
type measure struct {
	What       string  `json:"what"`
	Alerts     int     `json:"alerts"`
	Seconds    float64 `json:"seconds"`
	CPU        float64 `json:"cpu_seconds"`
	PeakMiB    float64 `json:"peak_mib"`
	WrittenMiB float64 `json:"written_mib"` // handed to the disk, as the kernel counts it
	Writes     int64   `json:"write_calls"`
	Fsyncs     int     `json:"fsyncs,omitempty"`      // of drover, counted by strace; -1: there is none
	Early      int     `json:"early_requests"`        // that came before Retry-After allowed them
	Throttled  int     `json:"throttled,omitempty"`   // answers with 429
	HalfDone   float64 `json:"half_done_s,omitempty"` // when half of the tenants had everything in the ledger
	EndMiB     float64 `json:"end_mib,omitempty"`     // resident at the end of the window
	Requests   int     `json:"requests,omitempty"`    // that the pretend cloud got in the window, for tokens too
	P50        float64 `json:"p50_s,omitempty"`       // from visible to committed, of what became visible in the window
	P99        float64 `json:"p99_s,omitempty"`
	Shown      int     `json:"shown,omitempty"` // how many rows that were
	Missed     int     `json:"missed"`          // of that, what was never committed
	Twice      int     `json:"twice"`           // rows that were committed again, though none ever changes
	from, to   int64   // the window in Unix microseconds
}

func (m measure) per100k() float64 { return m.CPU * 100_000 / float64(max(m.Alerts, 1)) }

// finding is what a benchmark found.
type finding struct {
	Rows   []measure          `json:"runs"`
	Ratios map[string]float64 `json:"cpu_ratios"`
	Drip   bool               `json:"-"`
	Feeds  bool               `json:"-"`
	notes  []string
}

func (b *bench) show(ctx context.Context, out io.Writer, run func(*bench, context.Context) (finding, error)) error {
	if b.size < 1000 || b.size > 1<<20 || b.alerts < 0 || b.alerts > 2_000_000 || b.tenants < 0 || b.tenants > 20_000 || b.runs < 0 {
		return usageError{errors.New("--size must be from 1000 to 1048576, --alerts at most 2000000, --tenants at most 20000")}
	}
	debug.SetGCPercent(400) // of the pretend cloud: it must not be what is measured
	r, err := run(b, ctx)
	if err != nil {
		return err
	}
	if b.json {
		return printJSON(out, r)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	switch {
	case r.Feeds:
		printFeeds(t, r.Rows)
	case r.Drip:
		_, _ = fmt.Fprintln(t, "\tnew alerts\tcores\tpeak MiB\twritten KiB per alert\tfsyncs per alert\t")
		for _, m := range r.Rows {
			n := float64(max(m.Alerts, 1))
			_, _ = fmt.Fprintf(t, "%s\t%d\t%.3f\t%.0f\t%.1f\t%s\t\n", m.What, m.Alerts, m.CPU/m.Seconds, m.PeakMiB, m.WrittenMiB*1024/n, fsyncs(m, n))
		}
	default:
		_, _ = fmt.Fprintln(t, "\tseconds\talerts/s\tCPU s per 100,000\tpeak MiB\twritten MiB\twrites\tfsyncs\t")
		for _, m := range r.Rows {
			_, _ = fmt.Fprintf(t, "%s\t%.1f\t%.0f\t%.2f\t%.0f\t%.0f\t%d\t%s\t\n", m.What, m.Seconds, float64(m.Alerts)/m.Seconds, m.per100k(), m.PeakMiB, m.WrittenMiB, m.Writes, fsyncs(m, 1))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range r.notes {
		if _, err := fmt.Fprintln(out, n); err != nil {
			return err
		}
	}
	return nil
}

func fsyncs(m measure, n float64) string {
	switch {
	case strings.HasPrefix(m.What, "reference"):
		return ""
	case m.Fsyncs < 0:
		return "no strace"
	case n == 1:
		return strconv.Itoa(m.Fsyncs)
	}
	return fmt.Sprintf("%.2f", float64(m.Fsyncs)/n)
}

// stage builds a pretend cloud that costs as little as it can.
func (b *bench) stage(tenants int, story estate.Options) (s *stage, done func(), err error) {
	dir, err := os.MkdirTemp("", "drover-bench-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	if s, err = newStage(stageOptions{dir: dir, listen: "127.0.0.1:0", seed: 1, customers: tenants, quiet: true, story: func(int) estate.Options { return story }}); err != nil {
		remove()
		return nil, nil, err
	}
	return s, func() { s.close(); remove() }, nil
}

// backfill measures one tenant's backlog.
func (b *bench) backfill(ctx context.Context) (finding, error) {
	source := drover.SourceID(b.source)
	if !slices.Contains(allSources, source) {
		return finding{}, unknownSource(source)
	}
	_, _ = fmt.Fprintf(b.errs, "making %d rows of about %d bytes …\n", b.alerts, b.size)
	s, done, err := b.stage(1, story(source, b.alerts, b.size))
	if err != nil {
		return finding{}, err
	}
	defer done()
	j := job{Tenants: tenantsOf(s), Sources: []drover.SourceID{source}, Alerts: visible(s, source), Interval: "1s"}
	all, err := b.repeat(ctx, s, j, "reference", "drover")
	if err != nil {
		return finding{}, err
	}
	ref, own := median(all["reference"]), median(all["drover"])
	if own.Fsyncs, err = b.countFsyncs(ctx, s, j); err != nil {
		return finding{}, err
	}
	ratio := own.per100k() / ref.per100k()
	return finding{Rows: []measure{ref, own}, Ratios: map[string]float64{"backfill": ratio}, notes: []string{fmt.Sprintf("CPU: %.2f times the reference", ratio)}}, nil
}

// many measures many tenants at once, without and with throttling.
func (b *bench) many(ctx context.Context) (finding, error) {
	_, _ = fmt.Fprintf(b.errs, "making %d tenants with %d alerts of about %d bytes …\n", b.tenants, b.alerts, b.size)
	s, done, err := b.stage(b.tenants, estate.Options{Backlog: b.alerts, Size: b.size})
	if err != nil {
		return finding{}, err
	}
	defer done()
	j := job{Tenants: tenantsOf(s), Sources: allSources[:1], Alerts: b.alerts * b.tenants, Interval: "60s"}
	all, err := b.repeat(ctx, s, j, "reference", "drover")
	if err != nil {
		return finding{}, err
	}
	s.lab.Faults().Set(fault.Rule{Kind: fault.Status, API: "graph", Share: 0.2, Param: 429, RetryAfter: "2", Obey: 2 * time.Second})
	var slow []measure
	for range max(b.runs, 1) {
		// What the run before was told to wait is not this one's.
		if !pause(ctx, 2*time.Second) {
			return finding{}, ctx.Err()
		}
		m, err := b.once(ctx, s, "drover", j)
		if err != nil {
			return finding{}, err
		}
		slow = append(slow, m)
	}
	ref, own, throttled := median(all["reference"]), median(all["drover"]), median(slow)
	throttled.What = "drover, 20 % of the answers 429"
	hits := s.lab.Faults().Hits()
	own.Fsyncs, throttled.Fsyncs = -1, -1
	throttled.Early, throttled.Throttled = hits["early"], hits[fault.Status]
	ratio := own.CPU / ref.CPU
	return finding{Rows: []measure{ref, own, throttled}, Ratios: map[string]float64{"tenants": ratio}, notes: []string{
		fmt.Sprintf("CPU: %.2f times the reference", ratio),
		fmt.Sprintf("throttled: %d answers with 429 in %d runs, %d requests came before Retry-After allowed them", throttled.Throttled, len(slow), throttled.Early),
		fmt.Sprintf("half of the tenants were whole after %.1f s, with throttling after %.1f s", own.HalfDone, throttled.HalfDone)}}, nil
}

// drip measures many tenants where hardly anything happens.
func (b *bench) drip(ctx context.Context) (finding, error) {
	if b.window < 10*time.Second {
		return finding{}, usageError{errors.New("--for must be at least 10s")}
	}
	_, _ = fmt.Fprintf(b.errs, "making %d tenants …\n", b.tenants)
	perMinute := b.rate * 60 / float64(max(b.tenants, 1))
	s, done, err := b.stage(b.tenants, estate.Options{PerMinute: perMinute, Size: b.size, Horizon: 2*b.window + 8*(&job{Tenants: make([]string, b.tenants), Sources: allSources[:1]}).warmUp()})
	if err != nil {
		return finding{}, err
	}
	defer done()
	j := job{Tenants: tenantsOf(s), Sources: allSources[:1], Interval: "60s", Window: b.window}
	ref, err := b.once(ctx, s, "reference", j)
	if err != nil {
		return finding{}, err
	}
	j.trace = true
	own, err := b.once(ctx, s, "drover", j)
	if err != nil {
		return finding{}, err
	}
	ratio := own.CPU / ref.CPU
	return finding{Rows: []measure{ref, own}, Ratios: map[string]float64{"drip": ratio}, Drip: true, notes: []string{fmt.Sprintf("CPU: %.2f times the reference", ratio)}}, nil
}

func tenantsOf(s *stage) (ids []string) {
	for _, c := range s.lab.Customers() {
		ids = append(ids, c.Tenant)
	}
	return ids
}

// repeat runs subjects in turn.
func (b *bench) repeat(ctx context.Context, s *stage, j job, subjects ...string) (map[string][]measure, error) {
	all := map[string][]measure{}
	for range max(b.runs, 1) {
		for _, what := range subjects {
			m, err := b.once(ctx, s, what, j)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			_, _ = fmt.Fprintf(b.errs, "%-10s %6.2f CPU s per 100,000, %8.0f alerts/s\n", what, m.per100k(), float64(m.Alerts)/m.Seconds)
			all[what] = append(all[what], m)
		}
	}
	return all, nil
}

// median is the run whose CPU is in the middle.
func median(list []measure) measure {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b measure) int { return int((a.CPU - b.CPU) * 1e6) })
	return sorted[len(sorted)/2]
}

// countFsyncs runs drover once more, under strace, -1 if there is none.
func (b *bench) countFsyncs(ctx context.Context, s *stage, j job) (int, error) {
	j.trace = true
	m, err := b.once(ctx, s, "drover", j)
	return m.Fsyncs, err
}

// once runs a subject in a process of its own, on a fresh ledger.
func (b *bench) once(ctx context.Context, s *stage, what string, j job) (m measure, err error) {
	dir, err := os.MkdirTemp(s.dir, what+"-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if j.Config, err = s.benchConfig(dir, j.Interval, j.Feeds); err != nil {
		return m, err
	}
	if j.What = what; b.profile != "" {
		j.Profile = filepath.Join(b.profile, what)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return m, err
	}
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	args, trace := []string{self, "bench", "subject", "-c", j.Config}, ""
	if j.trace {
		if strace, err := exec.LookPath("strace"); err == nil {
			trace = filepath.Join(dir, "trace")
			args = append([]string{strace, "-f", "--seccomp-bpf", "-qq", "-ttt", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-o", trace}, args...)
		}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdin, cmd.Stderr = strings.NewReader(string(text)), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // what strace has started as well
	asked := s.countRequests()
	out, err := cmd.Output()
	counted := asked()
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(out, &struct {
		*measure
		From, To *int64
	}{&m, &m.from, &m.to}); err != nil {
		return m, err
	}
	m.Requests = counted(m.from, m.to)
	if m.Fsyncs = -1; trace != "" {
		if m.Fsyncs, err = countTrace(trace, m.from, m.to); err != nil {
			return m, err
		}
	}
	if j.Feeds && what == "drover" {
		err = s.lag(filepath.Join(dir, commitsName), &m)
	}
	return m, err
}

// benchConfig writes a config with one sink, the file.
func (s *stage) benchConfig(dir, interval string, single bool) (path string, err error) {
	text, err := os.ReadFile(s.config)
	if err != nil {
		return "", err
	}
	yaml := strings.NewReplacer(s.dir+"/ledger", dir+"/ledger", s.dir+"/keys", dir+"/keys", s.dir+"/out", dir+"/out", "interval: 1s", "interval: "+interval).Replace(string(text))
	if interval != "1s" { // as by default
		yaml = strings.NewReplacer("  overlap: 30s\n", "", "  sweeps: [{depth: 2m, every: 5s}]\n", "").Replace(yaml)
	}
	if single {
		yaml = strings.Replace(yaml, "    batch: {max_age: 100ms}\n", oneFile, 1)
	}
	yaml = yaml[:strings.Index(yaml, "  soc:")] + "listen: {health: none}\n"
	path = filepath.Join(dir, "drover.yaml")
	return path, os.WriteFile(path, []byte(yaml), 0o600)
}
