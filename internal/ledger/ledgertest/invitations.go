package ledgertest

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"drover"
	"drover/internal/ledger"
)

// invitation makes one that names a tenant, or none.
func invitation(id string, tenant drover.TenantID) ledger.Invitation {
	at := drover.InstantOf(now)
	w := Tenant(tenant, "contoso")
	return ledger.Invitation{ID: id, Link: ledger.AlertHash("link " + id), Purpose: ledger.Connect, State: ledger.InviteOpen, Wanted: w, Start: "now",
		Made: at, Ends: at.Add(72 * time.Hour), Changed: at, Opened: drover.NoInstant, SignedIn: drover.NoInstant, Consented: drover.NoInstant, Asked: drover.NoInstant, Settled: drover.NoInstant}
}

func invitations(r *rig) {
	put := func(i ledger.Invitation) ledger.Invitation {
		r.Helper()
		v, err := r.PutInvitation(r.ctx(), i)
		r.must(err)
		i.Version = v
		return i
	}
	find := func(f ledger.InvitationFilter) []ledger.Invitation {
		r.Helper()
		list, err := r.Invitations(r.ctx(), f)
		r.must(err)
		return list
	}
	named, free := put(invitation("one", idA)), put(invitation("two", ""))
	r.reopen()
	if list := find(ledger.InvitationFilter{}); len(list) != 2 || !reflect.DeepEqual(list[0], named) || list[1].ID != "two" {
		r.Fatalf("after a restart: %+v, want %+v", list, named)
	}

	// Of two who change it at once, one does.
	begun := named
	begun.State, begun.Session, begun.Opened = ledger.InviteOpened, ledger.AlertHash("browser"), drover.InstantOf(now)
	begun = put(begun)
	late := named
	late.State = ledger.InviteWithdrawn
	for what, i := range map[string]ledger.Invitation{
		"by who has not seen the last change": late,
		"a new one of an ID that is taken":    invitation("one", idA),
		"a link that is another's":            func() ledger.Invitation { i := invitation("three", idA); i.Link = named.Link; return i }(),
		"a session that is another's":         func() ledger.Invitation { i := free; i.Session = begun.Session; return i }(),
	} {
		if _, err := r.PutInvitation(r.ctx(), i); !errors.Is(err, ledger.ErrConflict) {
			r.Errorf("%s: %v", what, err)
		}
	}
	gone := invitation("nobody", idA)
	gone.Version = 3
	if _, err := r.PutInvitation(r.ctx(), gone); !errors.Is(err, ledger.ErrNotFound) {
		r.Errorf("one that is not there: %v", err)
	}

	free.State, free.Who, free.SignedIn, free.Looked = ledger.InviteSignedIn, drover.Person{Tenant: idB, ID: "0b9a7d1e-52c3-4f0b-8b0a-3c1d2e4f5a6b", Name: "ada@fabrikam.test"}, drover.InstantOf(now), true
	free.Results = []ledger.InvitedSource{{Source: drover.GraphAlerts, Outcome: "works"}}
	free = put(free)
	for what, f := range map[string]struct {
		filter ledger.InvitationFilter
		want   string
	}{
		"by link":                         {ledger.InvitationFilter{Link: named.Link}, "one"},
		"by session":                      {ledger.InvitationFilter{Session: begun.Session}, "one"},
		"by the tenant that was named":    {ledger.InvitationFilter{Tenant: idA}, "one"},
		"by the tenant that signed in":    {ledger.InvitationFilter{Tenant: idB}, "two"},
		"by ID":                           {ledger.InvitationFilter{ID: "two"}, "two"},
		"by state":                        {ledger.InvitationFilter{State: ledger.InviteOpened}, "one"},
		"by a link that nobody was given": {ledger.InvitationFilter{Link: ledger.AlertHash("guessed")}, ""},
	} {
		var got []string
		for _, i := range find(f.filter) {
			got = append(got, i.ID)
		}
		if strings.Join(got, " ") != f.want {
			r.Errorf("%s: %v, want %q", what, got, f.want)
		}
	}

	// With a tenant its invitations go, whether they named it or were answered
	// by it; those of another stay.
	r.add(idB, "fabrikam")
	r.must(r.RemoveTenant(r.ctx(), idB))
	r.reopen()
	got := find(ledger.InvitationFilter{ID: "two"})[0]
	if got.State != ledger.InviteWithdrawn || got.Tenant() != idB || got.Link != (drover.Hash{}) || got.Session != (drover.Hash{}) || got.Who != (drover.Person{}) {
		r.Errorf("of a removed tenant: %+v", got)
	}
	if all, _ := json.Marshal(find(ledger.InvitationFilter{})); strings.Contains(string(all), "ada@") {
		r.Error("who signed in is still there")
	}
	if got := find(ledger.InvitationFilter{Link: free.Link}); len(got) != 0 {
		r.Errorf("its link opens %+v", got)
	}
	if got := find(ledger.InvitationFilter{ID: "one"})[0]; !reflect.DeepEqual(got.Session, begun.Session) || got.State != ledger.InviteOpened {
		r.Errorf("of another tenant: %+v", got)
	}
	if _, err := r.PutInvitation(r.ctx(), free); !errors.Is(err, ledger.ErrConflict) {
		r.Errorf("somebody who was at it goes on: %v", err)
	}
	book, err := r.Logbook(r.ctx())
	r.must(err)
	var what []string
	for _, e := range book {
		if e.What == "invitation" {
			what = append(what, e.Detail)
		}
	}
	if !slices.Equal(what, []string{"one open", "two open", "one opened", "two signed in", "two withdrawn"}) {
		r.Errorf("the logbook has %q", what)
	}
	r.sound()
}
