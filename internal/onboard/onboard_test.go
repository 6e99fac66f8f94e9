package onboard

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/coverage"
	"drover/internal/proof"
)

const (
	tenantA = drover.TenantID("3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
	tenantB = drover.TenantID("4c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
)

// world is an Entra and a browser of one story.
type world struct {
	tid       drover.TenantID // who signs in
	shows     func(n int) bool
	asked     int
	fails     int        // so many times Entra slows us down
	back      url.Values // what the consent page's answer is; nil: nobody comes back
	backAfter time.Duration
	declined  error
	kept      int
	steps     []StepKind
	checks    func(n int) coverage.Source
	checked   int
}

func (w *world) SignIn(drover.Tenant, drover.SourceID, bool, string) (SignIn, error) {
	return signing{w}, nil
}
func (w *world) Device(context.Context, drover.Tenant, drover.SourceID, bool) (DeviceSignIn, error) {
	return signing{w}, nil
}
func (w *world) AdminConsent(drover.Tenant, string, bool) (AdminConsent, error) {
	return agreeing{w}, nil
}
func (w *world) Consented(context.Context, drover.Tenant) (known, granted bool, err error) {
	if w.asked++; w.fails >= w.asked {
		return false, false, &drover.Error{Op: "get a token", Kind: drover.Throttled, Wait: 3 * time.Second}
	}
	return true, w.shows(w.asked), nil
}

type signing struct{ *world }

func (signing) URL() string                      { return "https://login.example/authorize" }
func (signing) Mine(url.Values) bool             { return true }
func (signing) Pasted(string) (url.Values, bool) { return nil, false }
func (signing) UserCode() string                 { return "FJ7K2QWX" }
func (signing) Address() string                  { return "https://login.example/device" }
func (signing) Until() time.Time                 { return time.Now().Add(time.Minute) }
func (s signing) Wait(context.Context) (drover.Person, drover.Secret, error) {
	return drover.Person{Tenant: s.tid, Name: "ada"}, drover.NewSecret("refresh"), nil
}
func (s signing) Finish(ctx context.Context, _ url.Values) (drover.Person, drover.Secret, error) {
	return s.Wait(ctx)
}

type agreeing struct{ *world }

func (agreeing) URL() string               { return "https://login.example/adminconsent" }
func (agreeing) Mine(url.Values) bool      { return true }
func (a agreeing) Finish(url.Values) error { return a.declined }

// callback hands over what the browser brings.
type callback struct{ *world }

func (callback) Redirect() string             { return "http://localhost:1" }
func (callback) Expect(func(url.Values) bool) {}
func (callback) Close()                       {}
func (c callback) Wait(ctx context.Context) (*Answer, error) {
	if c.back == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(c.backAfter):
		return &Answer{Values: c.back, page: make(chan page, 1)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *world) connect(ctx context.Context, o Order) (Result, error) {
	return w.connectBy(ctx, o, func(s Step) { w.steps = append(w.steps, s.What) }, func() (Callback, error) { return callback{w}, nil })
}

func (w *world) connectBy(ctx context.Context, o Order, show func(Step), listen func() (Callback, error)) (Result, error) {
	s := Service{Entra: w, Show: show, Listen: listen,
		Keep: func(context.Context, drover.Tenant, drover.Secret) error { w.kept++; return nil },
		Check: func(context.Context, drover.Tenant) ([]coverage.Source, error) {
			w.checked++
			if w.checks == nil {
				return []coverage.Source{{ID: drover.GraphAlerts, Answer: coverage.Open}}, nil
			}
			return []coverage.Source{w.checks(w.checked)}, nil
		}}
	o.Tenant = drover.Tenant{ID: tenantA, Name: "contoso", Sources: []drover.SourceID{drover.GraphAlerts}}
	return s.Connect(ctx, o)
}

func TestAConsentIsWaitedForWhileItSpreads(t *testing.T) {
	came := url.Values{"admin_consent": {"True"}}
	for name, tt := range map[string]struct {
		w       world
		outcome Outcome
		kept    int
		within  time.Duration
		asked   int // looks that it needs at least
	}{
		"it was there before":               {world{shows: func(int) bool { return true }}, Works, 1, 0, 1},
		"it shows at once":                  {world{shows: func(n int) bool { return n > 1 }, back: came}, Works, 1, 5 * time.Second, 3},
		"it shows, and again not, and then": {world{shows: func(n int) bool { return n == 3 || n == 5 || n > 7 }, back: came}, Works, 1, 2 * time.Minute, 9},
		"nobody comes back, and it shows":   {world{shows: func(n int) bool { return n > 6 }}, Works, 1, 2 * time.Minute, 8},
		"Entra slows us down at first":      {world{shows: func(int) bool { return true }, fails: 3}, Works, 1, 20 * time.Second, 4},
		"nobody ever agrees":                {world{shows: func(int) bool { return false }}, ConsentPending, 0, 16 * time.Minute, 80},
		"an API hears of it later than others": {world{shows: func(n int) bool { return n > 1 }, back: came, checks: func(n int) coverage.Source {
			if n < 4 {
				return coverage.Source{ID: drover.GraphAlerts, Answer: coverage.NotGranted}
			}
			return coverage.Source{ID: drover.GraphAlerts, Answer: coverage.Open}
		}}, Works, 1, time.Minute, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := tt.w
			w.tid = tenantA
			began := time.Now()
			r, err := w.connect(t.Context(), Order{Way: Device, Known: true})
			if err != nil || len(r.Sources) != 1 || r.Sources[0].Outcome != tt.outcome || w.kept != tt.kept || time.Since(began) > tt.within {
				t.Errorf("%s: %+v %v, kept %d times, after %v", name, r, err, w.kept, time.Since(began))
			}
			if w.asked < tt.asked {
				t.Errorf("%s: believed after %d looks", name, w.asked)
			}
			if w.asked > 92 { // every ten seconds for a quarter of an hour
				t.Errorf("%s: asked %d times", name, w.asked)
			}
		})
	}
}

func TestNobodyElsesSignInConnectsATenant(t *testing.T) {
	wrong, stories := 0, 0
	for _, way := range []Way{Browser, Device} {
		for _, delegated := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				stories++
				w := world{tid: tenantB, shows: func(int) bool { return true }, back: url.Values{}}
				_, err := w.connect(t.Context(), Order{Way: way, Delegated: delegated, Known: true})
				if err == nil || drover.KindOf(err) != drover.Denied || !strings.Contains(err.Error(), "another tenant") || w.asked > 0 || w.checked > 0 || w.kept > 0 {
					wrong++
					t.Errorf("%s: %v, %+v", way, err, w)
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		stories++
		w := world{tid: tenantA, shows: func(int) bool { return true }}
		if _, err := w.connect(t.Context(), Order{Way: Device}); err == nil || w.kept > 0 {
			wrong++
			t.Errorf("consented before, and nobody confirms: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		stories++
		w := world{tid: tenantA, shows: func(int) bool { return false }, back: url.Values{}, declined: errors.New("declined")}
		if _, err := w.connect(t.Context(), Order{Way: Device}); err == nil || w.kept > 0 {
			wrong++
			t.Errorf("declined: %v", err)
		}
	})
	proof.Ran(t, "T17", "%d sign-ins of somebody else, unconfirmed or declined: tenants kept wrongly %d", stories, wrong)
}

// The table of docs/onboarding.md names every outcome.
func TestThePageNamesEveryOutcome(t *testing.T) {
	page, err := os.ReadFile("../../docs/onboarding.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []Outcome{Works, RoleMissing, NoLicence, NotOnboarded, EitherOne, ConsentPending, NotAuthorised, Refused, Unasked} {
		if !strings.Contains(string(page), "`"+string(o)+"`") {
			t.Errorf("docs/onboarding.md does not name %q", o)
		}
	}
}

func TestAConsentThatOneSourceShowsIsNotPendingForAnother(t *testing.T) {
	has := coverage.Source{ID: drover.GraphAlerts, Answer: coverage.Open, Permissions: []string{"SecurityAlert.Read.All"}}
	lacks := coverage.Source{ID: drover.MDEAlerts, Answer: coverage.NotGranted, Wants: "Alert.Read.All"}
	out, pending, partly := outcomes(Order{}, []coverage.Source{has, lacks})
	if !pending || !partly || out[1].Outcome != RoleMissing || !strings.Contains(out[1].Do, "Alert.Read.All") {
		t.Errorf("%+v", out)
	}
	out, pending, partly = outcomes(Order{}, []coverage.Source{lacks, lacks})
	if !pending || partly || out[0].Outcome != ConsentPending {
		t.Errorf("%+v", out)
	}
}

func TestEachAnswerHasOneMeaningAndAWayOut(t *testing.T) {
	o := Order{Tenant: drover.Tenant{ID: tenantA}, Portal: "https://security.microsoft.com", ClientID: "app-id"}
	for name, tt := range map[string]struct {
		a    coverage.Source
		want Outcome
	}{
		"works":             {coverage.Source{ID: drover.GraphAlerts, Answer: coverage.Open}, Works},
		"another role":      {coverage.Source{ID: drover.GraphAlerts, Answer: coverage.NotGranted, Permissions: []string{"User.Read.All"}, Wants: "SecurityAlert.Read.All"}, RoleMissing},
		"no role at all":    {coverage.Source{ID: drover.GraphAlerts, Answer: coverage.NotGranted}, ConsentPending},
		"no token":          {coverage.Source{ID: drover.MDEAlerts, Answer: coverage.NotOnboarded}, NoLicence},
		"the API refuses":   {coverage.Source{ID: drover.MDEAlerts, Answer: coverage.NotOnboarded, Permissions: []string{"Alert.Read.All"}}, NotOnboarded},
		"one of two":        {coverage.Source{ID: drover.GraphAlerts, Answer: coverage.Ambiguous, Hint: "x"}, EitherOne},
		"not in the portal": {coverage.Source{ID: drover.SIEMDetections, Answer: coverage.Ambiguous}, NotAuthorised},
		"denied":            {coverage.Source{ID: drover.GraphAlerts, Answer: coverage.Denied, Hint: "x"}, Refused},
		"an outage":         {coverage.Source{ID: drover.GraphAlerts, Answer: coverage.Unasked}, Unasked},
	} {
		got := outcome(o, tt.a)
		if got.Outcome != tt.want || got.Do == "" && tt.want != Works && tt.want != Unasked {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if do := outcome(o, coverage.Source{ID: drover.SIEMDetections, Answer: coverage.Ambiguous}).Do; !strings.Contains(do, "https://security.microsoft.com/?tid="+string(tenantA)) || !strings.Contains(do, "app-id") {
		t.Errorf("%s", do)
	}
}
