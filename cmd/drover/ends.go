package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/config"
	"drover/internal/entra"
	"drover/internal/expiry"
)

// endsEvery is how often is looked for what ends: a threshold is said within
// an hour, and a replaced file is noticed.
const endsEvery = time.Hour

// ends is what has been said of credentials and certificates that end.
type ends struct {
	watch  expiry.Watch
	faults map[string]string // by app: why its credential cannot be used, as said
}

// sayEnds says in the log, now and every hour, what ends soon.
func (a *app) sayEnds(ctx context.Context) error {
	for {
		a.sayEndsOnce(ctx, time.Now())
		if !pause(ctx, endsEvery) {
			return nil
		}
	}
}

func (a *app) sayEndsOnce(ctx context.Context, now time.Time) {
	items, faults := a.items()
	signIns, _, err := a.keeping.Items(ctx)
	if err != nil && ctx.Err() == nil {
		a.log.Warn("look for sign-ins that end", "err", err)
	}
	items = append(items, signIns...)
	for _, i := range a.ends.watch.Due(now, items) {
		say := a.log.Warn
		if i.Alarming(now) {
			say = a.log.Error
		}
		say(i.Says(now), "hint", i.Hint)
	}
	for _, app := range slices.Sorted(maps.Keys(faults)) {
		if text := faults[app].Error(); a.ends.faults[app] != text {
			a.log.Error("the credential of app "+app+" cannot be used", "err", text)
		}
	}
	a.ends.faults = make(map[string]string, len(faults))
	for app, err := range faults {
		a.ends.faults[app] = err.Error()
	}
}

// items lists what ends, and what is wrong with the credentials of apps that
// cannot be read.
func (a *app) items() (items []expiry.Item, faults map[string]error) {
	faults = make(map[string]error)
	for _, name := range a.cfg.AppNames() {
		switch i, ok, err := a.appEnds(a.cfg.Apps[name]); {
		case err != nil:
			faults[name] = err
		case ok:
			items = append(items, i)
		}
	}
	items = append(items, a.partner.items(faults)...)
	for _, id := range slices.Sorted(maps.Keys(a.receivers)) {
		items = append(items, a.receiverEnds(id)...)
	}
	return items, faults
}

// receiverEnds lists the certificates that a sink's servers have shown.
func (a *app) receiverEnds(id drover.SinkID) (items []expiry.Item) {
	if a.receivers[id] == nil {
		return nil
	}
	for _, p := range a.receivers[id].Peers() {
		items = append(items, expiry.Item{What: "the certificate of " + p.Host + ", sink " + string(id) + ",", ID: p.ID, Until: p.Until, Days: expiry.Server,
			Hint: "have it renewed by who runs that server, or one of those above it: when it has ended nothing is sent there until it is, and what is owed waits for as long as hold: says"})
	}
	return items
}

// appEnds says when an app's credential ends: of several the one in use. ok is
// false if it has none.
func (a *app) appEnds(c config.App) (i expiry.Item, ok bool, err error) {
	switch {
	case c.Certificate != nil:
		cert, err := a.certificateOf(c)
		if err != nil {
			return i, false, err
		}
		hint := "renew it: drover app rotate " + c.Name
		if !c.Certificate.Sealed {
			hint = "drover app rotate " + c.Name + " does it; or upload a new one to the app registration, then put it with its key into " + c.Certificate.File + " and " + c.Certificate.KeyFile
		}
		return expiry.Item{What: "the certificate of app " + c.Name, ID: cert.Thumbprint(), Until: cert.Until, Days: expiry.Credential, Hint: hint}, true, nil
	case c.Secret != nil:
		s, until, err := secretOf(c)
		if err != nil {
			return i, false, err
		}
		sum := sha256.Sum256(s.Bytes())
		return expiry.Item{What: "the client secret of app " + c.Name, ID: hex.EncodeToString(sum[:8]) + until.String(), Until: until, Days: expiry.Credential,
			Hint: "make a new one in the app registration (or better a certificate), name it as next_secret with its next_secret_until, and start drover again"}, true, nil
	}
	return i, false, nil
}

// ending lists what ends within its first threshold, for drover status.
func (a *app) ending() (list []admin.EndStatus) {
	now := time.Now()
	items, _ := a.items()
	ctx, cancel := context.WithTimeout(context.Background(), minute)
	defer cancel()
	signIns, refused, _ := a.keeping.Items(ctx) // a ledger that cannot be read is said elsewhere
	list = append(list, refusedSignIns(refused)...)
	for _, i := range append(items, signIns...) {
		if _, ok := i.Reached(now); ok {
			list = append(list, admin.EndStatus{What: i.What, Until: i.Until, Ended: i.Ended(now), Says: i.Says(now), Hint: i.Hint})
		}
	}
	return list
}

// checkApp says whether an app's credential can be used, and until when.
func (a *app) checkApp(c config.App) []admin.Finding {
	what := "app " + c.Name
	switch {
	case c.Federated != nil:
		return []admin.Finding{checkFederated(what, *c.Federated)}
	case c.ManagedIdentity != nil:
		return []admin.Finding{{What: what, OK: true, Says: "proves itself by the managed identity " + c.ManagedIdentity.ClientID + " of this machine; Entra gives that no end"}}
	}
	i, ok, err := a.appEnds(c)
	switch {
	case err != nil:
		return []admin.Finding{{What: what, Says: err.Error(), Hint: admin.Hint(err)}}
	case !ok:
		return []admin.Finding{{What: what, OK: true, Says: "is a public client"}}
	case i.Until.IsZero():
		return []admin.Finding{{What: what, OK: true, Says: "its credential can be read; nobody has said when it ends: write secret_until as the portal shows it, and drover warns in time"}}
	}
	return []admin.Finding{endFinding(what, i)}
}

// endFinding is what a check says of something that ends.
func endFinding(what string, i expiry.Item) admin.Finding {
	now := time.Now()
	f := admin.Finding{What: what, OK: !i.Ended(now), Says: i.Says(now)}
	if _, ok := i.Reached(now); ok {
		f.Warn, f.Hint = f.OK, i.Hint
	}
	return f
}

// checkFederated says what an app's federated token says, to be compared with
// the registration.
func checkFederated(what string, c config.Federated) admin.Finding {
	t := entra.TokenFile{Read: c.Read, Audience: c.Audience}
	says, err := t.Look()
	switch now := time.Now(); {
	case err != nil:
		return admin.Finding{What: what, Says: err.Error(), Hint: "is the token projected into " + c.TokenFile + "?"}
	case !says.Expires.IsZero() && !now.Before(says.Expires):
		return admin.Finding{What: what, Says: "its federated token has ended; " + says.Says(), Hint: "what projects it should have replaced it: look at the kubelet, or at what writes " + c.TokenFile}
	}
	return admin.Finding{What: what, OK: true, Says: says.Says() + "; the app's federated credential must name the same, in the same letter case"}
}
