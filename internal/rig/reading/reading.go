// Package reading puts together the half of drover that reads, as cmd/drover
// does, against a pretend cloud on a network in memory.
package reading

import (
	"slices"

	"drover"
	"drover/internal/defender"
	"drover/internal/entra"
	"drover/internal/httpx"
	"drover/internal/lab"
	"drover/internal/lab/estate"
	"drover/internal/rig/memnet"
)

// App, Cloud and Region are those that a tenant of the pretend cloud is added
// with.
const (
	App    = "app"
	Cloud  = "lab"
	Region = "eu"
)

// Reader is one process's way to the cloud.
type Reader struct {
	HTTP    *httpx.Client
	Tokens  *entra.Tokens
	Sources []drover.Source // all four
	clouds  entra.Clouds
}

// Options of a Reader. Lab and Network are required.
type Options struct {
	Lab      *lab.Lab
	Network  *memnet.Network
	PageSize int // rows of a page that are asked for; 0: as by default
	// Purse, if set, stands between the sources and the tokens.
	Purse func(*entra.Tokens) defender.Tokens
}

// New builds clients and sources.
func New(opt Options) (*Reader, error) {
	r := new(Reader)
	var err error
	if r.HTTP, err = httpx.New(httpx.Options{CAs: opt.Lab.CAPEM(), Dial: opt.Network.Dial, AllowPrivate: true}); err != nil {
		return nil, err
	}
	if r.clouds, err = entra.NewClouds(entra.Cloud{Name: Cloud, Authority: "https://login.lab.test", Graph: "https://graph.lab.test", MDE: "https://mde.lab.test",
		SIEM: map[string]string{Region: "https://siem-eu.lab.test"}, AllowPrivate: true}); err != nil {
		return nil, err
	}
	secret := func() (drover.Secret, error) { return drover.NewSecret(opt.Lab.AppSecret()), nil }
	r.Tokens = entra.New(entra.Options{HTTP: func(entra.Cloud) entra.Doer { return r.HTTP }, Clouds: r.clouds,
		Apps: map[string]entra.App{App: {Name: App, ClientID: opt.Lab.AppID(), Secret: secret}}})
	var tokens defender.Tokens = r.Tokens
	if opt.Purse != nil {
		tokens = opt.Purse(r.Tokens)
	}
	of := func(s drover.SourceID) defender.Options {
		return defender.Options{Tokens: tokens, PageSize: opt.PageSize, HTTP: func(drover.Tenant) (defender.Doer, error) { return r.HTTP, nil },
			Host: func(t drover.Tenant) (string, error) { return r.Host(t, s) }}
	}
	r.Sources = []drover.Source{defender.NewGraphAlerts(of(drover.GraphAlerts)), defender.NewGraphIncidents(of(drover.GraphIncidents)),
		defender.NewMDEAlerts(of(drover.MDEAlerts)), defender.NewSIEMDetections(of(drover.SIEMDetections))}
	return r, nil
}

// Host is where a tenant's source is.
func (r *Reader) Host(t drover.Tenant, s drover.SourceID) (string, error) {
	c, err := r.clouds.Of(t)
	if err != nil {
		return "", err
	}
	return c.Host(s, t.Region)
}

// Close waits for what is under way and ends the connections.
func (r *Reader) Close() {
	r.Tokens.Wait()
	r.HTTP.Close()
}

// Told lists the sources that tell a story, in order; Graph's alerts always do.
func Told(o estate.Options) []drover.SourceID {
	list := []drover.SourceID{drover.GraphAlerts}
	for id, has := range map[drover.SourceID]bool{drover.GraphIncidents: o.Incidents, drover.MDEAlerts: o.MDE, drover.SIEMDetections: o.SIEM} {
		if has {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}

// Tenant is a customer of the cloud as it is added to a ledger, read by sources
// from start on.
func Tenant(c lab.Customer, sources []drover.SourceID, start drover.Instant) drover.Tenant {
	return drover.Tenant{ID: drover.TenantID(c.Tenant), Name: c.Name, Customer: drover.CustomerID(c.Name), Cloud: Cloud, App: App, Region: Region, Sources: sources, Start: start}
}
