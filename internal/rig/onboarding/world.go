package onboarding

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/estate"
	"drover/internal/oracle"
)

// Show is the variable with which every command and what it says is logged.
const Show = "DROVER_SHOW"

// backlog is how many alerts each customer has.
const backlog = 40

// World is the pretend cloud, the program, and all that it has said.
type World struct {
	T      *testing.T
	Lab    *lab.Lab
	Person Person // Reader unless set
	addr   string
	dir    string
	bin    string
	purse  purse

	mu      sync.Mutex
	outputs []oracle.Log
	taken   int // customers
}

// New builds the program and starts a cloud with so many customers.
func New(t *testing.T, customers int) *World {
	t.Helper()
	dir, err := os.MkdirTemp("", "drover") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &World{T: t, dir: dir}
	w.bin = filepath.Join(w.dir, "drover")
	home, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "drover").Output() // the tests may be another module's
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", w.bin, "./cmd/drover")
	build.Dir = strings.TrimSpace(string(home))
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	w.Lab, err = lab.New(lab.Options{Seed: 3, Customers: customers, Tap: w.purse.tap, Partner: true, Story: func(int) estate.Options {
		return estate.Options{Backlog: backlog, Horizon: time.Hour, Incidents: true, MDE: true, SIEM: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if w.addr, err = w.Lab.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Lab.Close() })
	cert, key, err := w.Lab.ServerCertificate()
	if err != nil {
		t.Fatal(err)
	}
	_, onboarding := w.Lab.OnboardingApp()
	for name, text := range map[string]string{"ca.pem": string(w.Lab.CAPEM()), "page-cert.pem": string(cert), "page-key.pem": string(key), "onboarding": onboarding} {
		w.write(name, text)
	}
	w.Person = Reader{w.Lab.CAPEM()}
	return w
}

func (w *World) write(name, text string) {
	w.T.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.T.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.T.Fatal(err)
	}
}

// keep adds an output to be searched.
func (w *World) keep(name string, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outputs = append(w.outputs, oracle.Text(name, b))
}

// Leaks searches everything that was said for every secret that there was. It
// returns what was found, and what was searched for and in.
func (w *World) Leaks(more ...oracle.Log) (found []oracle.Finding, kinds map[string]int, outputs int) {
	w.T.Helper()
	list, kinds := w.purse.list()
	w.mu.Lock()
	logs := append(slices.Clone(w.outputs), w.purse.asked())
	w.mu.Unlock()
	logs = append(logs, more...)
	found, err := oracle.Leaks(list, logs)
	if err != nil {
		w.T.Fatal(err)
	}
	return found, kinds, len(logs)
}

// Store is a fresh place of the engineer's: config, ledger, key, output.
type Store struct {
	*World
	t        *testing.T
	name     string
	dir      string
	config   string
	health   string
	page     string // address of the page for invitations
	Customer lab.Customer
}

// fresh makes a store for a customer that has never heard of us.
func (w *World) fresh(t *testing.T, name string) *Store {
	t.Helper()
	w.mu.Lock()
	c := w.Lab.Customers()[w.taken]
	w.taken++
	w.mu.Unlock()
	s := &Store{World: w, t: t, name: name, dir: filepath.Join(w.dir, fmt.Sprint(c.Name)), Customer: c, health: freeAddress(t)}
	s.config = filepath.Join(s.dir, "drover.yaml")
	listener := strings.Replace(freeAddress(t), "127.0.0.1", "localhost", 1)
	s.page = "https://" + listener + "/SiemMsspConnector"
	s.write(filepath.Join(c.Name, "drover.yaml"), fmt.Sprintf(`clouds:
  lab: {authority: "https://%[1]s", graph: "https://%[1]s", graph_resource: "https://graph.microsoft.com", mde: "https://%[1]s/mde", siem: {eu: "https://%[1]s"}, ca_file: %[2]s/ca.pem, allow_private: true}
ledger: {dir: %[3]s/ledger}
vault: {key_file: %[3]s/keys/master.key}
collect: {interval: 1s, start: 60d}
sinks: {archive: {type: file, root: %[3]s/out, from: all, path: "all.ndjson", batch: {max_age: 10ms}}}
listen: {health: "%[4]s", invitations: {url: %[5]q, address: %[6]q, certificate: %[2]s/page-cert.pem, key: %[2]s/page-key.pem}}
mssp: {name: Example Security, contact: soc@mssp.example}
log: {level: debug}
`, w.addr, w.dir, s.dir, s.health, s.page, listener))
	t.Cleanup(func() {
		for _, of := range []string{"ledger", "out"} {
			files, err := filepath.Glob(filepath.Join(s.dir, of, "*"))
			if err != nil {
				t.Error(err)
			}
			for _, f := range files {
				if b, err := os.ReadFile(f); err == nil {
					s.keep(s.name+": "+of+"/"+filepath.Base(f), b)
				}
			}
		}
	})
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// add appends lines to the config.
func (s *Store) add(lines string) {
	s.t.Helper()
	f, err := os.OpenFile(s.config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(lines + "\n")
		_ = f.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// begin begins a command on a terminal; what stands there is kept.
func (s *Store) begin(args ...string) *terminal {
	s.t.Helper()
	return s.beginWith(true, args...)
}

// beginWith is begin; searched is whether secrets are looked for in what it says.
func (s *Store) beginWith(searched bool, args ...string) *terminal {
	s.t.Helper()
	cmd := exec.Command(s.bin, append(args, "-c", s.config)...)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "BROWSER=/bin/false", "DISPLAY=", "GOTRACEBACK=all")
	cmd.Dir = s.dir
	term := onTerminal(s.t, cmd)
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if os.Getenv(Show) != "" {
			said, _, crashed := strings.Cut(term.own(), "SIGQUIT: quit\n")
			if crashed {
				said += "(made to crash: the trace of all that ran is searched too)\n"
			}
			s.t.Logf("$ drover %s\n%s", strings.Join(args, " "), said)
		}
		if searched {
			s.keep(s.name+": "+strings.Join(args, " "), []byte(term.own()))
		}
		s.keep(s.name+": process list", []byte(term.line))
	})
	return term
}

// run runs a command to its end.
func (s *Store) run(args ...string) string {
	s.t.Helper()
	return s.begin(args...).ends(0)
}

// visit has the person open an address in the background: the command that
// showed it waits for what comes of it.
func (s *Store) visit(address string, as Visitor) (last func() string) {
	s.t.Helper()
	type result struct {
		last string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		last, err := s.Person.Visit(s.t.Context(), address, as)
		done <- result{last, err}
	}()
	return func() string {
		s.t.Helper()
		r := <-done
		if r.err != nil {
			s.t.Fatalf("the person: %v", r.err)
		}
		return r.last
	}
}

// admin is the customer's.
func (s *Store) admin() Visitor { return Visitor{User: "admin@" + s.Customer.Domain} }

// alerts are the IDs of the customer's alerts that have been delivered.
func (s *Store) alerts() (ids map[string]bool) {
	s.t.Helper()
	ids = make(map[string]bool)
	b, err := os.ReadFile(filepath.Join(s.dir, "out", "all.ndjson"))
	if err != nil {
		return ids
	}
	for line := range bytes.Lines(b) {
		var row struct {
			Drover struct{ Tenant string }
			Alert  struct{ ID string }
		}
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it is being written
		}
		if err := json.Unmarshal(line, &row); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		ids[row.Drover.Tenant+" "+row.Alert.ID] = true
	}
	return ids
}

// delivers runs drover until all of the customer's alerts are in the file, asks
// it what an operator asks, and makes it crash with a full trace.
func (s *Store) delivers() {
	s.t.Helper()
	s.deliversBy(s.begin("run"))
}

// deliversBy is delivers, by a drover that runs already.
func (s *Store) deliversBy(run *terminal) {
	s.t.Helper()
	late := time.Now().Add(patience)
	for len(s.alerts()) < backlog {
		if run.ended() || time.Now().After(late) {
			s.t.Fatalf("%d of %d alerts:\n%s", len(s.alerts()), backlog, run.text())
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		s.keep(s.name+": "+page, s.get("http://"+s.health+page))
	}
	for _, ask := range [][]string{{"status"}, {"status", "--json"}, {"tenant", "show", s.Customer.Tenant}, {"tenant", "check", s.Customer.Tenant, "--json"}, {"tenant", "export"}} {
		s.run(ask...)
	}
	s.stops(run)
}

// stops ends a running drover as a crash does.
func (s *Store) stops(run *terminal) {
	s.t.Helper()
	if err := run.cmd.Process.Signal(crash); err != nil {
		s.t.Fatal(err)
	}
	if trace := run.ends(2); !strings.Contains(trace, "goroutine ") {
		s.t.Errorf("it leaves no trace: %s", trace)
	}
}

func (s *Store) get(address string) []byte {
	s.t.Helper()
	res, err := http.Get(address)                                                  //nolint:noctx // a test's own, on this machine
	for late := time.Now().Add(patience); err != nil && time.Now().Before(late); { // it listens soon
		time.Sleep(20 * time.Millisecond)
		res, err = http.Get(address) //nolint:noctx // the same
	}
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

// unknown takes back what the cloud's customers begin with: this one has never
// heard of the app.
func (s *Store) unknown(app string) {
	s.Lab.Directory().Consent(s.Customer.Tenant, app, authority.None)
}
