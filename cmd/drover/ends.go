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
		a.sayEndsOnce(time.Now())
		if !pause(ctx, endsEvery) {
			return nil
		}
	}
}

func (a *app) sayEndsOnce(now time.Time) {
	items, faults := a.items()
	for _, i := range a.ends.watch.Due(now, items) {
		say := a.log.Warn
		if i.Ended(now) {
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
		switch i, ok, err := appEnds(a.cfg.Apps[name]); {
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
func appEnds(c config.App) (i expiry.Item, ok bool, err error) {
	switch {
	case c.Certificate != nil:
		cert, err := certificateOf(c)
		if err != nil {
			return i, false, err
		}
		return expiry.Item{What: "the certificate of app " + c.Name, ID: cert.Thumbprint(), Until: cert.Until, Days: expiry.Credential,
			Hint: "drover app rotate " + c.Name + " does it; or upload a new one to the app registration, then put it with its key into " + c.Certificate.File + " and " + c.Certificate.KeyFile}, true, nil
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
	for _, i := range items {
		if _, ok := i.Reached(now); ok {
			list = append(list, admin.EndStatus{What: i.What, Until: i.Until, Ended: i.Ended(now), Says: i.Says(now), Hint: i.Hint})
		}
	}
	return list
}

// checkApp says whether an app's credential can be used, and until when.
func (a *app) checkApp(c config.App) []admin.Finding {
	what := "app " + c.Name
	i, ok, err := appEnds(c)
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
