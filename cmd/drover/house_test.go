package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"drover/internal/admin"
	"drover/internal/lab"
	"drover/internal/lab/labtest"
	"drover/internal/ledger"
)

// house is a desk whose drover runs, as far as invitations go.
type house struct {
	*desk
	log  said // what drover logs
	stop func()
}

// newHouse starts a lab and a drover with its page.
func newHouse(t *testing.T) *house {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", page: page, seed: 1, customers: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	h := &house{desk: &desk{stage: s, t: t, app: s.lab.AppID()}}
	h.browser = h.person()
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// person is another browser.
func (h *house) person() *labtest.Browser {
	h.t.Helper()
	b, err := labtest.New(h.lab.CAPEM())
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// start starts drover; stop ends it.
func (h *house) start() {
	h.t.Helper()
	a, err := newAppFrom(h.t, h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := a.openLedger(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	a.log = slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l, err := admin.Listen(a.cfg.Ledger.Dir)
	if err != nil {
		h.t.Fatal(err)
	}
	local := a.local()
	parts := map[string]func(context.Context) error{"admin": func(ctx context.Context) error { return admin.Serve(ctx, l, local) }}
	if err := a.inviting(local, parts); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.together(ctx, parts) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("drover ended: %v", err)
		}
		a.tokens.Wait()
		_ = a.store.Close()
		h.stop = func() {}
	}
}

// invite makes a link.
func (h *house) invite(args ...string) admin.Invited {
	h.t.Helper()
	code, out, errs := droverCommand(h.t, append([]string{"tenant", "invite", "--json", "-c", h.config}, args...)...)
	var i admin.Invited
	if err := json.Unmarshal([]byte(out), &i); code != exitOK || err != nil {
		h.t.Fatalf("%d %v: %s%s", code, err, out, errs)
	}
	return i
}

// invitations lists all of them.
func (h *house) invitations() []admin.InvitationStatus {
	h.t.Helper()
	code, out, errs := droverCommand(h.t, "invitation", "list", "--all", "--json", "-c", h.config)
	var list []admin.InvitationStatus
	if err := json.Unmarshal([]byte(out), &list); code > exitFinding || err != nil {
		h.t.Fatalf("%d %v: %s", code, err, errs)
	}
	return list
}

// invitation is how one goes.
func (h *house) invitation(id string) admin.InvitationStatus {
	h.t.Helper()
	for _, i := range h.invitations() {
		if i.ID == id {
			return i
		}
	}
	h.t.Fatalf("no invitation %s", id)
	return admin.InvitationStatus{}
}

// comes waits until an invitation has come to a state, by which its work is done.
func (h *house) comes(id string, state ledger.InvitationState) admin.InvitationStatus {
	h.t.Helper()
	var i admin.InvitationStatus
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if i = h.invitation(id); i.State == state && (state != ledger.InviteDone || i.Results != nil) {
			return i
		}
	}
	h.t.Fatalf("it is %s (%s), not %s", i.State, i.Why, state)
	return i
}

var (
	formField = regexp.MustCompile(`name="form" value="([^"]*)"`)
	formTo    = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	onwards   = regexp.MustCompile(`<a class="button" href="([^"]*)"`)
)

// presses sends the form of a page, and returns what comes.
func (h *house) presses(b *labtest.Browser, page string) (int, string) {
	h.t.Helper()
	field, to := formField.FindStringSubmatch(page), formTo.FindStringSubmatch(page)
	if field == nil || to == nil {
		h.t.Fatalf("no form: %s", page)
	}
	status, body, err := b.Post(h.t.Context(), "https://"+h.page+html.UnescapeString(to[1]), url.Values{"form": {field[1]}})
	if err != nil {
		h.t.Fatal(err)
	}
	return status, body
}

// begins opens a link, presses the button, and returns the page at Entra.
func (h *house) begins(b *labtest.Browser, link string) string {
	h.t.Helper()
	status, page := h.gets(b, link)
	if status == http.StatusSeeOther { // it is at it already
		page = h.status(b)
	}
	_, page = h.presses(b, page)
	return h.leads(page)
}

// leads is where a page leads.
func (h *house) leads(page string) string {
	h.t.Helper()
	m := onwards.FindStringSubmatch(page)
	if m == nil {
		h.t.Fatalf("it leads nowhere: %s", page)
	}
	return html.UnescapeString(m[1])
}

func (h *house) gets(b *labtest.Browser, target string) (int, string) {
	h.t.Helper()
	status, page, err := b.Open(h.t.Context(), target)
	if err != nil {
		h.t.Fatal(err)
	}
	return status, page
}

// answers fills in a page at Entra.
func (h *house) signs(b *labtest.Browser, page, decision string, fields url.Values) string {
	h.t.Helper()
	led, err := b.Answer(h.t.Context(), page, decision, fields)
	if err != nil {
		h.t.Fatal(err)
	}
	return led
}

// status is the page of a browser that is at an invitation.
func (h *house) status(b *labtest.Browser) string {
	h.t.Helper()
	_, page := h.gets(b, h.pageURL()+"/status")
	return page
}

// there reports whether a tenant is read.
func (h *house) there(c lab.Customer) bool {
	h.t.Helper()
	return strings.Contains(h.known(), c.Tenant)
}

// through goes the whole way in one browser, as the customer's admin.
func (h *house) through(b *labtest.Browser, link string, c lab.Customer) {
	h.t.Helper()
	h.gets(b, h.signs(b, h.begins(b, link), "accept", user(c)))
	if page := h.status(b); strings.Contains(page, "/consent\"") {
		_, page = h.presses(b, page)
		h.gets(b, h.signs(b, h.leads(page), "accept", user(c)))
	}
}
