package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"drover/internal/entra"
	"drover/internal/proof"
)

// The table that is listed is that of internal/entra, whose test holds it to the
// reference.
func TestEveryCodeIsExplainedOffline(t *testing.T) {
	who := []entra.Who{entra.Us, entra.Customer, entra.Nobody}
	found := 0
	for _, code := range entra.Codes() {
		n, out, errs := droverCommand(t, "aadsts", fmt.Sprintf("AADSTS%d", code), "--json")
		var list []explained
		if err := json.Unmarshal([]byte(out), &list); err != nil || n != exitOK || errs != "" || len(list) != 1 {
			t.Fatalf("%d: exit code %d, %v, %s%s", code, n, err, out, errs)
		}
		e := list[0]
		if e.Code != code || !e.Known || e.Why == "" || e.Do == "" && e.Who != entra.Nobody || !slices.Contains(who, e.Who) || e.Class == "" || e.Kind == "" {
			t.Errorf("%d: %+v", code, e)
			continue
		}
		if n, out, _ := droverCommand(t, "aadsts", fmt.Sprint(code)); n != exitOK || !strings.Contains(out, fmt.Sprintf("AADSTS%d", code)) || !strings.Contains(out, e.Why) || !strings.Contains(out, e.Do) {
			t.Errorf("%d: %s", code, out)
			continue
		}
		found++
	}
	n, out, _ := droverCommand(t, "aadsts", "--all")
	if n != exitOK || strings.Count(out, "\n") != len(entra.Codes())+1 {
		t.Errorf("all: %d lines, exit code %d", strings.Count(out, "\n"), n)
	}
	if !t.Failed() {
		proof.Ran(t, "T02", "codes with cause, remedy and who must act, looked up offline: %d of %d", found, len(entra.Codes()))
	}
}

func TestACodeIsFoundInWhatPeoplePaste(t *testing.T) {
	for text, want := range map[string]struct {
		code int
		says []string
	}{
		"53003": {exitOK, []string{"AADSTS53003", "Conditional Access", "the customer's admin"}},
		"get a token: AADSTS7000222 (credential, status 401)": {exitOK, []string{"AADSTS7000222", "expired", "every tenant"}},
		// What says more stands first.
		`{"error":"invalid_grant","error_codes":[70002,70008],"error_description":"AADSTS70002: Error validating credentials. AADSTS70008: expired Timestamp: 2026-03-02 08:15:04Z"}`: {exitOK, []string{"AADSTS70008", "sign-in has ended", "AADSTS70002"}},
		"invalid_grant":              {exitOK, []string{"invalid_grant", "sign in again"}},
		"AADSTS123456":               {exitUnsure, []string{"does not know it", "https://login.microsoftonline.com/error?code=123456"}},
		"nothing to be found in it":  {exitUsage, []string{"there is no AADSTS code in it"}},
		"an_unknown_word, and 12 34": {exitUsage, []string{"there is no AADSTS code in it"}},
	} {
		code, out, errs := droverCommand(t, "aadsts", text)
		at := 0
		for _, s := range want.says {
			i := strings.Index((out + errs)[at:], s)
			if i < 0 {
				t.Errorf("%q: %q is not in\n%s%s", text, s, out, errs)
				break
			}
			at += i
		}
		if code != want.code {
			t.Errorf("%q: exit code %d, want %d", text, code, want.code)
		}
	}
	if code, _, errs := droverCommand(t, "aadsts"); code != exitUsage || !strings.Contains(errs, "--all") {
		t.Errorf("nothing named: %d, %s", code, errs)
	}
}
