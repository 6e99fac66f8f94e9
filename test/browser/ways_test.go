package browser

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"drover/internal/proof"
	"drover/internal/rig/onboarding"
)

// The ways mostly wait, so more of them are gone at a time than there are cores.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// chrome is a person at a real Chromium, in which pages run no script. It
// implements onboarding.Person.
type chrome struct{ ctx context.Context }

// shown is what a person sees of a page that matters for what comes next.
type shown struct {
	URL, Title    string
	Canary, Code  bool // a sign-in, which may ask for a code
	Choice        bool // among accounts
	Button        bool // of ours
	Link          bool // to the sign-in or the consent
	Waits, Failed bool // loads itself again; could not be loaded
}

const whatIsShown = `JSON.stringify((() => {
  const has = (s) => !!document.querySelector(s);
  return { URL: location.href, Title: document.title, Canary: has('[name=canary]'), Code: has('input[name=code]'), Choice: has('input[type=radio]'), Button: has('main form button'),
    Link: has('a[href*="/authorize?"], a[href*="/adminconsent?"]'), Waits: has('meta[http-equiv=refresh]'), Failed: location.protocol === 'chrome-error:' };
})())`

// Visit implements onboarding.Person.
func (c chrome) Visit(ctx context.Context, address string, as onboarding.Visitor) (string, error) {
	tab, cancel := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext())
	defer cancel()
	tab, stop := context.WithTimeout(tab, patience)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	if err := chromedp.Do(tab); err != nil {
		return "", err
	}
	if _, err := chromedp.Call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		return "", err
	}
	if err := chromedp.Do(tab, chromedp.Navigate(address)); err != nil {
		return "", err
	}
	last, since := shown{}, time.Now()
	for {
		raw, err := chromedp.Run(tab, chromedp.Evaluate[string](whatIsShown))
		var s shown
		if err == nil {
			err = json.Unmarshal([]byte(raw), &s)
		}
		if err != nil {
			if tab.Err() != nil {
				return last.URL, fmt.Errorf("at %s: %w", last.URL, err)
			}
			time.Sleep(20 * time.Millisecond) // between two pages
			continue
		}
		if s.Failed {
			return entry(tab)
		}
		if s == last && (s.Canary || s.Button || s.Link) && time.Since(since) < 10*time.Second || s.Waits {
			time.Sleep(50 * time.Millisecond) // the next page comes
			continue
		}
		if s == last {
			if time.Since(since) > time.Second {
				return s.URL, nil
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		last, since = s, time.Now()
		if err := next(tab, s, as); err != nil {
			return s.URL, fmt.Errorf("at %s (%s): %w", s.URL, s.Title, err)
		}
	}
}

// next does what a page asks for.
func next(tab context.Context, s shown, as onboarding.Visitor) error {
	press := func(selector string) error {
		err := chromedp.Do(tab, chromedp.Click(chromedp.CSS(selector)))
		if unresolved(err) {
			return nil
		}
		return err
	}
	switch {
	case s.Canary:
		if s.Code {
			if err := chromedp.Do(tab, chromedp.SendKeys(chromedp.CSS(`input[name=code]`), as.Code)); err != nil {
				return err
			}
		}
		who := chromedp.Click(chromedp.CSS(`input[type=radio][value="` + as.User + `"]`))
		if !s.Choice {
			who = chromedp.SendKeys(chromedp.CSS(`input[name=user]`), as.User)
		}
		if err := chromedp.Do(tab, who); err != nil {
			return err
		}
		return press(`button[value=accept]`)
	case s.Button:
		return press(`main form button`)
	case s.Link:
		return press(`a[href*="/authorize?"], a[href*="/adminconsent?"]`)
	}
	return nil
}

// unresolved reports whether a page led to a host that there is not, as the
// manual's address does.
func unresolved(err error) bool {
	return err != nil && strings.Contains(err.Error(), "ERR_NAME_NOT_RESOLVED")
}

// entry is the address that stands in the address bar.
func entry(tab context.Context) (string, error) {
	h, err := chromedp.Call(tab, page.GetNavigationHistory, struct{}{})
	if err != nil {
		return "", err
	}
	if i := int(h.CurrentIndex); i >= 0 && i < len(h.Entries) {
		return h.Entries[i].URL, nil
	}
	return "", errors.New("the address bar is empty")
}

func TestEveryWayIsGoneInARealBrowser(t *testing.T) {
	ctx := startChromium(t, "onboard.browser")
	w := onboarding.New(t, len(onboarding.Ways))
	w.Person = chrome{ctx}
	w.Walk(t)
	if t.Failed() {
		return
	}
	found, _, outputs := w.Leaks()
	for _, f := range found {
		t.Errorf("%+v", f)
	}
	proof.Ran(t, "onboard.browser", "%d ways from a fresh store to a customer whose alerts are delivered, in a real Chromium without scripts; secrets found in %d of %d outputs", len(onboarding.Ways), len(found), outputs)
}
