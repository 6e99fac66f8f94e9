package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/registration"
)

// knownApp is an app of the config, or of its record, as the directory shows it.
type knownApp struct {
	files  appFiles
	record registration.Record
	graph  *registration.Client
	app    *registration.Application
	perms  []registration.Permission
	pairs  appPairs
	certs  []*x509.Certificate // those of pairs
	config config.App
}

// justMade is how long an app that is not to be seen may still be on its way to
// every server of the directory.
const justMade = 10 * time.Minute

// find signs in and reads the app.
func (o *appOptions) find(c *cobra.Command, args []string) (k knownApp, a *app, err error) {
	if a, err = o.begin(c, args); err != nil {
		return k, nil, err
	}
	if k.files, err = o.files(c, a.cfg); err != nil {
		return k, nil, err
	}
	recorded := false
	if k.record, recorded, err = readRecord(k.files.record); err != nil {
		return k, nil, err
	}
	k.config = a.cfg.Apps[o.name]
	if _, err := os.Stat(k.files.cert); err == nil && k.config.ClientID == "" {
		o.inFiles = true // the config's lines have not been added yet
	}
	id := cmp.Or(a.cfg.Apps[o.name].ClientID, k.record.AppID)
	if id == "" {
		return k, nil, usageError{fmt.Errorf("neither the config nor a record beside it knows an app %s; make one: drover app create", o.name)}
	}
	if recorded && !strings.EqualFold(id, k.record.AppID) {
		return k, nil, usageError{fmt.Errorf("the config names %s as app %s, and %s is the record of %s: move that file away", id, o.name, k.files.record, k.record.AppID)}
	}
	k.pairs = o.where(c, id, k.files)
	if o.inFiles || !o.unconfigured {
		if k.certs, err = k.pairs.certificates(c.Context()); err != nil {
			return k, nil, err
		}
	}
	o.home = cmp.Or(o.home, k.config.HomeTenant, k.record.Home)
	if k.graph, err = o.graph(c, a); err != nil {
		return k, nil, err
	}
	find := k.graph.Find
	if recorded && time.Since(k.record.Made) < justMade {
		find = k.graph.Await
	}
	if k.app, err = find(c.Context(), id); err != nil {
		return k, nil, err
	}
	if k.perms, err = k.graph.Permissions(c.Context(), k.app); err != nil {
		return k, nil, err
	}
	if !recorded { // made by hand: what is not the config's own is named
		k.record = registration.Record{Home: o.home, Cloud: o.cloud, AppID: k.app.AppID, ObjectID: k.app.ObjectID, Name: k.app.Name, Audience: registration.ManyTenants}
	}
	return k, a, nil
}

func newAppShow() *cobra.Command {
	var o appOptions
	var asJSON bool
	c := &cobra.Command{Use: "show [NAME]", Short: "Show the application as the directory has it",
		Long: `show signs an admin of the MSSP in and prints what the directory knows of the
application: credentials with their ends, owners, redirect URIs, permissions.`,
		RunE: func(c *cobra.Command, args []string) error {
			k, _, err := o.find(c, args)
			if err != nil {
				return err
			}
			if asJSON {
				for i := range k.app.Keys {
					k.app.Keys[i].DER = nil
				}
				return printJSON(c.OutOrStdout(), struct {
					*registration.Application
					Permissions []registration.Permission `json:"permissions"`
				}{k.app, k.perms})
			}
			printApp(c.OutOrStdout(), k)
			return nil
		}}
	o.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printApp(w io.Writer, k knownApp) {
	line := func(what, format string, args ...any) { say(w, "%-16s %s", what, clean(fmt.Sprintf(format, args...))) }
	a := k.app
	line("name", "%s", a.Name)
	line("application ID", "%s", a.AppID)
	line("object ID", "%s", a.ObjectID)
	line("audience", "%s", a.Audience)
	for _, x := range a.Keys {
		line("certificate", "%s, key ID %s, from %s until %s", x.Name, x.ID, day(x.Start), day(x.End))
	}
	for _, x := range a.Passwords {
		line("client secret", "%s, key ID %s, from %s until %s", x.Name, x.ID, day(x.Start), day(x.End))
	}
	for _, x := range a.Federated {
		line("federated", "%s: %s, subject %s", x.Name, x.Issuer, x.Subject)
	}
	for _, x := range a.Owners {
		line("owner", "%s (%s)", cmp.Or(x.UPN, x.Name), x.ID)
	}
	for _, x := range a.Redirects() {
		line("redirect URI", "%s", x)
	}
	for _, x := range k.perms {
		line("permission", "%s", x)
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func newAppCheck() *cobra.Command {
	var o appOptions
	var asJSON bool
	c := &cobra.Command{Use: "check [NAME]", Short: "Say what ends, and what is on the application that drover did not make",
		Long: `check signs an admin of the MSSP in and compares the application with what drover
made of it (NAME.json beside the config's certificates). It says when each credential
ends, warns 60, 30 and 7 days before, and names credentials, owners, redirect
URIs, permissions and federated subjects that drover did not make, any permission
beyond read, and the redirect URI of the page for invitations (listen: invitations:
url) if it is missing. It exits with 1 if it names something.`,
		RunE: func(c *cobra.Command, args []string) error {
			k, a, err := o.find(c, args)
			if err != nil {
				return err
			}
			found := registration.Check(k.app, k.perms, k.record, k.certs, time.Now())
			if page := a.cfg.Listen.Invitations; page.URL != "" && k.app.Audience != registration.OneTenant {
				found = k.page(found, page.Redirect())
			}
			var list []admin.Finding
			for _, f := range found {
				list = append(list, admin.Finding{What: f.What, OK: f.OK, Warn: f.Warn, Says: f.Says, Hint: f.Hint})
			}
			return sayFindings(c.OutOrStdout(), list, asJSON)
		}}
	o.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// page puts what is to be said of the redirect URI of the page for invitations
// in the place of what else was said of it. The page takes a code as a server
// does: no other platform than Web will do.
func (k knownApp) page(list []registration.Finding, uri string) []registration.Finding {
	f := registration.Finding{What: "redirect URI " + uri, OK: true, Says: "the page for invitations leads back there"}
	if !slices.Contains(k.app.Web.URIs, uri) {
		f.OK, f.Says = false, "is not registered for the platform Web; the page for invitations (listen: invitations: url) leads back there"
		f.Hint = "add it under Authentication > Add redirect URI, platform Web, exactly so: until then no link of drover tenant invite works (AADSTS50011)"
	}
	list = slices.DeleteFunc(list, func(o registration.Finding) bool { return o.What == f.What })
	return append(list, f)
}

// rotateLead is how long after it was registered a new certificate begins to
// be used: by then every server of Entra knows it (reference entra-oauth §6).
const rotateLead = time.Hour

func newAppRotate() *cobra.Command {
	var o appOptions
	var days int
	var secret, certificate, removeOld, sealed bool
	c := &cobra.Command{Use: "rotate [NAME]", Short: "Give the application a new credential beside the one in use",
		Long: `rotate makes a new certificate, registers it beside the old one and puts it with
its key where the old one is: sealed in the ledger, or in the two files of the config
(--key-file and --sealed choose another place). A running drover uses it from an hour
later on, when every server of Entra knows it; until then, and if it has to be
taken back, the old one works. An app that the config has with a client secret is
given another secret, unless --certificate says that it is to have one instead.

--remove-old takes away what drover made and does not use any more: certificates
from the application and from where their keys are, client secrets that the config
does not name. What others made stays.`,
		RunE: func(c *cobra.Command, args []string) error {
			if days < 1 || days > mostDays {
				return usageError{fmt.Errorf("--days must be 1 to %d", mostDays)}
			}
			if secret && certificate {
				return usageError{errors.New("one of --secret and --certificate")}
			}
			if sealed && o.keyFile != "" {
				return usageError{errors.New("one of --sealed and --key-file")}
			}
			k, a, err := o.find(c, args)
			proof := ""
			if a != nil {
				proof = a.cfg.Apps[o.name].Proof()
			}
			switch {
			case err != nil:
				return err
			case proof != "" && proof != "secret" && proof != "certificate" && !secret && !certificate && !removeOld:
				return usageError{fmt.Errorf("the app %s proves itself by %s, which the host renews: there is nothing to roll over; --certificate gives it one beside that", o.name, proof)}
			case removeOld:
				return k.removeOld(c.Context(), c.OutOrStdout(), time.Now())
			case sealed && o.inFiles:
				o.inFiles = false
				k.pairs = o.where(c, k.app.AppID, k.files)
				if k.certs, err = k.pairs.certificates(c.Context()); err != nil {
					return err
				}
				return k.newCertificate(c, o, days)
			case secret, a.cfg.Apps[o.name].Secret != nil && !certificate:
				return k.newSecret(c, o, days)
			}
			return k.newCertificate(c, o, days)
		}}
	o.flags(c)
	f := c.Flags()
	f.IntVar(&days, "days", usualDays, "how long the new one is good")
	f.BoolVar(&secret, "secret", false, "make a client secret")
	f.BoolVar(&certificate, "certificate", false, "make a certificate")
	f.BoolVar(&removeOld, "remove-old", false, "take away certificates and secrets that are not used any more")
	f.BoolVar(&sealed, "sealed", false, "seal the new key in the ledger, though the config has files")
	o.keyFlag(c)
	return c
}

func (k knownApp) newCertificate(c *cobra.Command, o appOptions, days int) error {
	now := time.Now()
	from := now.Add(rotateLead)
	if inUse(k.certs, now) == nil { // nothing to go on with meanwhile
		from = now.Add(-5 * time.Minute)
	}
	cert, certPEM, keyPEM, err := newCertificate(k.app.Name, from, now.AddDate(0, 0, days))
	if err != nil {
		return err
	}
	// The key is on disk before anybody knows the certificate.
	undo, err := k.pairs.addKey(c.Context(), keyPEM)
	if err != nil {
		return err
	}
	id, err := k.register(c.Context(), cert, now)
	if err != nil {
		if drover.KindOf(err) != drover.Transient { // else it may have been registered
			err = errors.Join(err, undo())
		}
		return err
	}
	k.record.Credentials = append(k.record.Credentials, id)
	if err := errors.Join(k.pairs.addCertificate(c.Context(), certPEM), writeRecord(k.files.record, k.record)); err != nil {
		return denied("keep the new certificate", "the app has it (key ID "+id+"), and drover will not use it: make room or mend the rights, and rotate again", err)
	}
	say(c.OutOrStdout(), "the app has a new certificate (key ID %s), used from %s on, good until %s", id, from.UTC().Format("2006-01-02 15:04Z"), day(cert.NotAfter))
	say(c.OutOrStdout(), "%s", appLines(o.name, k.app.AppID, o.cloud, "certificate", k.pairs, k.files, cert.NotAfter))
	if k.config.HomeTenant != "" {
		say(c.OutOrStdout(), "    home_tenant: %s", k.config.HomeTenant)
	}
	return nil
}

// register adds a certificate to the app: with a proof by the one in use, which
// touches no other; where there is none, or Graph does not take it, by replacing
// the list.
func (k knownApp) register(ctx context.Context, cert *x509.Certificate, now time.Time) (keyID string, err error) {
	if proof, ok := k.pairs.prove(ctx, k.app.ObjectID, now); ok {
		id, err := k.graph.AddProven(ctx, k.app, cert, keyName(now), proof)
		if kind := drover.KindOf(err); err == nil || kind != drover.Denied && kind != drover.Refused {
			return id, err
		}
	}
	return k.graph.AddCertificate(ctx, k.app.AppID, cert, keyName(now), nil)
}

func (k knownApp) newSecret(c *cobra.Command, o appOptions, days int) error {
	now := time.Now()
	path := k.files.secret + "." + now.UTC().Format("20060102T150405Z")
	if err := absent(path); err != nil {
		return err
	}
	until := now.AddDate(0, 0, days)
	s, id, err := k.graph.AddSecret(c.Context(), k.app.AppID, keyName(now), until)
	if err != nil {
		return err
	}
	k.record.Credentials = append(k.record.Credentials, id)
	if err := errors.Join(writePrivate(path, append(s.Bytes(), '\n'), true), writeRecord(k.files.record, k.record)); err != nil {
		return err
	}
	say(c.OutOrStdout(), "# the app has a new client secret (key ID %s); add to app %s in drover.yaml:", id, o.name)
	say(c.OutOrStdout(), "    next_secret: {file: %q}\n    next_secret_until: %s", path, day(until))
	return nil
}
