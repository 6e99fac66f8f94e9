package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
	"drover/internal/lab/splunk"
	"drover/internal/ledger"
	"drover/internal/oracle"
)

func newDemo() *cobra.Command {
	d := &demo{}
	c := &cobra.Command{
		Use: "demo", Short: "See all of it work, without any account",
		Long: `demo starts a pretend Microsoft cloud with 8 customers and a pretend Splunk, and a
real drover that reads and delivers over TLS into a file and into Splunk. In the
middle it kills that drover with SIGKILL and starts it again; it throttles, sends
5xx storms, cuts answers, shows rows late, changes alerts while they are paged
through, slips in a row of another tenant, and takes Splunk away for a while.

At the end a judge that shares no code with drover compares what the cloud truly
showed with the file, with Splunk's own log and with the ledger, and prints the
table. The exit code is 0 only if nothing is lost, doubled or misplaced.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			d.out, d.err = c.OutOrStdout(), c.ErrOrStderr()
			return d.run(c.Context())
		},
	}
	f := c.Flags()
	f.DurationVar(&d.span, "for", 30*time.Second, "how long it runs")
	f.BoolVar(&d.keep, "keep", false, "stay up afterwards, until stopped; keep the files")
	f.BoolVar(&d.json, "json", false, "print the verdict as JSON")
	f.Uint64Var(&d.seed, "seed", 1, "of everything that is drawn")
	f.IntVar(&d.customers, "customers", 8, "how many customers")
	f.IntVar(&d.kills, "kills", 1, "how often the collecting process is killed, at random moments if more than once")
	f.IntVar(&d.backlog, "backlog", 500, "alerts that each customer has at the start")
	return c
}

// demo is one run of it.
type demo struct {
	span      time.Duration
	keep      bool
	json      bool
	seed      uint64
	customers int
	kills     int
	backlog   int
	out, err  io.Writer

	dir   string
	stage *stage
	child *exec.Cmd
	log   *os.File
	start time.Time
}

// Shares of the run at which things happen. Faults end at calm; what is left
// of the run is for everything to arrive.
const (
	atThrottle = 0.10
	atStorm    = 0.22
	atKill     = 0.34
	atOutage   = 0.44
	atCuts     = 0.56
	atCalm     = 0.70
	shortest   = 10 * time.Second
)

func (d *demo) run(ctx context.Context) (err error) {
	if d.span < shortest {
		return usageError{fmt.Errorf("--for must be at least %s", shortest)}
	}
	if d.customers < 1 || d.customers > 1000 {
		return usageError{errors.New("--customers must be from 1 to 1000")}
	}
	if d.dir, err = os.MkdirTemp("", "drover-demo-"); err != nil {
		return err
	}
	if !d.keep {
		defer func() { _ = os.RemoveAll(d.dir) }()
	}
	d.say("a pretend cloud with %d customers is being made …", d.customers)
	if d.stage, err = newStage(stageOptions{dir: d.dir, listen: "127.0.0.1:0", seed: d.seed, customers: d.customers, story: d.story}); err != nil {
		return err
	}
	defer d.stage.close()
	cfg, err := d.connect(ctx)
	if err != nil {
		return err
	}
	if d.log, err = createLog(d.dir); err != nil {
		return err
	}
	defer func() { _ = d.log.Close() }()
	if err := d.begin(); err != nil {
		return err
	}
	defer d.stop()
	if d.kills > 1 {
		if err := d.killing(ctx); err != nil {
			return err
		}
	}
	d.start = time.Now()
	d.faults()
	if err := d.watch(ctx, cfg); err != nil {
		return fmt.Errorf("%w (drover's log: %s)", err, filepath.Join(d.dir, "drover.log"))
	}
	d.stop()
	if err := d.judge(ctx, cfg); err != nil || !d.keep {
		return err
	}
	if err := d.begin(); err != nil {
		return err
	}
	d.say("the cloud and drover stay up; files are in %s; try: drover status -c %s; stop with Ctrl-C", d.dir, filepath.Join(d.dir, "drover.yaml"))
	<-ctx.Done()
	return nil
}

// say prints a line of progress.
func (d *demo) say(format string, args ...any) {
	if isTerminal(d.err) {
		format = clearLine + format
	}
	_, _ = fmt.Fprintf(d.err, format+"\n", args...)
}

// clearLine goes back over the line of progress.
const clearLine = "\r\x1b[K"

// story is what a customer has. One of them shows a row of somebody else.
func (d *demo) story(i int) estate.Options {
	horizon := time.Duration(float64(d.span) * atCalm)
	if d.kills > 1 {
		horizon += time.Duration(d.kills) * (killSoonest + killLatest) / 2
	}
	return estate.Options{
		Backlog: d.backlog, BacklogSpan: 20 * 24 * time.Hour, PerMinute: 90, Horizon: horizon, Updates: 0.6,
		LateShare: 0.03, LateMax: d.span / 5, Shuffle: i%2 == 0, LiveField: i%2 == 1, Ties: 60, Unnamed: i % 2, Foreign: map[bool]int{true: 1}[i == 3%d.customers], Silent: 0.1,
		Incidents: withIncidents(i),
	}
}

// withIncidents: every other customer's incidents are read beside its alerts.
func withIncidents(customer int) bool { return customer%2 == 0 }

// connect registers the customers in the ledger, as an operator would.
func (d *demo) connect(ctx context.Context) (*config.Config, error) {
	cfg, err := config.Load(d.stage.config)
	if err != nil {
		return nil, err
	}
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return nil, err
	}
	if err := a.openLedger(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = a.store.Close() }()
	for i, c := range d.stage.lab.Customers() {
		n := admin.NewTenant{ID: c.Tenant, Name: c.Name, Cloud: "lab"}
		if withIncidents(i) {
			n.Sources = []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents}
		}
		if _, err := a.local().AddTenant(ctx, n); err != nil {
			return nil, err
		}
	}
	d.say("%d customers are connected: registered, consented, credentials sealed", d.customers)
	return cfg, nil
}

// childEnv marks the collecting process of a demo.
const childEnv = "DROVER_DEMO_CHILD"

// createLog makes the file that the collecting process logs to.
func createLog(dir string) (*os.File, error) { return os.Create(filepath.Join(dir, "drover.log")) }

// begin starts the collecting process.
func (d *demo) begin() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	d.child = exec.Command(self, "run", "--config", d.stage.config)
	d.child.Stderr, d.child.Stdout = d.log, d.log
	d.child.Env = append(os.Environ(), childEnv+"=1")
	d.child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return d.child.Start()
}

// stop ends the process in good order.
func (d *demo) stop() {
	if d.child == nil {
		return
	}
	_ = d.child.Process.Signal(syscall.SIGTERM)
	_ = d.child.Wait()
	d.child = nil
}

// at is a moment of the run.
func (d *demo) at(share float64) time.Time {
	return d.start.Add(time.Duration(float64(d.span) * share))
}

// faults deals everything that goes wrong, in advance.
func (d *demo) faults() {
	f := d.stage.lab.Faults()
	tenth := d.span / 10
	third := d.stage.lab.Customers()[2%d.customers].Tenant
	f.Set(
		fault.Rule{Kind: fault.Status, Param: 429, RetryAfter: "1", Obey: time.Second, Share: 0.3, From: d.at(atThrottle), To: d.at(atThrottle).Add(tenth)},
		fault.Rule{Kind: fault.Status, Param: 503, Body: "html", Share: 0.7, From: d.at(atStorm), To: d.at(atStorm).Add(tenth)},
		fault.Rule{Kind: fault.Cut, Param: 600, Share: 0.4, From: d.at(atCuts), To: d.at(atCuts).Add(tenth)},
		fault.Rule{Kind: fault.Clamp, Param: 37, Share: 0.2, To: d.at(atCalm)},
		fault.Rule{Kind: fault.Status, Param: 500, Tenant: third, From: d.at(atOutage), To: d.at(atOutage).Add(tenth)},
	)
	for _, s := range []splunk.Fault{
		{Kind: "outage", From: d.at(atOutage), Until: d.at(atOutage).Add(tenth)},
		{Kind: "answer-lost", From: d.at(atCuts), Until: d.at(atCalm), Count: 2},
		{Kind: "half-taken", From: d.at(atThrottle), Until: d.at(atCalm), Count: 2},
		{Kind: "throttled", From: d.at(atStorm), Until: d.at(atCalm), Count: 3, RetryAfter: "1"},
	} {
		if _, err := d.stage.splunk.Set(s); err != nil {
			d.say("the pretend Splunk does not know the fault %s: %v", s.Kind, err)
		}
	}
}

// watch kills, starts again, shows how it goes, and waits until everything
// has arrived, for at most as long again as the run was to take.
func (d *demo) watch(ctx context.Context, cfg *config.Config) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	api := admin.Dial(cfg.Ledger.Dir)
	type scene struct {
		at   float64
		says string
		do   func() error
	}
	scenes := []scene{
		{atThrottle, "Graph throttles three requests in ten (429)", nil},
		{atStorm, "a storm of 503", nil},
		{atKill, "kill -9", d.kill},
		{atKill + 0.03, "started again", d.begin},
		{atOutage, "Splunk is gone, and one customer's API with it", nil},
		{atOutage + 0.1, "Splunk is back", nil},
		{atCuts, "answers are cut in the middle, Splunk's are lost", nil},
		{atCalm, "calm: whatever is still on its way may arrive", func() error { d.stage.lab.Truth().Event("mark", "kind", "calm"); return nil }},
	}
	if d.kills != 1 {
		scenes = slices.DeleteFunc(scenes, func(s scene) bool { return s.at == atKill || s.at == atKill+0.03 })
	}
	quiet, last := 0, ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		passed := time.Since(d.start)
		for len(scenes) > 0 && passed >= time.Duration(float64(d.span)*scenes[0].at) {
			d.say("%4.0fs  %s", passed.Seconds(), scenes[0].says)
			if do := scenes[0].do; do != nil {
				if err := do(); err != nil {
					return err
				}
			}
			scenes = scenes[1:]
		}
		line, settled := d.progress(ctx, api)
		if line != "" && (isTerminal(d.err) || int(passed.Seconds()*2)%6 == 0) {
			d.show(passed, line)
		}
		if settled && line == last {
			quiet++
		} else {
			quiet, last = 0, line
		}
		switch {
		case passed >= d.span && quiet >= 4:
			d.show(passed, line)
			if isTerminal(d.err) {
				_, _ = fmt.Fprintln(d.err)
			}
			return nil
		case passed >= 2*d.span+time.Minute:
			return errors.New("not everything arrived in time: " + line)
		}
	}
}

// Moments between the start of the collecting process and its kill, when it is
// killed many times: some before it has done anything, some in full flow.
const (
	killSoonest = 15 * time.Millisecond
	killLatest  = 250 * time.Millisecond
)

// killing kills the collecting process and starts it again, kills times,
// before the run proper.
func (d *demo) killing(ctx context.Context) error {
	rng := rand.New(rand.NewPCG(d.seed, 9))
	for n := range d.kills {
		if !pause(ctx, killSoonest+time.Duration(rng.Int64N(int64(killLatest-killSoonest)))) {
			return ctx.Err()
		}
		if err := d.kill(); err != nil {
			return err
		}
		if err := d.begin(); err != nil {
			return err
		}
		if (n+1)%max(d.kills/10, 1) == 0 {
			d.say("%5d kills", n+1)
		}
	}
	return nil
}

// show prints the line of progress: over itself on a terminal.
func (d *demo) show(passed time.Duration, line string) {
	if isTerminal(d.err) {
		_, _ = fmt.Fprintf(d.err, clearLine+"%4.0fs  %s", passed.Seconds(), line)
		return
	}
	d.say("%4.0fs  %s", passed.Seconds(), line)
}

// kill ends the collecting process at once, and writes down when.
func (d *demo) kill() error {
	d.stage.lab.Truth().Event("mark", "kind", "kill")
	if err := d.child.Process.Kill(); err != nil {
		return err
	}
	_ = d.child.Wait()
	d.stage.lab.Truth().Event("mark", "kind", "kill")
	return nil
}

// progress asks the process how it goes. settled: every feed was read whole in
// the calm, and every sink has everything.
func (d *demo) progress(ctx context.Context, api admin.API) (line string, settled bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := api.Status(ctx)
	if err != nil {
		return "", false
	}
	var revisions uint64
	settled = true
	calm := d.at(atCalm).Add(d.span / 5)
	for _, t := range s.Tenants {
		for _, f := range t.Feeds {
			revisions += f.Revisions
			settled = settled && f.LastWhole.Known() && f.LastWhole.Time().After(calm)
		}
	}
	settled = settled && len(s.Backfills) == 0
	line = fmt.Sprintf("ledger %6d", revisions)
	for _, k := range s.Sinks {
		line += fmt.Sprintf("   %s %6d", k.ID, revisions-k.Owed())
		settled = settled && k.Owed() == 0 && k.Attempt == 0
	}
	if n := len(s.Gaps); n > 0 {
		line += fmt.Sprintf("   open gaps %d", n)
	}
	return line, settled
}

// judge prints what the oracle says, and ends with a finding if it is not
// good.
func (d *demo) judge(ctx context.Context, cfg *config.Config) error {
	v, err := d.verdict(ctx, cfg)
	if err != nil {
		return err
	}
	if d.json {
		if err := printJSON(d.out, v); err != nil {
			return err
		}
	} else if err := errors.Join(v.WriteTable(d.out), d.explain()); err != nil {
		return err
	}
	if !v.OK() {
		return errFinding
	}
	return nil
}

// explain says what the words of the table stand for.
func (d *demo) explain() error {
	_, err := fmt.Fprint(d.out, `shown: revisions in answers of the cloud that were sent whole. repeated: sent again because an answer
was lost or the process killed, under the same event ID; without such a cause it would count under
"no cause". aside: the row of another customer that one API showed.
`)
	return err
}

// verdict has the oracle compare what was shown with what arrived. The
// collecting process must have ended.
func (d *demo) verdict(ctx context.Context, cfg *config.Config) (*oracle.Verdict, error) {
	d.stage.lab.End()
	if err := d.stage.splunk.Settle(); err != nil {
		return nil, err
	}
	export := filepath.Join(d.dir, "ledger.ndjson")
	if err := exportTo(ctx, cfg, export); err != nil {
		return nil, err
	}
	files, err := oracle.Glob(filepath.Join(d.dir, "out", "*", "*.ndjson"))
	if err != nil {
		return nil, err
	}
	v, err := oracle.Judge(oracle.Input{
		Truth: oracle.Files(filepath.Join(d.dir, "truth.ndjson")),
		Sinks: []oracle.Place{
			{Name: "ledger", Kind: oracle.KindLedger, Logs: oracle.Files(export)},
			{Name: "archive", Kind: oracle.KindFile, Logs: files, TakesAll: true},
			{Name: "soc", Kind: oracle.KindHEC, Logs: oracle.Files(filepath.Join(d.dir, "splunk.ndjson")), TakesAll: true},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("judge: %w", err)
	}
	return v, nil
}

// exportTo writes the ledger's export to a file.
func exportTo(ctx context.Context, cfg *config.Config, path string) error {
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		return err
	}
	if err := a.openLedger(ctx); err != nil {
		return err
	}
	defer func() { _ = a.store.Close() }()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(ledger.Export(ctx, a.store, cfg.SinkIDs(), f), f.Close())
}
