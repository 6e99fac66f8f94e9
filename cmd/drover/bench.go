package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/httpx"
	"drover/internal/lab/estate"
)

func newBench() *cobra.Command {
	b := &bench{}
	c := &cobra.Command{
		Use: "bench", Short: "Measure the backfill against a bare reference",
		Long: `bench reads one pretend tenant's backlog over TLS into the ledger and a file, and
beside it, from the same pretend cloud, a bare reference: it downloads the same
pages, finds where each row begins and ends, and writes the rows to a file with
one fsync. Each runs in a process of its own, in turn; what counts is the ratio of
their CPU seconds, in one run on one machine.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return b.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr()) },
	}
	f := c.Flags()
	f.IntVar(&b.alerts, "alerts", 50_000, "alerts in the backlog")
	f.IntVar(&b.size, "size", 6000, "bytes of an alert, about")
	f.IntVar(&b.runs, "runs", 3, "how often each is run; the median counts")
	f.BoolVar(&b.json, "json", false, "print JSON")
	f.StringVar(&b.profile, "profile", "", "directory for a CPU profile and a heap profile of each process (go tool pprof)")
	subject := &cobra.Command{Use: "subject KIND", Hidden: true, Args: oneArg("what to run"), RunE: func(c *cobra.Command, args []string) error {
		return benchSubject(c, args[0], b.alerts)
	}}
	subject.Flags().IntVar(&b.alerts, "alerts", 0, "")
	c.AddCommand(subject)
	return c
}

type bench struct {
	alerts, size, runs int
	json               bool
	profile            string
}

// measure is what one process took.
type measure struct {
	What       string  `json:"what"`
	Alerts     int     `json:"alerts"`
	Seconds    float64 `json:"seconds"`
	CPU        float64 `json:"cpu_seconds"`
	PeakMiB    float64 `json:"peak_mib"`
	WrittenMiB float64 `json:"written_mib"` // handed to the disk, as the kernel counts it
	Calls      int64   `json:"write_calls"`
}

func (m measure) per100k() float64 { return m.CPU * 100_000 / float64(max(m.Alerts, 1)) }

func (b *bench) run(ctx context.Context, out, errs io.Writer) error {
	if b.alerts < 100 || b.alerts > 2_000_000 || b.runs < 1 || b.size < 1000 || b.size > 1<<20 {
		return usageError{errors.New("--alerts must be from 100 to 2000000, --runs at least 1, --size from 1000 to 1048576")}
	}
	dir, err := os.MkdirTemp("", "drover-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_, _ = fmt.Fprintf(errs, "making %d alerts of about %d bytes …\n", b.alerts, b.size)
	s, err := newStage(stageOptions{dir: dir, listen: "127.0.0.1:0", seed: 1, customers: 1, quiet: true, story: func(int) estate.Options { return estate.Options{Backlog: b.alerts, Size: b.size} }})
	if err != nil {
		return err
	}
	defer s.close()
	labProfile := ""
	if b.profile != "" {
		labProfile = filepath.Join(b.profile, "lab")
	}
	profiled, err := profile(labProfile)
	if err != nil {
		return err
	}
	results := map[string][]measure{}
	for n := range b.runs {
		for _, what := range []string{"reference", "drover"} {
			m, err := b.once(ctx, s, what, n)
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			_, _ = fmt.Fprintf(errs, "%-10s %6.2f CPU s per 100,000, %8.0f alerts/s\n", what, m.per100k(), float64(m.Alerts)/m.Seconds)
			results[what] = append(results[what], m)
		}
	}
	if err := profiled(); err != nil {
		return err
	}
	ref, own := median(results["reference"]), median(results["drover"])
	if b.json {
		return printJSON(out, map[string]any{"reference": ref, "drover": own, "ratio": own.CPU / ref.CPU})
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "\talerts/s\tCPU s per 100,000\tpeak MiB\twritten MiB\twrites\t")
	for _, m := range []measure{ref, own} {
		_, _ = fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.0f\t%.0f\t%d\t\n", m.What, float64(m.Alerts)/m.Seconds, m.per100k(), m.PeakMiB, m.WrittenMiB, m.Calls)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "ratio of CPU: %.2f\n", own.CPU/ref.CPU)
	return err
}

// median is the run whose CPU is in the middle.
func median(list []measure) measure {
	sorted := append([]measure(nil), list...)
	for i := range sorted {
		for j := i; j > 0 && sorted[j].CPU < sorted[j-1].CPU; j-- {
			sorted[j], sorted[j-1] = sorted[j-1], sorted[j]
		}
	}
	return sorted[len(sorted)/2]
}

// once runs a subject in a process of its own, on a fresh ledger.
func (b *bench) once(ctx context.Context, s *stage, what string, n int) (measure, error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("%s-%d", what, n))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return measure{}, err
	}
	text, err := os.ReadFile(s.config)
	if err != nil {
		return measure{}, err
	}
	yaml := strings.NewReplacer(s.dir+"/ledger", dir+"/ledger", s.dir+"/keys", dir+"/keys", s.dir+"/out", dir+"/out").Replace(string(text))
	yaml = yaml[:strings.Index(yaml, "  soc:")] + "listen: {health: none}\n"
	cfg := filepath.Join(dir, "drover.yaml")
	if err := os.WriteFile(cfg, []byte(yaml), 0o600); err != nil {
		return measure{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return measure{}, err
	}
	cmd := exec.CommandContext(ctx, self, "bench", "subject", what, "-c", cfg, "--alerts", fmt.Sprint(b.alerts))
	cmd.Env = append(os.Environ(), childEnv+"=1", "DROVER_BENCH_TENANT="+s.lab.Customers()[0].Tenant)
	if b.profile != "" {
		cmd.Env = append(cmd.Env, "DROVER_BENCH_PROFILE="+filepath.Join(b.profile, fmt.Sprintf("%s-%d", what, n)))
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return measure{}, err
	}
	var m measure
	err = json.Unmarshal(out, &m)
	return m, errors.Join(err, os.RemoveAll(dir))
}

// benchSubject is what runs in the process that is measured.
func benchSubject(c *cobra.Command, what string, alerts int) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return err
	}
	tenant, err := drover.ParseTenantID(os.Getenv("DROVER_BENCH_TENANT"))
	if err != nil {
		return err
	}
	t := drover.Tenant{ID: tenant, Name: "bench", Customer: "bench", Cloud: "lab", App: "default", State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}, Start: nowInstant().Add(-60 * 24 * time.Hour)}
	profiled, err := profile(os.Getenv("DROVER_BENCH_PROFILE"))
	if err != nil {
		return err
	}
	start := time.Now()
	switch what {
	case "reference":
		alerts, err = reference(c.Context(), a, t, filepath.Join(filepath.Dir(cfg.Ledger.Dir), "reference.ndjson"))
	case "drover":
		err = a.backfill(c.Context(), cfg, t, alerts)
	default:
		err = fmt.Errorf("there is no subject %q", what)
	}
	if err != nil {
		return err
	}
	m := measure{What: what, Alerts: alerts, Seconds: time.Since(start).Seconds()}
	if err := profiled(); err != nil {
		return err
	}
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return err
	}
	m.CPU = time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
	m.PeakMiB = float64(use.Maxrss) / 1024
	if text, err := os.ReadFile("/proc/self/io"); err == nil {
		for line := range strings.Lines(string(text)) {
			var n int64
			if _, err := fmt.Sscanf(line, "write_bytes: %d", &n); err == nil {
				m.WrittenMiB = float64(n) / (1 << 20)
			}
			if _, err := fmt.Sscanf(line, "syscw: %d", &n); err == nil {
				m.Calls = n
			}
		}
	}
	return json.NewEncoder(c.OutOrStdout()).Encode(m)
}

// profile begins to write path.cpu and gives the function that ends it and
// writes path.heap. It does nothing for an empty path.
func profile(path string) (end func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(path + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(path + ".heap")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(cpu.Close(), pprof.Lookup("allocs").WriteTo(heap, 0), heap.Close())
	}, nil
}

// backfill reads and delivers until everything has arrived.
func (a *app) backfill(ctx context.Context, cfg *config.Config, t drover.Tenant, alerts int) error {
	if err := a.openLedger(ctx); err != nil {
		return err
	}
	if err := a.store.AddTenant(ctx, t); err != nil {
		return err
	}
	if err := a.store.Close(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	api := admin.Dial(cfg.Ledger.Dir)
	for {
		if !pause(ctx, 20*time.Millisecond) {
			break
		}
		s, err := api.Status(ctx)
		if err == nil && len(s.Tenants) == 1 && len(s.Sinks) == 1 && s.Tenants[0].Feeds[0].Revisions >= uint64(alerts) && s.Sinks[0].Behind == 0 {
			break
		}
		select {
		case err := <-done:
			cancel()
			return errors.Join(err, errors.New("it ended before everything had arrived"))
		default:
		}
	}
	cancel()
	return <-done
}

// reference is the bare way: the same pages, the same bounds, one file, one
// fsync. It keeps nothing else.
func reference(ctx context.Context, a *app, t drover.Tenant, path string) (rows int, err error) {
	client := a.https["lab"]
	token, err := a.tokens.Token(ctx, t, drover.GraphAlerts)
	if err != nil {
		return 0, err
	}
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	base := a.cfg.Clouds["lab"].Graph + "/v1.0/security/alerts_v2"
	from := t.Start.String()
	last := 0
	for {
		q := "?$filter=" + url.PathEscape("lastUpdateDateTime ge "+from) + "&$orderby=lastUpdateDateTime%20asc&$top=500"
		res, err := client.Do(ctx, httpx.Request{URL: base + q, Origin: base, Bearer: token, Header: http.Header{"Prefer": {"include-unknown-enum-members"}}})
		if err != nil {
			return rows, err
		}
		bounds, at := rowBounds(res.Body)
		for _, r := range bounds[min(last, len(bounds)):] {
			_, _ = w.Write(res.Body[r[0]:r[1]]) // its error stays with the writer
			_ = w.WriteByte('\n')
			rows++
		}
		if at == "" || at == from {
			return rows, errors.Join(w.Flush(), f.Sync(), f.Close())
		}
		// The next page begins with the rows of the last instant again.
		last = 0
		for last < len(bounds) && changeOf(res.Body, bounds[len(bounds)-1-last]) == at {
			last++
		}
		from = at
	}
}

// rowBounds finds the rows of a page by counting braces outside of strings,
// and the last row's change time.
func rowBounds(page []byte) (bounds [][2]int, last string) {
	i := strings.Index(string(page[:min(len(page), 4096)]), `"value":[`) + len(`"value":[`)
	depth, start := 0, 0
	for ; i < len(page); i++ {
		switch page[i] {
		case '"':
			for i++; i < len(page); i++ {
				n := bytes.IndexByte(page[i:], '"')
				if n < 0 {
					return nil, ""
				}
				i += n
				back := i - 1
				for page[back] == '\\' {
					back--
				}
				if (i-back)%2 == 1 {
					break // not escaped
				}
			}
		case '{', '[':
			if depth == 0 {
				start = i
			}
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				bounds = append(bounds, [2]int{start, i + 1})
			}
			if depth < 0 {
				i = len(page)
			}
		}
	}
	if n := len(bounds); n > 0 {
		last = changeOf(page, bounds[n-1])
	}
	return bounds, last
}

// changeOf returns a row's change time as it is written.
func changeOf(page []byte, bound [2]int) string {
	_, rest, _ := bytes.Cut(page[bound[0]:bound[1]], []byte(`"lastUpdateDateTime":"`))
	at, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(at)
}
