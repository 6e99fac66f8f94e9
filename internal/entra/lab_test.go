package entra_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"drover"
	"drover/internal/entra"
	"drover/internal/httpx"
	"drover/internal/lab"
	"drover/internal/lab/authority"
	"drover/internal/lab/fault"
)

// cloud is a pretend cloud on loopback and the client that may reach it.
type cloud struct {
	*lab.Lab
	clouds entra.Clouds
	client *httpx.Client
}

func pretend(t *testing.T) *cloud {
	t.Helper()
	l, err := lab.New(lab.Options{Seed: 1, Customers: 2})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := l.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	client, err := httpx.New(httpx.Options{Purpose: "lab", CAs: l.CAPEM(), AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); _ = l.Close() })
	base := "https://" + addr
	clouds, err := entra.NewClouds(entra.Cloud{Name: "lab", Authority: base, Graph: base, GraphResource: "https://graph.microsoft.com", SIEM: map[string]string{"eu": base}, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	return &cloud{l, clouds, client}
}

func (c *cloud) tokens(app entra.App, store entra.RefreshStore) *entra.Tokens {
	app.Name, app.ClientID = "default", c.AppID()
	return entra.New(entra.Options{HTTP: func(entra.Cloud) entra.Doer { return c.client }, Clouds: c.clouds, Apps: map[string]entra.App{"default": app}, Refresh: store})
}

func (c *cloud) secret() entra.App {
	return entra.App{Secret: func() (drover.Secret, error) { return drover.NewSecret(c.AppSecret()), nil }}
}

func (c *cloud) certificate(t *testing.T) entra.App {
	t.Helper()
	appCert, appKey := c.AppCertificate()
	cert, err := entra.ParseCertificate(appCert, appKey, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return entra.App{Certificate: func() (*entra.Certificate, error) { return cert, nil }}
}

func (c *cloud) tenant(i int) drover.Tenant {
	return drover.Tenant{ID: drover.TenantID(c.Customers()[i].Tenant), Cloud: "lab", App: "default"}
}

// shelf keeps one tenant's refresh token.
type shelf struct {
	mu  sync.Mutex
	now entra.Refresh
}

func (s *shelf) Load(context.Context, drover.Tenant) (entra.Refresh, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, true, nil
}

func (s *shelf) Save(_ context.Context, _ drover.Tenant, r entra.Refresh) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Version != s.now.Version {
		return entra.ErrConflict
	}
	r.Version++
	r.At = drover.InstantOf(time.Now())
	s.now = r
	return nil
}

var sources = []drover.SourceID{drover.GraphAlerts, drover.SIEMDetections}

func TestThePretendEntraTakesEveryCredential(t *testing.T) {
	c := pretend(t)
	c.Directory().RefuseReplay = true
	for name, app := range map[string]entra.App{"secret": c.secret(), "certificate": c.certificate(t)} {
		k := c.tokens(app, nil)
		for i := range c.Customers() {
			for _, s := range sources {
				token, err := k.Token(t.Context(), c.tenant(i), s)
				if err != nil {
					t.Fatalf("%s, %s: %v", name, s, err)
				}
				if claims, err := c.Directory().Verify(token.Reveal()); err != nil || claims.TenantID != c.Customers()[i].Tenant || claims.AppID != c.AppID() {
					t.Errorf("%s, %s: a token for %s: %v", name, s, claims.TenantID, err)
				}
			}
		}
	}
}

func TestThePretendEntraRotatesRefreshTokens(t *testing.T) {
	for name, strict := range map[string]bool{"old ones stay valid": false, "reuse kills the family": true} {
		t.Run(name, func(t *testing.T) {
			c := pretend(t)
			c.Directory().ReuseKillsFamily = strict
			x := c.tenant(0)
			first := c.Directory().GiveRefreshToken(string(x.ID), c.AppID(), "analyst@mssp.example")
			store := &shelf{now: entra.Refresh{Token: drover.NewSecret(first), Version: 1}}
			k := c.tokens(c.secret(), store)
			seen := map[string]bool{first: true}
			for range 5 {
				for _, s := range sources {
					token, err := k.Token(t.Context(), x, s)
					if err != nil {
						t.Fatal(err)
					}
					k.Invalidate(x, s, token)
					if now := store.now.Token.Reveal(); seen[now] {
						t.Error("the refresh token did not move on")
					} else {
						seen[now] = true
					}
				}
			}
			c.Directory().RevokeRefreshTokens(string(x.ID))
			_, err := k.Token(t.Context(), x, drover.GraphAlerts)
			if r, ok := errors.AsType[*entra.Refusal](err); !ok || r.Class != entra.SignIn || drover.KindOf(err) != drover.Denied {
				t.Errorf("revoked: got %v", err)
			}
		})
	}
}

func TestThePretendEntrasRefusalsAreUnderstood(t *testing.T) {
	c := pretend(t)
	x := c.tenant(0)
	for _, tt := range []struct {
		state authority.Consent
		want  string
	}{{authority.None, "AADSTS7000229"}, {authority.Known, "no permission"}, {authority.Granted, ""}} {
		state, want := tt.state, tt.want
		c.Directory().Consent(string(x.ID), c.AppID(), state)
		_, err := c.tokens(c.secret(), nil).Token(t.Context(), x, drover.GraphAlerts)
		if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || drover.KindOf(err) != drover.Denied) {
			t.Errorf("consent %v: got %v, want %q", state, err, want)
		}
	}
	wrong := entra.App{Secret: func() (drover.Secret, error) { return drover.NewSecret("lab~wrong"), nil }}
	if _, err := c.tokens(wrong, nil).Token(t.Context(), x, drover.GraphAlerts); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong secret: got %v", err)
	}
	gone := x
	gone.ID = "00000000-0000-4000-8000-00000000dead"
	if _, err := c.tokens(c.secret(), nil).Token(t.Context(), gone, drover.GraphAlerts); err == nil || !strings.Contains(err.Error(), "AADSTS90002") {
		t.Errorf("no such tenant: got %v", err)
	}
	for _, kind := range []string{fault.TokenWrongTID, fault.TokenNoRoles} {
		c.Faults().Set(fault.Rule{Kind: kind, API: "token", Value: c.Customers()[1].Tenant})
		if token, err := c.tokens(c.secret(), nil).Token(t.Context(), x, drover.GraphAlerts); drover.KindOf(err) != drover.Denied || !token.Empty() {
			t.Errorf("%s: got %v", kind, err)
		}
		c.Faults().Clear()
	}
	c.Faults().Set(fault.Rule{Kind: fault.TokenOpaque, API: "token"})
	if _, err := c.tokens(c.secret(), nil).Token(t.Context(), x, drover.GraphAlerts); err != nil {
		t.Errorf("opaque: got %v", err)
	}
	c.Faults().Clear()
	for _, code := range entra.Codes() {
		c.Faults().Set(fault.Rule{Kind: fault.AADSTS, API: "token", Param: code})
		remedy, _ := entra.Explain(code)
		_, err := c.tokens(c.secret(), nil).Token(t.Context(), x, drover.GraphAlerts)
		if r, ok := errors.AsType[*entra.Refusal](err); !ok || r.Code != code || drover.KindOf(err) != remedy.Kind {
			t.Errorf("%d: got %v", code, err)
		}
		c.Faults().Clear()
	}
}

func TestWhatATenantHasGivenIsReadFromTokensOfEachAPI(t *testing.T) {
	c := pretend(t)
	x := c.tenant(0)
	all := []drover.SourceID{drover.GraphAlerts, drover.GraphIncidents, drover.MDEAlerts, drover.SIEMDetections}
	k := c.tokens(c.secret(), nil)
	for _, tt := range []struct {
		state       authority.Consent
		roles       []string
		open, lacks string
		known       bool
	}{
		{authority.None, nil, "", "[graph.alerts graph.incidents mde.alerts]", false},
		{authority.Known, nil, "", "[graph.alerts graph.incidents mde.alerts]", true},
		{authority.Granted, []string{"SecurityAlert.Read.All"}, "[graph.alerts]", "[graph.incidents mde.alerts]", true},
		{authority.Granted, []string{"SecurityIncident.Read.All"}, "[graph.alerts graph.incidents]", "[mde.alerts]", true},
		{authority.Granted, []string{"Alert.Read.All"}, "[mde.alerts]", "[graph.alerts graph.incidents]", true},
		{authority.Granted, []string{"SecurityAlert.Read.All", "SecurityIncident.Read.All", "Alert.Read.All"}, "[graph.alerts graph.incidents mde.alerts]", "", true},
	} {
		c.Directory().Consent(string(x.ID), c.AppID(), tt.state)
		if tt.roles != nil {
			c.Directory().Roles(string(x.ID), c.AppID(), tt.roles)
		}
		g, err := k.Grants(t.Context(), x, all)
		none := func(list []drover.SourceID) string {
			if len(list) == 0 {
				return ""
			}
			return fmt.Sprint(list)
		}
		if err != nil || none(g.Open) != tt.open || none(g.Lacks) != tt.lacks || g.Known != tt.known || none(g.Untold) != "[siem.detections]" {
			t.Errorf("%v %v: %+v %v", tt.state, tt.roles, g, err)
		}
	}
	c.Faults().Set(fault.Rule{Kind: fault.TokenWrongTID, API: "token", Value: c.Customers()[1].Tenant})
	if g, err := k.Grants(t.Context(), x, all); err == nil {
		t.Errorf("a token for another tenant: %+v", g)
	}
}
