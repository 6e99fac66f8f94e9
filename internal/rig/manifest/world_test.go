package manifest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/deliver"
	"drover/internal/format"
	"drover/internal/httpx"
	lab "drover/internal/lab/splunk"
	"drover/internal/ledger"
	"drover/internal/ledger/sqlite"
	"drover/internal/rig/memnet"
	"drover/internal/sink/file"
	"drover/internal/sink/splunk"
	"drover/internal/vault"
)

const hecToken = "11111111-2222-4333-8444-555555555555"

// world is a ledger with a file sink and Splunk, over some hours.
type world struct {
	*testing.T
	dir    string
	net    *memnet.Network
	ca     []byte
	store  *mortal
	epochs map[drover.Feed]drover.Epoch
	n      map[drover.Feed]int
	end    func()
}

// mortal is the ledger as one process has it. Once it is dead, nothing is
// stored any more; it dies with the settle of manifests, if it is to.
type mortal struct {
	ledger.Store
	dies, dead atomic.Bool
}

var errDead = errors.New("the process is dead")

func (m *mortal) Settle(ctx context.Context, o ledger.Settle) error {
	if m.dies.Load() && len(o.Manifests) > 0 {
		m.dead.Store(true)
	}
	if m.dead.Load() {
		return errDead
	}
	return m.Store.Settle(ctx, o)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func feed(n int) drover.Feed {
	return drover.Feed{Tenant: drover.TenantID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)), Source: drover.GraphAlerts}
}

func (w *world) open() {
	w.Helper()
	v, err := vault.Open(vault.Source{File: filepath.Join(w.dir, "keys", "k")})
	w.must(err)
	s, err := sqlite.Open(w.Context(), sqlite.Options{Dir: filepath.Join(w.dir, "ledger"), Vault: v, Place: "rig"})
	w.must(err)
	w.store = &mortal{Store: s}
}

type everywhere struct{}

func (everywhere) Routed(drover.Tenant, drover.SourceID, drover.SinkID) bool { return true }
func (everywhere) Generation() uint64                                        { return 1 }

// begin starts a process; end ends it, in good order unless it is dead.
func (w *world) begin() {
	w.Helper()
	w.open()
	files, err := file.New(file.Options{Root: filepath.Join(w.dir, "out"), Path: "{customer}/{tenant}.ndjson", Sink: "archive", MaxBytes: 60_000})
	w.must(err)
	client, err := httpx.New(httpx.Options{CAs: w.ca, Dial: w.net.Dial, AllowPrivate: true})
	w.must(err)
	hec, err := splunk.New(splunk.Options{URL: "https://example.com", HTTP: client, Target: func(drover.Tenant) splunk.Target {
		return splunk.Target{Token: func() (drover.Secret, error) { return drover.NewSecret(hecToken), nil }, TokenName: "t", Index: "main"}
	}})
	w.must(err)
	d, err := deliver.New(deliver.Options{Store: w.store, Routes: everywhere{}, Sinks: []deliver.Destination{
		{ID: "archive", Sink: files, Format: format.JSON{}, MaxRecords: 20, FromAll: true, Manifests: true},
		{ID: "soc", Sink: hec, Format: format.JSON{}, MaxRecords: 20, FromAll: true, Manifests: true}}})
	w.must(err)
	for n := range 2 {
		st, err := w.store.Take(w.Context(), feed(n))
		w.must(err)
		w.epochs[feed(n)] = st.Epoch
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	w.end = func() {
		w.Helper()
		cancel()
		if err := <-done; err != nil {
			w.Errorf("deliver ended: %v", err)
		}
		client.Close()
		w.must(errors.Join(files.Close(), hec.Close(), w.store.Close()))
	}
}

// odd are bodies that are hard to carry, and harder to take out of a record.
var odd = []string{
	`{"id":"%s","n":%d,"title":"plain"}`,
	`{"id":"%s","n":%d,"title":"},\"alert\":{\"x\":1}","deep":{"drover":{"event_id":"0"},"alert":[1.0,2e5]}}`,
	"{\"id\":\"%s\",\n\"n\":%d}",
	`{"id":"%s","n":%d,"title":"Überfall 攻撃 \u00e9\ud83d\ude00 \\ \" tab\t","kind":"manifest"}`,
	`{"id":"%s","n": %d ,"big":12345678901234567890.10}`,
}

func (w *world) commit(n, count int) {
	w.Helper()
	f := feed(n)
	var revs []drover.Revision
	for range count {
		w.n[f]++
		id := fmt.Sprintf("alert-%d}", w.n[f])
		raw := fmt.Appendf(nil, odd[w.n[f]%len(odd)], id, w.n[f])
		at := drover.InstantOf(time.Now()).Add(time.Duration(w.n[f]))
		revs = append(revs, drover.Revision{AlertID: id, Changed: at, Created: at, Sum: sha256.Sum256(raw), Raw: raw})
	}
	_, err := w.store.Commit(w.Context(), ledger.Commit{Feed: f, Epoch: w.epochs[f], Revisions: revs, Whole: drover.NoInstant})
	w.must(err)
}

// played are the records that are at the sinks after some hours, one a line.
type played struct {
	dir     string
	archive [][]byte
	soc     [][]byte
}

// play tells a story of five hours with a death in the middle of telling.
func play(t *testing.T) played {
	t.Helper()
	dir := t.TempDir()
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, dir: dir, net: memnet.New(), epochs: make(map[drover.Feed]drover.Epoch), n: make(map[drover.Feed]int)}
		w.must(vault.Create(filepath.Join(dir, "keys", "k")))
		receiver, err := lab.New(lab.Options{Tokens: []lab.Token{{Name: "t", Value: hecToken}}, Log: &log})
		w.must(err)
		srv := httptest.NewUnstartedServer(receiver)
		_ = srv.Listener.Close()
		srv.Listener = w.net
		srv.StartTLS()
		defer srv.Close()
		w.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
		w.open()
		for n, name := range []string{"contoso", "fabrikam"} {
			w.must(w.store.AddTenant(t.Context(), drover.Tenant{ID: feed(n).Tenant, Name: name, Customer: drover.CustomerID(name), Sources: []drover.SourceID{drover.GraphAlerts}}))
		}
		w.must(w.store.Close())
		w.begin()
		for hour := range 5 {
			for range 6 {
				w.commit(0, 9)
				w.commit(1, 4)
				time.Sleep(8 * time.Minute)
			}
			if hour == 2 {
				w.store.dies.Store(true)
			}
			time.Sleep(12 * time.Minute)
			if hour == 2 {
				time.Sleep(2 * time.Minute)
				if !w.store.dead.Load() {
					t.Error("the process has not died with its manifests")
				}
				w.end()
				w.begin()
			}
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		w.end()
		w.must(receiver.Settle())
	})
	soc, err := Received(log.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return played{dir, readFiles(t, filepath.Join(dir, "out")), soc}
}

func readFiles(t *testing.T, root string) (lines [][]byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "*", "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))...)
	}
	return lines
}
