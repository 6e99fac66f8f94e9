package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"drover"
	"drover/internal/entra"
	"drover/internal/fault"
	"drover/internal/httpx"
)

// The tests run this test program once more, as a process that renews and dies.
const (
	partEnv   = "DROVER_TOKENS_CHILD"  // story or mortal
	dirEnv    = "DROVER_TOKENS_DIR"    // of the ledger
	keyEnv    = "DROVER_TOKENS_KEY"    // its master key
	baseEnv   = "DROVER_TOKENS_BASE"   // of the pretend Entra
	caEnv     = "DROVER_TOKENS_CA"     // its certificate authority, PEM
	clientEnv = "DROVER_TOKENS_CLIENT" // the app
	secretEnv = "DROVER_TOKENS_SECRET"
	tenantEnv = "DROVER_TOKENS_TENANT"
	firstEnv  = "DROVER_TOKENS_FIRST" // the story's refresh token of the sign-in
	pointEnv  = "DROVER_TOKENS_POINT" // the mortal dies at this failpoint; 0: it waits to be killed
)

// storied is how often the story's process renews.
const storied = 4

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(partEnv) {
	case "":
		os.Exit(m.Run())
	case "story":
		err = story()
	case "mortal":
		err = mortal()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// telling says on standard output when a redemption begins and when it is
// answered.
type telling struct{ entra.Doer }

func (d telling) HTTPClient(origin string, maxBody int64) *http.Client {
	c := d.Doer.HTTPClient(origin, maxBody)
	c.Transport = tellingTrip{c.Transport}
	return c
}

type tellingTrip struct{ http.RoundTripper }

func (d tellingTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	fmt.Println("ASK")
	res, err := d.RoundTripper.RoundTrip(r)
	if err == nil {
		fmt.Println("ANSWER", res.StatusCode)
	}
	return res, err
}

// childTenant is the tenant of both parts.
func childTenant() drover.Tenant {
	return drover.Tenant{ID: drover.TenantID(os.Getenv(tenantEnv)), Name: "contoso", Customer: "contoso", Cloud: cloudName, App: appName, State: drover.Active, Sources: []drover.SourceID{drover.GraphAlerts}}
}

func childTokens(store entra.RefreshStore) (*entra.Tokens, error) {
	client, err := httpx.New(httpx.Options{CAs: []byte(os.Getenv(caEnv)), AllowPrivate: true})
	if err != nil {
		return nil, err
	}
	app := entra.App{Secret: func() (drover.Secret, error) { return drover.NewSecret(os.Getenv(secretEnv)), nil }}
	return tokensOf(telling{client}, os.Getenv(baseEnv), os.Getenv(clientEnv), app, store)
}

// story makes a ledger, seals the token of a sign-in, and renews it some times.
// It says each thing once it was told that it is durable.
func story() error {
	ctx, x := context.Background(), childTenant()
	l, err := open(os.Getenv(dirEnv), os.Getenv(keyEnv))
	if err != nil {
		return err
	}
	store := signIns(l, base)
	if err := errors.Join(l.AddTenant(ctx, x), store.Seal(ctx, x, drover.NewSecret(os.Getenv(firstEnv)))); err != nil {
		return err
	}
	fmt.Println("SEALED")
	tokens, err := childTokens(store)
	if err != nil {
		return err
	}
	for range storied {
		token, err := tokens.Token(ctx, x, drover.GraphAlerts)
		if err != nil {
			return err
		}
		fmt.Println("USED")
		tokens.Invalidate(x, drover.GraphAlerts, token)
	}
	return l.Close()
}

// mortal renews until it is killed: by itself at a failpoint, or from outside.
func mortal() error {
	ctx, x := context.Background(), childTenant()
	l, err := open(os.Getenv(dirEnv), os.Getenv(keyEnv))
	if err != nil {
		return err
	}
	left, err := strconv.Atoi(os.Getenv(pointEnv))
	if err != nil {
		return err
	}
	fault.Arm(func(point string) {
		if left--; left == 0 {
			fmt.Println("DIES", point)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Minute)
		}
	})
	tokens, err := childTokens(signIns(l, base))
	if err != nil {
		return err
	}
	for {
		token, err := tokens.Token(ctx, x, drover.GraphAlerts)
		if err != nil {
			fmt.Println("LOCKED OUT", drover.KindOf(err), err)
			return l.Close()
		}
		fmt.Println("USED")
		tokens.Invalidate(x, drover.GraphAlerts, token)
	}
}
