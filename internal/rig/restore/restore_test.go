package restore

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/lab"
	"drover/internal/lab/estate"
	"drover/internal/lab/splunk"
	"drover/internal/ledger/sqlite"
	"drover/internal/rig/manifest"
	"drover/internal/rig/memnet"
	"drover/internal/rig/reading"
	"drover/internal/vault"
)

const (
	hecToken = "11111111-2222-3333-4444-555555555555"
	ackToken = "66666666-7777-8888-9999-000000000000"
)

const (
	interval    = 10 * time.Minute
	active      = 3 * time.Hour // while alerts come
	calm        = 150 * time.Minute
	longestSend = 2 * time.Second
)

// quietBefore is how long before the end the newest states are noted; what shows
// later may be on its way still.
const quietBefore = 25 * time.Minute

// grace is how long a state may take from the API to the sinks, for the oracle:
// one that was overwritten before a ledger was lost, and that had not got
// further than that ledger, is nowhere any more.
const grace = time.Minute

// epoch is when every run begins. A bubble begins in the year 2000.
var epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

// world is one run.
type world struct {
	*testing.T
	seed uint64
	dir  string
	key  string
	net  *memnet.Network
	lab  *lab.Lab
	hec  *splunk.Receiver
	ack  *splunk.Receiver
	p    *product
	// lives has what was known each time that a copy was put back.
	lives []life
	quiet map[newest]bool
	// underway counts the records that sinks are sending.
	underway atomic.Int64
	out      outcome
}

// outcome is what a run comes to.
type outcome struct {
	restores   int
	incarnated int // restores with an incarnation that was never seen before
	reused     int // numbers that the new life gave to another revision than the old one
	forgotten  int // revisions of a lost ledger that the last one does not hold
	counted    int // sent by an old life, and owed by the new one that does not know
	repeats    int // found at the append sinks, sent by another life than before
	within     int // and by the same one: a batch under way when it was stopped
	underway   int // records of such batches
	inFile     int // found at the file by the oracle
	lost       int
	shown      int
	told       int // manifests at all sinks
	vouched    int // alerts that they cover
	others     []string
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// open opens the ledger.
func (w *world) open() *sqlite.Store {
	w.Helper()
	s, err := sqlite.Open(context.Background(), w.options())
	w.must(err)
	return s
}

func (w *world) options() sqlite.Options {
	w.Helper()
	v, err := vault.Open(vault.Source{File: w.key})
	w.must(err)
	return sqlite.Options{Dir: filepath.Join(w.dir, "ledger"), Vault: v, Place: "rig"}
}

// build makes the cloud, the receivers and the ledger with its tenants.
func (w *world) build(stories []estate.Options) {
	create := func(name string) *os.File {
		f, err := os.Create(filepath.Join(w.dir, name))
		w.must(err)
		w.Cleanup(func() { _ = f.Close() })
		return f
	}
	var err error
	w.hec, err = splunk.New(splunk.Options{Tokens: []splunk.Token{{Name: "t", Value: hecToken}}, Log: create(string(sinkHEC) + ".ndjson")})
	w.must(err)
	w.ack, err = splunk.New(splunk.Options{Tokens: []splunk.Token{{Name: "t", Value: ackToken, UseACK: true}}, Log: create(string(sinkAck) + ".ndjson"), AckDelay: time.Second})
	w.must(err)
	w.lab, err = lab.New(lab.Options{Seed: w.seed, Customers: len(stories), Story: func(i int) estate.Options { return stories[i] }, Truth: create("truth.ndjson"),
		Splunk: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Host, "splunk-ack.") {
				w.ack.ServeHTTP(rw, r)
			} else {
				w.hec.ServeHTTP(rw, r)
			}
		})})
	w.must(err)
	go func() {
		if err := w.lab.Serve(w.net); err != nil && !strings.Contains(err.Error(), "closed") {
			w.Errorf("the cloud ended: %v", err)
		}
	}()
	store := w.open()
	for i, c := range w.lab.Customers() {
		w.must(store.AddTenant(context.Background(), reading.Tenant(c, reading.Told(stories[i]), drover.InstantOf(time.Now().Add(-60*24*time.Hour)))))
	}
	w.must(store.Close())
}

// run plays one seed.
func run(t *testing.T, seed uint64) (out outcome) {
	dir := ram(t)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(epoch))
		w := &world{T: t, seed: seed, dir: dir, key: filepath.Join(dir, "keys", "k"), net: memnet.New(), quiet: make(map[newest]bool)}
		w.must(vault.Create(w.key))
		w.play()
		w.judge()
		w.vouched()
		w.must(w.lab.Close())
		w.must(w.net.Close())
		out = w.out
	})
	return out
}

// ram is a directory in memory where there is one: fsync costs nothing there.
func ram(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "drover-restore-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// play draws a story and plays it: copy, go on, lose the ledger, put the copy
// back; once or twice; then the calm.
func (w *world) play() {
	r := rand.New(rand.NewPCG(w.seed, 23))
	var stories []estate.Options
	for i := range 3 {
		stories = append(stories, estate.Options{Backlog: r.IntN(60), BacklogSpan: 72 * time.Hour, PerMinute: 0.1 + 0.6*r.Float64(), Horizon: active, Updates: 2 * r.Float64(),
			LateShare: 0.1 * r.Float64(), LateMax: 60 * time.Minute, Ties: []int{0, 5, 60}[r.IntN(3)], Unnamed: r.IntN(3), Shuffle: i == 1, SIEM: i == 2, MDE: i == 1, Incidents: i == 0})
	}
	w.build(stories)
	begun := time.Now()
	w.begin()
	at := time.Duration(0)
	copied := filepath.Join(w.dir, "copy")
	for n := range 1 + r.IntN(2) {
		if n == 0 || r.IntN(2) == 0 { // the second time perhaps the same copy once more
			at += time.Minute + time.Duration(r.Int64N(int64(active/4)))
			w.until(begun.Add(at))
			w.copy(copied, r.IntN(2) == 0)
		}
		at += time.Minute + time.Duration(r.Int64N(int64(active/4)))
		w.until(begun.Add(at))
		away := time.Duration(r.Int64N(int64(30 * time.Minute)))
		w.restore(copied, r.IntN(2) == 0, away)
		at += away
	}
	w.until(begun.Add(active + calm - quietBefore))
	w.lab.Estate().Newest(time.Now(), func(tenant, source string, r *estate.Row) {
		w.quiet[newest{tenant, source, r.ID, r.Rev}] = true
	})
	w.until(begun.Add(active + calm))
}

// newest is a state that an alert has.
type newest struct {
	tenant, source, id string
	rev                int
}

// until lets virtual time go by, to any step of what is under way.
func (w *world) until(at time.Time) {
	time.Sleep(time.Until(at))
	synctest.Wait()
}

// copy keeps the ledger as it is now: of a process that stands still, or of one
// that was stopped for it.
func (w *world) copy(to string, stopped bool) {
	w.Helper()
	if stopped {
		w.out.underway += int(w.underway.Load())
		w.p.stop(false)
	}
	w.must(os.RemoveAll(to))
	w.must(os.CopyFS(to, os.DirFS(filepath.Join(w.dir, "ledger"))))
	if stopped {
		w.begin()
	}
}

// restore loses the ledger and goes on with a copy.
func (w *world) restore(from string, dead bool, away time.Duration) {
	w.Helper()
	w.p.stop(dead)
	old := w.holds()
	sent := map[drover.SinkID]map[string][]string{sinkHEC: w.kept(w.hec, sinkHEC), sinkAck: w.kept(w.ack, sinkAck)}
	w.must(os.RemoveAll(filepath.Join(w.dir, "ledger")))
	w.must(os.CopyFS(filepath.Join(w.dir, "ledger"), os.DirFS(from)))
	w.must(os.Chmod(filepath.Join(w.dir, "ledger"), 0o700))
	w.must(sqlite.Adopt(context.Background(), w.options()))
	time.Sleep(away)
	w.out.restores++
	copied := w.holds()
	if copied.incarnation != old.incarnation && !w.seenBefore(copied.incarnation) {
		w.out.incarnated++
	}
	w.lives = append(w.lives, life{old: old, copied: copied, sent: sent})
	w.begin()
}

// vouched holds every record against the manifests beside it.
func (w *world) vouched() {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "out", "*.ndjson"))
	w.must(err)
	var lines [][]byte
	for _, name := range files {
		b, err := os.ReadFile(name)
		w.must(err)
		lines = append(lines, bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))...)
	}
	look := func(place drover.SinkID, lines [][]byte, repeats bool) {
		found, manifests, alerts, err := manifest.Verify(lines, repeats)
		w.must(err)
		w.out.told, w.out.vouched = w.out.told+manifests, w.out.vouched+alerts
		for _, f := range found {
			w.Errorf("seed %d, %s: %s", w.seed, place, f)
		}
	}
	look(sinkFile, lines, false)
	for _, id := range []drover.SinkID{sinkHEC, sinkAck} {
		log, err := os.ReadFile(filepath.Join(w.dir, string(id)+".ndjson"))
		w.must(err)
		lines, err := manifest.Received(log)
		w.must(err)
		look(id, lines, true)
	}
}
