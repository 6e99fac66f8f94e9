package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"drover/internal/admin"
)

// The page for invitations needs a redirect URI of its own: nobody has to know.
func TestThePageForInvitationsIsAmongTheRedirectURIs(t *testing.T) {
	const callback = "https://mssp.example/SiemMsspConnector/callback"
	m := newMSSP(t)
	m.page = ", invitations: {url: https://mssp.example/SiemMsspConnector}"
	m.configure("")
	id := m.create()
	at := "/applications(appId='" + id + "')"
	uris := func() (list []string) {
		for _, u := range m.graph("GET", at+"?$select=web", nil)["web"].(map[string]any)["redirectUris"].([]any) {
			list = append(list, u.(string))
		}
		return list
	}
	if got := uris(); !slices.Equal(got, []string{"http://localhost", seedRedirect, callback}) {
		t.Errorf("registered are %v", got)
	}
	out, _ := m.run(exitOK, "app", "manual")
	if strings.Count(out, "     "+callback+"\n") != 1 {
		t.Errorf("the manual does not have it once: %s", out)
	}
	said := func(want int) admin.Finding {
		t.Helper()
		out, _ := m.run(want, "app", "check", "--json")
		var list []admin.Finding
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(f admin.Finding) bool { return f.What != "redirect URI "+callback })
		if len(list) != 1 {
			t.Fatalf("said %d times: %s", len(list), out)
		}
		return list[0]
	}
	if f := said(exitOK); !f.OK {
		t.Errorf("%+v", f)
	}
	// It is gone, or was never there, or stands where a browser's code is no server's.
	for name, patch := range map[string]map[string]any{
		"none":             {"web": map[string]any{"redirectUris": []string{"http://localhost", seedRedirect}}},
		"another platform": {"publicClient": map[string]any{"redirectUris": []string{callback}}},
	} {
		m.graph("PATCH", at, patch)
		if f := said(exitFinding); f.OK || !strings.Contains(f.Hint, "platform Web") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	// Put there by hand, it is nobody else's.
	m.graph("PATCH", at, map[string]any{"web": map[string]any{"redirectUris": uris()}, "publicClient": map[string]any{"redirectUris": []string{}}})
	m.graph("PATCH", at, map[string]any{"web": map[string]any{"redirectUris": append(uris(), callback)}})
	if f := said(exitOK); !f.OK {
		t.Errorf("%+v", f)
	}
}

// An app that only the MSSP's own tenant may use has no links, and where there is
// no page nothing is said of one.
func TestWithoutAPageOrCustomersThereIsNoRedirectURIForIt(t *testing.T) {
	m := newMSSP(t)
	m.page = ", invitations: {url: https://mssp.example/SiemMsspConnector}"
	m.configure("")
	m.create("--single-tenant")
	if out, _ := m.run(exitOK, "app", "check"); strings.Contains(out, "callback") {
		t.Errorf("%s", out)
	}
	m.page = ""
	m.configure("")
	if out, _ := m.run(exitOK, "app", "manual"); strings.Contains(out, "callback") {
		t.Errorf("%s", out)
	}
}
