package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/coverage"
	"drover/internal/entra"
	"drover/internal/ledger"
	"drover/internal/onboard"
	"drover/internal/web"
)

// Lacks implements onboard.InvitingEntra.
func (s signIns) Lacks(ctx context.Context, t drover.Tenant, sources []drover.SourceID) ([]drover.SourceID, error) {
	g, err := s.Grants(ctx, t, sources)
	return g.Lacks, err
}

// desk brings invitations to their end.
func (a *app) desk(local *admin.Local) *onboard.Desk {
	return &onboard.Desk{Store: a.store, Entra: signIns{a.tokens}, Redirect: a.cfg.Listen.Invitations.Redirect(), Known: a.standing, Keep: local.KeepInvited, Word: troubleOf, Log: a.log,
		Check: func(ctx context.Context, t drover.Tenant) ([]coverage.Source, error) {
			return a.cover(ctx, t, true), nil
		},
		Order: func(t drover.Tenant) onboard.Order {
			o := onboard.Order{Tenant: t, ClientID: a.cfg.Apps[t.App].ClientID}
			if c, err := a.clouds.Of(t); err == nil {
				o.Portal = c.Portal()
			}
			return o
		}}
}

// standing says how a tenant stands in the ledger.
func (a *app) standing(ctx context.Context, id drover.TenantID) (onboard.Standing, error) {
	t, err := a.store.Tenant(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return onboard.Stranger, nil
	case err != nil:
		return 0, err
	case t.State == drover.Removed:
		return onboard.Left, nil
	}
	feeds, err := a.store.Feeds(ctx)
	if err != nil {
		return 0, err
	}
	for _, f := range feeds {
		if f.Feed.Tenant == id && (f.Head > 0 || f.Whole.Known() || f.Cursor.Source != "") {
			return onboard.Read, nil
		}
	}
	return onboard.Unread, nil
}

// troubleOf puts why a try has ended into one of the page's words.
func troubleOf(err error) string {
	if errors.Is(err, entra.ErrWrongTenant) {
		return web.WrongTenant
	}
	r, ok := errors.AsType[*entra.Refusal](err)
	if !ok {
		switch de, _ := errors.AsType[*drover.Error](err); {
		case drover.KindOf(err) == drover.Transient, drover.KindOf(err) == drover.Throttled:
			return web.Passing
		case de != nil && de.App:
			return web.Ours
		}
		return web.Again
	}
	switch {
	case r.Code == 700005: // the code is of another tenant
		return web.WrongTenant
	case r.Code == 65004, r.Code == 0 && (r.Word == "access_denied" || r.Word == "permission_denied"):
		return web.Declined
	case slices.Contains([]int{50020, 50034, 51004, 50014, 16003, 90072, 50057, 50055}, r.Code):
		return web.NotMember
	case r.Code == 50105:
		return web.Unassigned
	case slices.Contains([]int{7000112, 70001, 1000031}, r.Code):
		return web.NoApp
	}
	return cmp.Or(map[entra.Class]string{entra.Wait: web.Passing, entra.Passing: web.Passing, entra.SignIn: web.Again, entra.Credential: web.Ours, entra.Federation: web.Ours,
		entra.Configuration: web.Ours, entra.Consent: web.NeedsAdmin, entra.Policy: web.Policy, entra.TenantGone: web.NoTenant, entra.NoPrincipal: web.NoApp, entra.NotLicensed: web.NoService}[r.Class], web.Unnamed)
}

// pages builds the page that invitations lead to.
func (a *app) pages(d web.Desk) (*web.Server, error) {
	return web.New(web.Options{Desk: d, URL: a.cfg.Listen.Invitations.URL, MSSP: a.cfg.MSSP.Name, Contact: a.cfg.MSSP.Contact, LinkHash: admin.LinkHash, Spent: onboard.ErrSpent, Stale: onboard.ErrStale, Log: a.log,
		Permission: permissionOf,
		Leave: func(t drover.Tenant) (web.Leave, error) {
			p, err := a.leavePage(admin.TenantStatus{ID: t.ID, Name: t.Name, Cloud: t.Cloud, App: t.App, Sources: t.Sources})
			if err != nil {
				return web.Leave{}, err
			}
			out := web.Leave{About: p.About()}
			for _, s := range p.Sections {
				out.Sections = append(out.Sections, web.Section(s))
			}
			return out, nil
		}})
}

// permissionOf is the permission by which a source is read, "" if its API has
// none.
func permissionOf(s drover.SourceID) string {
	if w := entra.Wants(s); len(w) > 0 {
		return w[0]
	}
	return ""
}

// consents says why an app has no permissions of its own that could be
// consented to.
func (a *app) consents(name string) error {
	app, ok := a.cfg.Apps[name]
	switch {
	case !ok:
		return fmt.Errorf("there is no app named %q in the config", name)
	case app.Secret == nil && app.Certificate == nil:
		return fmt.Errorf("the app %s has neither secret nor certificate, so it has no permissions of its own", name)
	}
	return nil
}

// inviting adds the page for invitations to what runs, if there is one.
func (a *app) inviting(local *admin.Local, parts map[string]func(context.Context) error) error {
	if a.cfg.Listen.Invitations.URL == "" {
		return nil
	}
	d := a.desk(local)
	pages, err := a.pages(d)
	if err != nil {
		return err
	}
	l, err := listenInvitations(a.cfg.Listen.Invitations)
	if err != nil {
		return err
	}
	local.InvitationChanged = func(id string) { d.Resume(id) }
	a.log.Info("customers are invited", "page", a.cfg.Listen.Invitations.URL, "address", l.Addr().String())
	parts["invitations"] = d.Run
	parts["invitation pages"] = func(ctx context.Context) error { return serveInvitations(ctx, l, pages) }
	return nil
}

// serveInvitations serves the page.
func serveInvitations(ctx context.Context, l net.Listener, pages *web.Server) error {
	srv := pages.HTTP()
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listenInvitations opens the page's listener.
func listenInvitations(c config.Invitations) (net.Listener, error) {
	var pair *keyPair
	if c.Certificate != "" {
		pair = &keyPair{cert: c.Certificate, key: c.Key}
		if _, err := pair.get(nil); err != nil {
			return nil, denied("read the certificate of the page for invitations", "see listen: invitations: in drover.yaml", err)
		}
	}
	l, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, denied("listen for invitations", "set listen: invitations: address: to a free one", err)
	}
	if pair != nil {
		l = tls.NewListener(l, &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	}
	return l, nil
}

// keyPair is a certificate in files that may be replaced while drover runs.
type keyPair struct {
	cert, key string

	mu   sync.Mutex
	have *tls.Certificate
	at   time.Time // when the files were looked at
	seen [2]time.Time
}

// get reads the files again when they have changed; while they do not fit, what
// was there before goes on.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.have != nil && time.Since(k.at) < minute {
		return k.have, nil
	}
	k.at = time.Now()
	var seen [2]time.Time
	for i, name := range []string{k.cert, k.key} {
		if info, err := os.Stat(name); err == nil {
			seen[i] = info.ModTime()
		}
	}
	if k.have != nil && seen == k.seen {
		return k.have, nil
	}
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		if k.have != nil {
			return k.have, nil
		}
		return nil, err
	}
	k.have, k.seen = &pair, seen
	return k.have, nil
}
