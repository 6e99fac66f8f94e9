package main

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"drover"
	"drover/internal/entra"
	"drover/internal/lab/labtest"
)

// An admin signs in by each way, and the app is there; the token serves this one
// command.
func TestAnAdminSignsInByBrowserOrByCode(t *testing.T) {
	for way, person := range map[string]func(m *msspStage, b *labtest.Browser, text string){
		"--browser": func(m *msspStage, b *labtest.Browser, text string) {
			led, err := b.Answer(m.Context(), text, "accept", url.Values{"user": {msspAdmin}})
			if err != nil {
				m.Error(err)
				return
			}
			if status, page, err := b.Open(m.Context(), led); err != nil || status != 200 || !strings.Contains(page, "You have signed in") {
				m.Errorf("the browser sees %d, %v: %s", status, err, page)
			}
		},
		"--device": func(m *msspStage, _ *labtest.Browser, text string) { m.enter(text, msspAdmin) },
	} {
		t.Run(way, func(t *testing.T) {
			m, b := realSignIn(t)
			var tokens []drover.Secret
			graphSignIn = func(ctx context.Context, r signInRequest) (drover.Secret, error) {
				token, err := signInToGraph(ctx, r)
				tokens = append(tokens, token)
				return token, err
			}
			code, out, errs := m.signingIn(map[string]string{"--browser": `(https://\S+/authorize\?\S+)`, "--device": `type the code ([A-Z0-9]+)`}[way], func(text string) { person(m, b, text) },
				"app", "create", "--home", "mssp.example", "--cloud", "lab", "--credential", "secret", way)
			if code != exitOK || !strings.Contains(errs, "Signed in: "+msspAdmin) {
				t.Fatalf("exit code %d: %s%s", code, out, errs)
			}
			if len(tokens) != 1 {
				t.Fatalf("%d sign-ins", len(tokens))
			}
			if d, ok := entra.Describe(tokens[0]); !ok || !d.Delegated || strings.Join(d.List, " ") != "Application.ReadWrite.All" || strings.Contains(out+errs, tokens[0].Reveal()) {
				t.Errorf("the token has %+v", d.List)
			}
		})
	}
}

func TestASignInOfStaffThatIsRefusedSaysTheWaysOut(t *testing.T) {
	m, b := realSignIn(t)
	code, _, errs := m.signingIn("", nil, "app", "create", "--home", "nobody.example", "--cloud", "lab", "--device")
	if code != exitDenied || !strings.Contains(errs, "AADSTS90002") || !strings.Contains(errs, "hint: ") {
		t.Errorf("an unknown tenant: %d %s", code, errs)
	}
	code, _, errs = m.signingIn("", nil, "app", "create", "--home", "mssp.example", "--cloud", "lab", "--device", "--sign-in-with", "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60")
	if code != exitDenied || !strings.Contains(errs, "AADSTS700016") || !strings.Contains(errs, "--sign-in-with") {
		t.Errorf("an unknown app: %d %s", code, errs)
	}
	m.lab.Directory().Restrict("99999999-0000-4000-8000-000000000001", 53003)
	code, _, errs = m.signingIn(`(https://\S+/authorize\?\S+)`, func(page string) {
		if led, err := b.Answer(t.Context(), page, "accept", url.Values{"user": {msspAdmin}}); err == nil && led != "" {
			_, _, _ = b.Open(t.Context(), led)
			return
		}
		// The page of the refusal stays; the person gives up.
		m.stop()
	}, "app", "create", "--home", "mssp.example", "--cloud", "lab", "--browser")
	if code == exitOK {
		t.Errorf("a policy refuses: %d %s", code, errs)
	}
	was := shownTo
	defer func() { shownTo = was }()
	shownTo = func(io.Writer) bool { return false }
	if code, _, errs := droverCommand(t, "app", "create", "--home", "mssp.example", "--cloud", "lab", "--device", "-c", m.config); code != exitUsage || !strings.Contains(errs, "run it on a terminal") {
		t.Errorf("not on a terminal: %d %s", code, errs)
	}
}

// realSignIn is a stage in which people sign in themselves.
func realSignIn(t *testing.T) (*msspStage, *labtest.Browser) {
	t.Helper()
	m := newMSSP(t)
	graphSignIn = signInToGraph // newMSSP puts back what was
	was := shownTo
	shownTo = func(io.Writer) bool { return true }
	t.Cleanup(func() { shownTo = was })
	b, err := labtest.New(m.lab.CAPEM())
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

// signingIn runs a command, and hands what fits pattern in what it says to
// somebody.
func (m *msspStage) signingIn(pattern string, person func(string), args ...string) (code int, out, errs string) {
	m.Helper()
	ctx, stop := context.WithTimeout(m.Context(), time.Minute)
	defer stop()
	m.stop = stop
	var o bytes.Buffer
	var e said
	done := make(chan int, 1)
	go func() {
		root := newRoot()
		root.SetArgs(append(args, "-c", m.config))
		root.SetIn(bytes.NewReader(nil))
		root.SetOut(&o)
		root.SetErr(&e)
		done <- report(ctx, &e, root.ExecuteContext(ctx))
	}()
	re := regexp.MustCompile(pattern)
	for asked := pattern == ""; ; {
		if found := re.FindStringSubmatch(e.String()); !asked && found != nil {
			asked = true
			person(found[1])
		}
		select {
		case code = <-done:
			return code, o.String(), e.String()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
