package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drover"
	"drover/internal/config"
	"drover/internal/lab/authority"
	"drover/internal/proof"
	"drover/internal/signin"
)

// signedIn is a tenant that is read by a person's sign-in.
var signedIn = drover.Tenant{ID: "3c9f6b1e-0d0b-4a77-9d34-1b2c3d4e5f60", Name: "contoso", Customer: "contoso", Cloud: "worldwide", App: "default", State: drover.Paused, Sources: []drover.SourceID{drover.GraphAlerts}}

func TestASignInThatIsNotRenewedIsSpokenOfInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, begun := t.TempDir(), time.Now()
		put(t, filepath.Join(dir, "secret"), "S3cr~plain\n")
		cfg, err := config.Parse(filepath.Join(dir, "drover.yaml"), []byte("ledger: {dir: "+dir+"/ledger}\nvault: {key_file: "+dir+"/keys/k}\napps: {default: "+aClient+"secret: {file: "+dir+"/secret}}}\n"))
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		a, err := newApp(cfg, slog.New(slog.NewJSONHandler(&said, nil)), nil)
		if err == nil {
			err = a.openLedger(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(a.store.AddTenant(t.Context(), signedIn), a.seal(t.Context(), signedIn, drover.NewSecret("canary-token"))); err != nil {
			t.Fatal(err)
		}
		dealt := map[int]string{60: "WARN", 80: "ERROR", 90: "ERROR"}
		shown := 0
		for n := range 95 {
			time.Sleep(time.Until(begun.AddDate(0, 0, n).Add(time.Second)))
			said.Reset()
			a.sayEndsOnce(t.Context(), time.Now())
			if want := dealt[n]; (said.Len() > 0) != (want != "") || !strings.Contains(said.String(), want) || want != "" && !strings.Contains(said.String(), "drover tenant connect contoso --browser") {
				t.Errorf("day %d: said %q, want %q", n, said.String(), want)
			}
			status, err := a.local().Status(t.Context())
			if err != nil || (len(status.Ends) > 0) != (n >= 60) {
				t.Errorf("day %d: status shows %v, %v", n, status.Ends, err)
			}
			shown += len(status.Ends)
		}
		s, err := a.local().Tenant(t.Context(), "contoso")
		var out bytes.Buffer
		printSignIn(&out, s.SignIn, time.Now())
		if err != nil || !strings.Contains(out.String(), "94 of 90 days ago; not used again it ends on "+begun.AddDate(0, 0, 90).UTC().Format(time.DateOnly)) || strings.Contains(out.String()+said.String(), "canary") {
			t.Errorf("%v: %s", err, out.String())
		}
		if err := a.closeLedger(); err != nil {
			t.Fatal(err)
		}
		proof.Ran(t, "token.age", "a sign-in that nobody could renew: said after 60, 80 and 90 days, shown by status on %d of 95 days", shown)
	})
}

// TestAStopWaitsForARenewalThatIsUnderWay: what Entra has been asked for is kept,
// though who asked has gone.
func TestAStopWaitsForARenewalThatIsUnderWay(t *testing.T) {
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 5, customers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	d := s.lab.Directory()
	d.Switch(func(sw *authority.Switches) { sw.OldRefreshDies = true })
	cfg, err := config.Load(s.config)
	if err != nil {
		t.Fatal(err)
	}
	asked, let := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	a, err := newApp(cfg, discard(), func(ctx context.Context, network, addr string) (net.Conn, error) {
		once()
		<-let
		return new(net.Dialer).DialContext(context.WithoutCancel(ctx), network, addr)
	})
	if err == nil {
		err = a.openLedger(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	x := drover.Tenant{ID: drover.TenantID(s.lab.Customers()[0].Tenant), Name: "contoso", Customer: "contoso", Cloud: "lab", App: "default", State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}}
	first := d.GiveRefreshToken(string(x.ID), s.lab.AppID(), "analyst@mssp.example")
	if err := errors.Join(a.store.AddTenant(t.Context(), x), a.seal(t.Context(), x, drover.NewSecret(first))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	given := make(chan error)
	go func() {
		_, err := a.tokens.Token(ctx, x, drover.GraphAlerts)
		given <- err
	}()
	<-asked
	stop()
	if err := <-given; drover.KindOf(err) != drover.Transient {
		t.Fatalf("got %v", err)
	}
	closed := make(chan error)
	go func() { closed <- a.closeLedger() }()
	select {
	case <-closed:
		t.Error("the ledger is closed while a renewal is under way")
		close(let)
		return
	case <-time.After(200 * time.Millisecond): // longer makes only the fault surer to be seen
	}
	close(let)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	b, err := newApp(cfg, discard(), nil)
	if err == nil {
		err = b.openLedger(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.closeLedger() }()
	saved, _, err := b.signIns.Load(t.Context(), x)
	if err != nil || saved.Token.Reveal() == first {
		t.Fatalf("the token that Entra gave is not kept: %v", err)
	}
	if _, err := b.tokens.Token(t.Context(), x, drover.GraphAlerts); err != nil {
		t.Errorf("after the stop: %v", err)
	}
}

// TestRunRenewsASignInThatNobodyReadsBy has drover run, with a paused tenant
// that signed in long ago.
func TestRunRenewsASignInThatNobodyReadsBy(t *testing.T) {
	s, err := newStage(stageOptions{dir: t.TempDir(), listen: "127.0.0.1:0", seed: 5, customers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	cfg, err := config.Load(s.config)
	if err != nil {
		t.Fatal(err)
	}
	x := drover.Tenant{ID: drover.TenantID(s.lab.Customers()[0].Tenant), Name: "contoso", Customer: "contoso", Cloud: "lab", App: "default", State: drover.Paused, Sources: []drover.SourceID{drover.GraphAlerts}}
	first := s.lab.Directory().GiveRefreshToken(string(x.ID), s.lab.AppID(), "analyst@mssp.example")
	synctest.Test(t, func(t *testing.T) { // in the year 2000
		a, err := newApp(cfg, discard(), nil)
		if err == nil {
			err = a.openLedger(t.Context())
		}
		if err == nil {
			err = errors.Join(a.store.AddTenant(t.Context(), x), a.seal(t.Context(), x, drover.NewSecret(first)), a.closeLedger())
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	a, err := newApp(cfg, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	renewed := make(chan struct{})
	a.keeping = signin.NewKeeper(signin.Options{Store: a.signIns, Tokens: renewing{a.tokens, renewed}, Log: discard(), First: time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx) }()
	select {
	case <-renewed:
		stop()
	case err := <-ended:
		t.Fatalf("run ended: %v", err)
	case <-time.After(time.Minute): // only if it never comes
		t.Error("the sign-in was not renewed")
		stop()
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	b, err := newApp(cfg, discard(), nil)
	if err == nil {
		err = b.openLedger(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.closeLedger() }()
	if saved, _, err := b.signIns.Load(t.Context(), x); err != nil || saved.Token.Reveal() == first || saved.At.Time().Year() < 2026 {
		t.Errorf("what is kept is of %v, %v", saved.At, err)
	}
}

// renewing says when a renewal has come back.
type renewing struct {
	signin.Renewer
	done chan<- struct{}
}

func (r renewing) Renew(ctx context.Context, t drover.Tenant) error {
	err := r.Renewer.Renew(ctx, t)
	close(r.done)
	return err
}
