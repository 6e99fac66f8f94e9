package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"drover"
	"drover/internal/lab/estate"
	"drover/internal/ledger"
)

// perAlert is how many rows the pretend cloud shows by each source for an alert
// of its story, about: incidents have three alerts where there are many, less
// than two where there are few; Defender for Endpoint shows its own alone.
var perAlert = map[drover.SourceID]float64{drover.GraphAlerts: 1, drover.GraphIncidents: 0.6, drover.MDEAlerts: 0.23, drover.SIEMDetections: 1.9}

const (
	// rushed is how many tokens a second are asked for before the window: at the
	// usual fifty, 40,000 would take a quarter of an hour.
	rushed = 250
	// calm is how long it takes, when every feed has been read once, until they
	// are read in their turn: what waited behind the tokens has been read then.
	calm = 75 * time.Second
	// drain is how long drover goes on behind the window: an interval, and what a
	// page takes to be committed.
	drain = 75 * time.Second
	// oneFile makes the sink a single file: what is measured is not how many files
	// there are.
	oneFile = "    path: all.ndjson\n    batch: {max_age: 1s}\n"
	// commitsName is the file beside the config that lists what was committed.
	commitsName = "commits.ndjson"
)

// story makes about so many rows of a source.
func story(s drover.SourceID, rows, size int) estate.Options {
	per := perAlert[s]
	if s == drover.GraphIncidents {
		per = 1.0 / 3
	}
	return estate.Options{Backlog: int(float64(rows) / per), Size: size, Incidents: s == drover.GraphIncidents, MDE: s == drover.MDEAlerts, SIEM: s == drover.SIEMDetections}
}

// visible counts what a source shows now.
func visible(s *stage, source drover.SourceID) (n int) {
	s.lab.Estate().Newest(time.Now(), func(_, from string, _ *estate.Row) {
		if from == string(source) {
			n++
		}
	})
	return n
}

// feeds measures many tenants that are polled by all four sources.
func (b *bench) feeds(ctx context.Context) (finding, error) {
	if b.window < time.Minute || b.tenants < 1 {
		return finding{}, usageError{errors.New("--for must be at least 1m, the interval at which feeds are read, --tenants at least 1")}
	}
	_, _ = fmt.Fprintf(b.errs, "making %d tenants with %d feeds …\n", b.tenants, b.tenants*len(allSources))
	rows := 0.0
	for _, s := range allSources {
		rows += perAlert[s]
	}
	j := job{Sources: allSources, Interval: "60s", Window: b.window, Feeds: true}
	j.Tenants = make([]string, b.tenants)
	s, done, err := b.stage(b.tenants, estate.Options{PerMinute: b.rate * 60 / rows / float64(b.tenants), Size: b.size, Incidents: true, MDE: true, SIEM: true,
		Horizon: 2*(b.window+j.patience()+calm) + drain})
	if err != nil {
		return finding{}, err
	}
	defer done()
	j.Tenants = tenantsOf(s)
	ref, err := b.once(ctx, s, "reference", j)
	if err != nil {
		return finding{}, err
	}
	_, _ = fmt.Fprintf(b.errs, "reference: %.3f cores\n", ref.CPU/ref.Seconds)
	j.trace = true
	own, err := b.once(ctx, s, "drover", j)
	if err != nil {
		return finding{}, err
	}
	ratio := own.CPU / ref.CPU
	return finding{Rows: []measure{ref, own}, Ratios: map[string]float64{"feeds": ratio}, Feeds: true, notes: []string{fmt.Sprintf("CPU: %.2f times the reference", ratio),
		fmt.Sprintf("%d feeds; of %d rows that became visible %d were never committed, and %d of all rows twice", len(j.Tenants)*len(j.Sources), own.Shown, own.Missed, own.Twice)}}, nil
}

func printFeeds(w io.Writer, rows []measure) {
	_, _ = fmt.Fprintln(w, "\tnew rows\trequests/s\tp50 s\tp99 s\tcores\tpeak MiB\tMiB at the end\twritten KiB per row\tfsyncs per row\t")
	for _, m := range rows {
		n, p50, p99 := float64(max(m.Alerts, 1)), "", ""
		if m.P99 > 0 {
			p50, p99 = fmt.Sprintf("%.1f", m.P50), fmt.Sprintf("%.1f", m.P99)
		}
		_, _ = fmt.Fprintf(w, "%s\t%d\t%.0f\t%s\t%s\t%.3f\t%.0f\t%.0f\t%.1f\t%s\t\n", m.What, m.Alerts, float64(m.Requests)/m.Seconds, p50, p99, m.CPU/m.Seconds, m.PeakMiB, m.EndMiB, m.WrittenMiB*1024/n, fsyncs(m, n))
	}
}

// countRequests takes down how many requests the pretend cloud has had, five
// times a second, until the function that it gives is called. That one gives a
// function that counts between two times in Unix microseconds.
func (s *stage) countRequests() (end func() func(from, to int64) int) {
	type mark struct {
		at int64
		n  uint64
	}
	stop, marks := make(chan struct{}), make(chan []mark)
	go func() {
		var list []mark
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			list = append(list, mark{time.Now().UnixMicro(), s.lab.Truth().Requests()})
			select {
			case <-stop:
				marks <- list
				return
			case <-tick.C:
			}
		}
	}()
	return func() func(from, to int64) int {
		close(stop)
		list := <-marks
		at := func(t int64) uint64 {
			i, _ := slices.BinarySearchFunc(list, t, func(m mark, t int64) int { return int(m.at - t) })
			return list[min(i, len(list)-1)].n
		}
		return func(from, to int64) int { return int(at(to) - at(from)) }
	}
}

// committed is one line of the list of commits.
type committed struct {
	Tenant drover.TenantID `json:"tenant"`
	Source drover.SourceID `json:"source"`
	ID     string          `json:"id"`
	At     int64           `json:"at"` // Unix microseconds
}

// listCommits writes when each revision was committed, as the ledger stamped it.
func (a *app) listCommits(ctx context.Context, path string) (err error) {
	if err := a.openLedger(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.store.Close()) }()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	heads, err := a.store.Heads(ctx)
	for feed, head := range heads {
		if head == 0 {
			continue
		}
		var stored []ledger.Stored
		if stored, err = a.store.Stored(ctx, feed, 0, int(head)); err != nil {
			break
		}
		for r, rerr := range a.store.Revisions(ctx, feed, 1) {
			if err = rerr; err != nil {
				break
			}
			for len(stored) > 1 && stored[0].Last < r.Seq {
				stored = stored[1:]
			}
			if err = enc.Encode(committed{feed.Tenant, feed.Source, r.AlertID, stored[0].At.Time().UnixMicro()}); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	return errors.Join(err, w.Flush(), f.Close())
}

// lag compares what became visible in the window, by the estate's own word, with
// the list of commits, and counts these: what only other sources than a tenant's
// primary one show reaches the sink two days later.
func (s *stage) lag(path string, m *measure) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	type row struct{ tenant, source, id string }
	m.Alerts = 0
	at := make(map[row]int64)
	dec := json.NewDecoder(bufio.NewReader(f))
	for {
		var c committed
		if err = dec.Decode(&c); err != nil {
			break
		}
		id := row{string(c.Tenant), string(c.Source), c.ID}
		if _, again := at[id]; again {
			m.Twice++
		}
		at[id] = c.At
		if c.At >= m.from && c.At < m.to {
			m.Alerts++
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	var lags []float64
	s.lab.Estate().Newest(time.Now(), func(tenant, source string, r *estate.Row) {
		shown := r.Visible.UnixMicro()
		if shown < m.from || shown >= m.to {
			return
		}
		m.Shown++
		if when, ok := at[row{tenant, source, r.ID}]; ok {
			lags = append(lags, float64(when-shown)/1e6)
		} else {
			m.Missed++
		}
	})
	if len(lags) > 0 {
		slices.Sort(lags)
		m.P50, m.P99 = lags[len(lags)/2], lags[len(lags)*99/100]
	}
	return nil
}
