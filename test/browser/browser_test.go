// Package browser drives a real Chromium over the pages that drover serves, with
// scripts switched off, as a customer's admin would go. It is a module of its
// own, because it needs a browser.
package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/estate"
	"drover/internal/proof"
)

// world is a pretend cloud, a drover that runs, and a browser.
type world struct {
	t      *testing.T
	lab    *lab.Lab
	dir    string
	drover string // the binary
	page   string // address of the page for invitations
	shots  string // where screenshots go, "" for nowhere
	chrome context.Context
	seen   int // pages that were looked at
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := startChromium(t, "page.browser")
	w := &world{t: t, dir: t.TempDir(), shots: os.Getenv("DROVER_SHOTS")}
	w.drover = filepath.Join(w.dir, "drover")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", w.drover, "./cmd/drover")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build drover: %v\n%s", err, out)
	}
	w.start()
	w.chrome = ctx
	return w
}

// startChromium starts a browser for a proof.
func startChromium(t *testing.T, id string) context.Context {
	t.Helper()
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		proof.NotHere(t, id, "chromium")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.IgnoreCertErrors, chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"), chromedp.WSURLReadTimeout(time.Minute))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), opts...) // a test's own context ends before its clean-up
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// start starts the lab and drover.
func (w *world) start() {
	w.t.Helper()
	l, err := lab.New(lab.Options{Seed: 1, Customers: 3, Story: func(int) estate.Options { return estate.Options{Backlog: 5} }})
	if err != nil {
		w.t.Fatal(err)
	}
	addr, err := l.Start("127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	w.lab = l
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	host := fmt.Sprintf("localhost:%d", free.Addr().(*net.TCPAddr).Port)
	_ = free.Close()
	w.page = "https://" + host + "/SiemMsspConnector"
	l.Directory().AddRedirect(l.AppID(), w.page+"/callback")
	cert, key, err := l.ServerCertificate()
	if err != nil {
		w.t.Fatal(err)
	}
	config := fmt.Sprintf(`ledger: {dir: %[1]s/ledger}
vault: {key_file: %[1]s/keys/master.key}
clouds: {lab: {authority: "https://%[2]s", graph: "https://%[2]s", mde: "https://%[2]s/mde", siem: {eu: "https://%[2]s"}, ca_file: %[1]s/ca.pem, allow_private: true}}
apps: {default: {client_id: %[3]s, cloud: lab, secret: {file: %[1]s/secret}}}
listen: {health: none, invitations: {url: %[4]q, address: %[5]q, certificate: %[1]s/cert.pem, key: %[1]s/key.pem}}
mssp: {name: Example Security, contact: "soc@mssp.example, +49 30 0000000"}
`, w.dir, addr, l.AppID(), w.page, host)
	for name, text := range map[string][]byte{"drover.yaml": []byte(config), "ca.pem": l.CAPEM(), "secret": []byte(l.AppSecret()), "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(w.dir, name), text, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	var log bytes.Buffer
	run := exec.Command(w.drover, "run", "-c", filepath.Join(w.dir, "drover.yaml"))
	run.Stderr = &log
	if err := run.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = run.Process.Signal(os.Interrupt)
		_ = run.Wait()
		if w.t.Failed() {
			w.t.Logf("drover's log:\n%s", log.String())
		}
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", host); err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("drover does not listen:\n%s", log.String())
		}
	}
}

// command runs drover and decodes what it prints.
func (w *world) command(v any, args ...string) {
	w.t.Helper()
	c := exec.CommandContext(w.t.Context(), w.drover, append(args, "--json", "-c", filepath.Join(w.dir, "drover.yaml"))...)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil // it found something
	}
	if err == nil {
		err = json.Unmarshal(out, v)
	}
	if err != nil {
		w.t.Fatalf("%v: %v\n%s%s", args, err, out, errs.String())
	}
}

// invite makes a link.
func (w *world) invite(args ...string) string {
	w.t.Helper()
	var got struct{ Link string }
	w.command(&got, append([]string{"tenant", "invite"}, args...)...)
	return got.Link
}

// customer is one that has not consented.
func (w *world) customer(n int) lab.Customer {
	c := w.lab.Customers()[n]
	w.lab.Directory().Consent(c.Tenant, w.lab.AppID(), authority.None)
	return c
}

// tab is a browser of its own, with no cookie of another's.
type tab struct {
	*world
	ctx context.Context
}

// browse opens a browser in which pages run no script.
func (w *world) browse() *tab {
	w.t.Helper()
	ctx, cancel := chromedp.NewContext(w.chrome, chromedp.WithNewBrowserContext())
	w.t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		w.t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		w.t.Fatal(err)
	}
	return &tab{w, ctx}
}

func (t *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	t.t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.t.Fatalf("%v\n%s", err, t.text())
	}
}

// patience is how long anything may take on a machine that is busy.
const patience = 40 * time.Second

// ask evaluates an expression, as a tool for developers does.
func ask[T any](t *tab, expression string) T {
	t.t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.t.Fatal(err)
	}
	return v
}

// text is what a page shows; empty while there is none.
func (t *tab) text() string {
	t.t.Helper()
	return ask[string](t, `document.body ? document.body.innerText : ""`)
}

// comes waits until a page shows something.
func (t *tab) comes(want string) {
	t.t.Helper()
	var got string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got = t.text(); strings.Contains(got, want) {
			return
		}
	}
	t.t.Fatalf("%q does not come: %s", want, got)
}

// open opens a page of ours and looks at it.
func (t *tab) open(target, want, name string) {
	t.t.Helper()
	t.do(chromedp.Navigate(target))
	t.comes(want)
	t.look(name)
}

// presses presses a button of ours.
func (t *tab) presses() {
	t.t.Helper()
	t.do(chromedp.Click(chromedp.CSS("main form button")))
}

// atMicrosoft fills in the lab's page: who, and whether they accept.
func (t *tab) atMicrosoft(title, user, decision string) {
	t.t.Helper()
	t.comes(title)
	if user != "" {
		t.do(chromedp.Click(chromedp.CSS(`input[type=radio][value="` + user + `"]`)))
	}
	t.do(chromedp.Click(chromedp.CSS(`button[value=` + decision + `]`)))
}

const (
	signInPage  = "Sign in to your account"
	consentPage = "Permissions requested"
)

func TestACustomersAdminConnectsInARealBrowser(t *testing.T) {
	w := newWorld(t)
	c := w.customer(0)
	link := w.invite(c.Tenant, "--name", c.Name, "--source", "graph.alerts,graph.incidents,mde.alerts")
	b := w.browse()
	b.open(w.page, "Connect Microsoft Defender", "about")
	b.open(link, "Let Example Security read your Defender alerts", "asks")
	b.presses()
	b.atMicrosoft(signInPage, "admin@"+c.Domain, "accept")
	b.comes("You have signed in")
	b.look("signed-in")
	b.presses()
	b.atMicrosoft(consentPage, "admin@"+c.Domain, "accept")
	b.comes("Everything works")
	b.look("done")
	b.open(w.page+"/leave", "how to take it back", "leave")

	// Forwarded: whoever opens it now finds it used.
	other := w.browse()
	other.open(link, "used already", "used")
	other.open(w.page+"/callback?code=x&state=y", "another sign-in", "foreign")
	other.open(w.page+"/status", "at no invitation", "elsewhere")
	other.open(w.page+"/ABCDEFGHIJKLMNOPQRSTUVWXYZ", "not known", "unknown")

	// Without a tenant's name, an operator decides.
	d := w.customer(1)
	any := w.browse()
	any.open(w.invite(d.Name, "--any"), "that of the account", "asks-any")
	any.presses()
	any.comes(signInPage)
	any.do(chromedp.SendKeys(chromedp.CSS(`input[name=user]`), "admin@"+d.Domain), chromedp.Click(chromedp.CSS(`button[value=accept]`)))
	any.comes("You have signed in")
	any.presses()
	any.atMicrosoft(consentPage, "admin@"+d.Domain, "accept")
	any.comes("nothing more for you to do")
	any.look("waiting")
	var list []struct {
		Name  string
		State string
	}
	w.command(&list, "tenant", "list")
	if len(list) != 1 || list[0].Name != c.Name {
		t.Errorf("the ledger has %+v", list)
	}
	proof.Ran(t, "page.browser", "%d pages of ours in Chromium without scripts, each at 1280 and at 390 pixels, light and dark: faults 0; a customer connected by them, one that waits for an operator, a forwarded link that opens nothing", w.seen)
}

func TestTheWrongAccountAndADeclineAreSaidInPlainWords(t *testing.T) {
	w := newWorld(t)
	c, other := w.customer(0), w.customer(1)
	link := w.invite(c.Tenant, "--name", c.Name)
	b := w.browse()
	b.open(link, "Let Example Security", "")
	b.presses()
	b.atMicrosoft(signInPage, "admin@"+c.Domain, "deny")
	b.comes("Cancel was chosen")
	b.look("sign-in-declined")
	b.presses()
	b.atMicrosoft(signInPage, "admin@"+c.Domain, "accept")
	b.comes("You have signed in")
	b.presses()
	b.atMicrosoft(consentPage, "admin@"+c.Domain, "deny")
	b.comes("The permission was not given")
	b.look("consent-declined")

	// An admin of another tenant, led to their own sign-in.
	wrong := w.browse()
	wrong.open(link, "Let Example Security", "")
	wrong.presses()
	wrong.comes(signInPage)
	at := ask[string](wrong, "location.href")
	wrong.do(chromedp.Navigate(strings.Replace(at, c.Tenant, other.Tenant, 1)))
	wrong.atMicrosoft(signInPage, "admin@"+other.Domain, "accept")
	wrong.comes("another organization than the one that is invited")
	wrong.look("wrong-account")
	// What is not there yet is said, with what to do.
	d := w.customer(2)
	partly := w.browse()
	missing := w.invite(d.Tenant, "--name", d.Name, "--source", "graph.alerts,siem.detections", "--region", "eu")
	w.lab.Directory().Authorise(d.Tenant, w.lab.AppID(), false)
	partly.open(missing, "Let Example Security", "")
	partly.presses()
	partly.atMicrosoft(signInPage, "admin@"+d.Domain, "accept")
	partly.comes("You have signed in")
	partly.presses()
	partly.atMicrosoft(consentPage, "admin@"+d.Domain, "accept")
	partly.comes("One step is left:")
	partly.look("partly")
	// The browser before goes on with it no more.
	b.open(w.page+"/status", "at no invitation", "")
	var list []struct{ Name string }
	w.command(&list, "tenant", "list")
	if len(list) != 1 || list[0].Name != d.Name {
		t.Errorf("the ledger has %+v", list)
	}
}
