package onboard

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/coverage"
	"drover/internal/ledger"
)

// shelf keeps invitations in memory.
type shelf struct {
	mu   sync.Mutex
	list []ledger.Invitation
}

func (s *shelf) PutInvitation(_ context.Context, i ledger.Invitation) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.list {
		if s.list[n].ID == i.ID {
			if s.list[n].Version != i.Version {
				return 0, ledger.ErrConflict
			}
			i.Version++
			s.list[n] = i
			return i.Version, nil
		}
	}
	i.Version = 1
	s.list = append(s.list, i)
	return 1, nil
}

func (s *shelf) Invitations(_ context.Context, f ledger.InvitationFilter) (out []ledger.Invitation, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.list {
		if (f.ID == "" || f.ID == i.ID) && (f.Link == (drover.Hash{}) || f.Link == i.Link) && (f.Session == (drover.Hash{}) || f.Session == i.Session) {
			out = append(out, i)
		}
	}
	return out, nil
}

// entrance is an Entra of one story: a world, and what tokens lack.
type entrance struct {
	*world
	lacks func(n int) []drover.SourceID
}

func (e entrance) Lacks(context.Context, drover.Tenant, []drover.SourceID) ([]drover.SourceID, error) {
	e.asked++
	return e.lacks(e.asked), nil
}

var (
	linkOne            = ledger.AlertHash("link")
	browserA, browserB = ledger.AlertHash("browser A"), ledger.AlertHash("browser B")
	answered           = url.Values{"state": {"own"}}
)

// desking is a desk of one story.
type desking struct {
	*Desk
	w       *world
	shelf   *shelf
	kept    atomic.Int32
	keepErr error
	stands  Standing
}

func newDesk(t *testing.T, w *world, i ledger.Invitation) *desking {
	t.Helper()
	now := drover.InstantOf(time.Now())
	if i.ID == "" {
		i.Wanted.ID = tenantA
	}
	i.ID, i.Link, i.State, i.Made, i.Ends = "one", linkOne, ledger.InviteOpen, now, now.Add(72*time.Hour)
	if i.Purpose == "" {
		i.Purpose = ledger.Connect
	}
	i.Wanted.Name, i.Wanted.Sources = "contoso", []drover.SourceID{drover.GraphAlerts}
	i.Opened, i.SignedIn, i.Asked, i.Consented, i.Settled = drover.NoInstant, drover.NoInstant, drover.NoInstant, drover.NoInstant, drover.NoInstant
	d := &desking{w: w, shelf: &shelf{list: []ledger.Invitation{i}}, stands: Stranger}
	d.Desk = &Desk{Store: d.shelf, Entra: entrance{w, func(n int) []drover.SourceID {
		if w.shows(n) {
			return nil
		}
		return i.Lacks
	}}, Redirect: "https://mssp.example/S/callback", Word: func(error) string { return "declined" }, Log: slog.New(slog.DiscardHandler),
		Known: func(context.Context, drover.TenantID) (Standing, error) { return d.stands, nil },
		Keep: func(context.Context, ledger.Invitation) error {
			if d.keepErr == nil {
				d.kept.Add(1)
			}
			return d.keepErr
		},
		Check: func(context.Context, drover.Tenant) ([]coverage.Source, error) {
			return []coverage.Source{{ID: drover.GraphAlerts, Answer: coverage.Open}}, nil
		}}
	return d
}

// runs has the desk work until the story ends.
func (d *desking) runs(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

func (d *desking) now() ledger.Invitation {
	d.shelf.mu.Lock()
	defer d.shelf.mu.Unlock()
	return d.shelf.list[0]
}

// signs signs in, in a browser.
func (d *desking) signs(t *testing.T, session drover.Hash) {
	t.Helper()
	i, err := d.Find(t.Context(), linkOne)
	if err == nil {
		_, err = d.Begin(t.Context(), i, session)
	}
	if err == nil {
		err = d.Answer(t.Context(), session, answered)
	}
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// agrees goes to the consent, and comes back from it.
func (d *desking) agrees(t *testing.T, session drover.Hash) {
	t.Helper()
	if _, err := d.Consent(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	if err := d.Answer(t.Context(), session, answered); err != nil {
		t.Fatal(err)
	}
}

// Tokens may show a consent before the browser in which it was given is back.
func TestABrowserThatIsBackAfterItsConsentHasShownIsNoStranger(t *testing.T) {
	for name, tt := range map[string]struct {
		later time.Duration
		state ledger.InvitationState
	}{
		"at once":       {0, ledger.InviteConsented},
		"a while later": {time.Minute, ledger.InviteDone},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(t, &world{tid: tenantA, shows: func(n int) bool { return n > 1 }}, ledger.Invitation{})
			d.runs(t)
			d.signs(t, browserA)
			if _, err := d.Consent(t.Context(), browserA); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(tt.later)
			synctest.Wait()
			if i := d.now(); i.State != tt.state {
				t.Fatalf("%s: %s before the browser is back", name, i.State)
			}
			if err := d.Answer(t.Context(), browserA, answered); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if i := d.now(); i.State != ledger.InviteDone || d.kept.Load() != 1 {
				t.Errorf("%s: %s, kept %d", name, i.State, d.kept.Load())
			}
		})
	}
}

func TestAnInvitationComesToItsEnd(t *testing.T) {
	any := ledger.Invitation{ID: "any"}
	more := ledger.Invitation{Purpose: ledger.Reconsent, Lacks: []drover.SourceID{drover.MDEAlerts}}
	for name, tt := range map[string]struct {
		i       ledger.Invitation
		shows   func(n int) bool
		stands  Standing
		keepErr error
		within  time.Duration
		state   ledger.InvitationState
		why     string
		kept    int
	}{
		"it shows at once":                      {shows: func(n int) bool { return n > 1 }, within: time.Minute, state: ledger.InviteDone, kept: 1},
		"it was added, and never read":          {shows: func(n int) bool { return n > 1 }, stands: Unread, within: time.Minute, state: ledger.InviteDone, kept: 1},
		"it shows, and again not, and then":     {shows: func(n int) bool { return n == 3 || n == 5 || n > 8 }, within: 5 * time.Minute, state: ledger.InviteDone, kept: 1},
		"it takes an hour":                      {shows: func(n int) bool { return n > 40 }, within: 3 * time.Hour, state: ledger.InviteDone, kept: 1},
		"it never shows":                        {shows: func(int) bool { return false }, within: 73 * time.Hour, state: ledger.InviteExpired, why: WhyNotShown},
		"it was read before":                    {shows: func(n int) bool { return n > 1 }, stands: Read, within: time.Minute, state: ledger.InviteWaiting, why: WhyRead},
		"it has left":                           {shows: func(n int) bool { return n > 1 }, stands: Left, within: time.Minute, state: ledger.InviteWaiting, why: WhyLeft},
		"nobody was named":                      {i: any, shows: func(n int) bool { return n > 1 }, within: time.Minute, state: ledger.InviteWaiting, why: WhyUnnamed},
		"its name is another's":                 {shows: func(n int) bool { return n > 1 }, keepErr: ledger.ErrConflict, within: time.Minute, state: ledger.InviteWaiting, why: WhyName},
		"one permission more":                   {i: more, shows: func(n int) bool { return n > 1 }, stands: Read, within: time.Minute, state: ledger.InviteDone},
		"one permission more, which never came": {i: more, shows: func(int) bool { return false }, stands: Read, within: 20 * time.Minute, state: ledger.InviteDone},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{tid: tenantA, shows: tt.shows}
			d := newDesk(t, w, tt.i)
			d.stands, d.keepErr = tt.stands, tt.keepErr
			d.runs(t)
			d.signs(t, browserA)
			if i := d.now(); i.State != ledger.InviteSignedIn || !i.Looked || i.Who.Tenant != tenantA || d.kept.Load() > 0 {
				t.Fatalf("%s: after the sign-in: %+v, kept %d", name, i, d.kept.Load())
			}
			d.agrees(t, browserA)
			synctest.Wait()
			if i := d.now(); d.kept.Load() > 0 && w.asked < 3 {
				t.Errorf("%s: believed after %d looks: %+v", name, w.asked, i)
			}
			time.Sleep(tt.within)
			synctest.Wait()
			if i := d.now(); i.State != tt.state || i.Why != tt.why || int(d.kept.Load()) != tt.kept || (i.State == ledger.InviteDone) != (i.Results != nil) {
				t.Errorf("%s: %s (%s), kept %d, results %v", name, i.State, i.Why, d.kept.Load(), i.Results)
			}
			if w.asked > 2000 {
				t.Errorf("%s: asked %d times", name, w.asked)
			}
			if i := d.now(); i.State != ledger.InviteExpired {
				if _, err := d.Begin(t.Context(), i, browserB); !errors.Is(err, ErrSpent) {
					t.Errorf("%s: begun again: %v", name, err)
				}
			}
		})
	}
}

func TestASignInThatDoesNotHoldKeepsNothing(t *testing.T) {
	shown := func(n int) bool { return n > 1 }
	for name, story := range map[string]func(t *testing.T, d *desking){
		"of another tenant": func(t *testing.T, d *desking) {
			d.w.tid = tenantB
			d.signs(t, browserA)
			if i := d.now(); i.State != ledger.InviteOpened || i.Why != "wrong_tenant" || d.w.asked > 0 {
				t.Errorf("%+v, asked %d", i, d.w.asked)
			}
		},
		"consented before": func(t *testing.T, d *desking) {
			d.w.shows = func(int) bool { return true }
			d.signs(t, browserA)
			if i := d.now(); i.State != ledger.InviteWaiting || i.Why != WhyBefore || !i.Before {
				t.Errorf("%+v", i)
			}
		},
		"an hour ago": func(t *testing.T, d *desking) {
			d.signs(t, browserA)
			time.Sleep(signInLife + time.Second)
			if _, err := d.Consent(t.Context(), browserA); !errors.Is(err, ErrStale) {
				t.Errorf("consent: %v", err)
			}
		},
		"the page at Entra was left open": func(t *testing.T, d *desking) {
			i, _ := d.Find(t.Context(), linkOne)
			if _, err := d.Begin(t.Context(), i, browserA); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pendingLife + time.Second)
			if err := d.Answer(t.Context(), browserA, answered); !errors.Is(err, ErrForeign) {
				t.Errorf("answer: %v", err)
			}
		},
		"in a browser that another has followed": func(t *testing.T, d *desking) {
			d.signs(t, browserA)
			i, _ := d.Find(t.Context(), linkOne)
			if _, err := d.Begin(t.Context(), i, browserB); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Consent(t.Context(), browserA); !errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("the browser before: %v", err)
			}
			if i := d.now(); i.Who.Tenant != "" {
				t.Errorf("who was at it before is still: %+v", i)
			}
		},
		"answered twice": func(t *testing.T, d *desking) {
			d.signs(t, browserA)
			if err := d.Answer(t.Context(), browserA, answered); !errors.Is(err, ErrForeign) {
				t.Errorf("again: %v", err)
			}
		},
		"a consent that was declined": func(t *testing.T, d *desking) {
			d.w.shows = func(int) bool { return false }
			d.signs(t, browserA)
			d.w.declined = errors.New("declined")
			d.agrees(t, browserA)
			if i := d.now(); i.State != ledger.InviteSignedIn || i.Why != "declined" {
				t.Errorf("%+v", i)
			}
		},
		"after its end": func(t *testing.T, d *desking) {
			time.Sleep(73 * time.Hour)
			i, _ := d.Find(t.Context(), linkOne)
			if _, err := d.Begin(t.Context(), i, browserA); !errors.Is(err, ErrSpent) {
				t.Errorf("begun: %v", err)
			}
			synctest.Wait()
			if i := d.now(); i.State != ledger.InviteExpired {
				t.Errorf("it is %s", i.State)
			}
		},
		"withdrawn while it goes on": func(t *testing.T, d *desking) {
			d.signs(t, browserA)
			i := d.now()
			i.State = ledger.InviteWithdrawn
			if _, err := d.shelf.PutInvitation(t.Context(), i); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Consent(t.Context(), browserA); !errors.Is(err, ErrSpent) {
				t.Errorf("consent: %v", err)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(t, &world{tid: tenantA, shows: shown}, ledger.Invitation{})
			d.runs(t)
			story(t, d)
			time.Sleep(time.Minute)
			if d.kept.Load() > 0 {
				t.Errorf("%s: it was kept", name)
			}
		})
	}
}

// Whoever signs in and is no admin sends the consent's page on; it shows without
// an answer in this browser.
func TestAConsentInAnotherBrowserIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var agreed atomic.Bool
		w := &world{tid: tenantA}
		w.shows = func(int) bool { return agreed.Load() }
		d := newDesk(t, w, ledger.Invitation{})
		d.runs(t)
		d.signs(t, browserA)
		if _, err := d.Consent(t.Context(), browserA); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if d.kept.Load() > 0 {
			t.Error("kept before anybody has agreed")
		}
		agreed.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if i := d.now(); i.State != ledger.InviteDone || d.kept.Load() != 1 {
			t.Errorf("%+v, kept %d", i, d.kept.Load())
		}
	})
}

// Of whom nothing came, nothing is kept.
func TestWhoAnsweredIsForgottenWhenNothingCameOfIt(t *testing.T) {
	for state, kept := range map[ledger.InvitationState]bool{ledger.InviteRefused: false, ledger.InviteWithdrawn: false, ledger.InviteDone: true, ledger.InviteWaiting: true} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(t, &world{tid: tenantA, shows: func(int) bool { return true }}, ledger.Invitation{})
			d.runs(t)
			d.signs(t, browserA)
			i := d.now()
			i.State, i.Settled, i.Results = state, drover.InstantOf(time.Now().Add(-rememberFor+time.Hour)), []ledger.InvitedSource{}
			if _, err := d.shelf.PutInvitation(t.Context(), i); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Minute)
			if i := d.now(); i.Who.Tenant == "" {
				t.Errorf("%s: forgotten early", state)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if i := d.now(); (i.Who.Tenant != "") != kept || (i.Link != drover.Hash{}) != kept {
				t.Errorf("%s: %+v", state, i)
			}
		})
	}
}

// The link's own end counts, whoever has written it down.
func TestALinkEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, &world{tid: tenantA, shows: func(int) bool { return false }}, ledger.Invitation{})
		time.Sleep(73 * time.Hour)
		i, _ := d.Find(t.Context(), linkOne)
		if _, err := d.Begin(t.Context(), i, browserA); !errors.Is(err, ErrSpent) {
			t.Errorf("begun: %v", err)
		}
		if i := d.now(); i.State != ledger.InviteOpen {
			t.Errorf("looking has changed it to %s", i.State)
		}
	})
}

// A desk that starts finds what was begun.
func TestWhatWasConsentedIsGoneOnWithAfterAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{tid: tenantA, shows: func(n int) bool { return n > 1 }}
		d := newDesk(t, w, ledger.Invitation{})
		d.signs(t, browserA) // nobody works behind the page
		i := d.now()
		i.Looked, i.State, i.Consented = true, ledger.InviteConsented, drover.InstantOf(time.Now())
		if _, err := d.shelf.PutInvitation(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		d.runs(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if i := d.now(); i.State != ledger.InviteDone || d.kept.Load() != 1 || len(i.Results) != 1 {
			t.Errorf("%+v, kept %d", i, d.kept.Load())
		}
	})
}
