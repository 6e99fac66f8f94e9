package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"drover"
	"drover/internal/admin"
	"drover/internal/coverage"
	"drover/internal/entra"
	"drover/internal/expiry"
	"drover/internal/registration"
)

// checkTenant asks for a tenant's tokens, reads the newest minute of each feed,
// and puts that beside what the ledger knows.
func (a *app) checkTenant(ctx context.Context, t drover.Tenant, s admin.TenantStatus, fresh bool) (c admin.TenantCheck) {
	if t.State == drover.Removed {
		c.Findings = a.checkGone(ctx, t)
		return c
	}
	if fresh {
		a.tokens.Forget(t.ID)
	}
	if why := t.Unproven(); why != "" {
		c.Findings = append(c.Findings, admin.Finding{What: "completeness", OK: true, Warn: true, Says: why, Cause: "Microsoft documents a partner's account for directory and Intune only, and Defender's own roles and device groups limit what it shows",
			Hint: "have it read with the reading app's own permissions: drover partner connect --only " + t.Name, Who: string(entra.Us)})
	}
	if app, ok := a.appOf(t); ok {
		c.ClientID = app.ClientID
		c.Findings = append(c.Findings, a.checkApp(app)...)
		if i, ok, err := a.appEnds(app); err == nil && ok && !i.Until.IsZero() {
			c.Ends = &i.Until
		}
	}
	c.Findings = append(c.Findings, a.checkSignIn(ctx, t, time.Now())...)
	for _, source := range a.sources() {
		if slices.Contains(t.Sources, source.ID()) {
			a.checkFeed(ctx, t, source, s, &c)
		}
	}
	c.Findings = append(sameTogether(c.Findings), beyondRead(c.Tokens)...)
	if d, ok := a.tokens.Skew(); ok {
		c.EntraAhead = &d
	}
	if f, ok := clockFinding(c); ok {
		c.Findings = append(c.Findings, f)
	}
	return c
}

// checkFeed looks at one source of a tenant: its token, its API, its lag.
func (a *app) checkFeed(ctx context.Context, t drover.Tenant, source drover.Source, s admin.TenantStatus, c *admin.TenantCheck) {
	id := source.ID()
	now := time.Now()
	feed := admin.FeedCheck{Source: id, LastWhole: drover.NoInstant, Through: drover.NoInstant}
	for _, f := range s.Feeds {
		if f.Source != id {
			continue
		}
		feed.LastWhole, feed.Through, feed.Revisions, feed.OpenGaps, feed.Parked, feed.ClockAhead = f.LastWhole, f.Through, f.Revisions, f.OpenGaps, f.Parked, f.ClockAhead
		if f.LastWhole.Known() {
			d := max(0, drover.InstantOf(now).Sub(f.LastWhole)).Round(time.Second)
			feed.Behind = &d
		}
	}
	defer func() { c.Feeds = append(c.Feeds, feed) }()
	if err := a.serves(t, id); err != nil {
		c.Findings = append(c.Findings, a.problem(t, id, string(id), err))
		return
	}
	token, err := a.tokens.Token(ctx, t, id)
	if err != nil {
		c.Findings = append(c.Findings, a.problem(t, id, string(id)+" token", err))
		if c.Policy == nil {
			c.Policy = policyRefusal(err, now)
		}
		c.Findings = append(c.Findings, a.lagFindings(t, feed, now)...)
		return
	}
	k := tokenCheck(id, token)
	c.Tokens = append(c.Tokens, k)
	c.Findings = append(c.Findings, admin.Finding{What: string(id) + " token", Source: id, OK: true, Says: "Entra gave a token that fits: " + tokenSays(k)})
	page, err := newest(ctx, source, t)
	feed.Asked, feed.Answers = true, err == nil
	if err == nil && page.Server.Known() { // an error comes without a page
		d := page.Server.Sub(drover.InstantOf(time.Now())).Round(time.Second)
		feed.ClockAhead = &d
	}
	if err != nil {
		c.Findings = append(c.Findings, a.problem(t, id, string(id), err))
	} else {
		c.Findings = append(c.Findings, admin.Finding{What: string(id), Source: id, OK: true, Says: "the API answers; " + lagSays(feed)})
	}
	c.Findings = append(c.Findings, a.lagFindings(t, feed, now)...)
}

// tokenCheck is what a token says of itself.
func tokenCheck(id drover.SourceID, token drover.Secret) admin.TokenCheck {
	d, ok := entra.Describe(token)
	if !ok {
		return admin.TokenCheck{Source: id, Opaque: true}
	}
	k := admin.TokenCheck{Source: id, Delegated: d.Delegated, Tenant: d.TID, Audience: d.Audience, Issuer: d.Issuer, AppID: d.AppID, Proof: d.Proof, Object: d.Object, Roles: d.List, Version: d.Version, ID: d.ID}
	if !d.Expires.IsZero() {
		k.Expires = &d.Expires
	}
	return k
}

// tokenSays puts a token in a few words.
func tokenSays(k admin.TokenCheck) string {
	if k.Opaque {
		return "it cannot be read here, which is allowed"
	}
	says := "the app's own"
	if k.Delegated {
		says = "a signed-in person's"
	}
	if len(k.Roles) > 0 {
		says += ", " + strings.Join(k.Roles, ", ")
	}
	if k.Expires != nil {
		says += ", until " + k.Expires.Format("15:04Z")
	}
	return says
}

// lagSays says how far a feed has been read.
func lagSays(f admin.FeedCheck) string {
	if f.Behind == nil {
		return "it has not been read whole yet"
	}
	return "last read whole " + ago(*f.Behind) + " ago"
}

// ago puts a time that has passed in words.
func ago(d time.Duration) string {
	if d < time.Minute {
		return d.String()
	}
	return coverage.Words(d)
}

// A feed that is read by a running drover lags when it has not been read whole
// for so many intervals, and some minutes for what passes; for longer than an
// hour more, something is wrong.
const (
	lagIntervals = 5
	lagPasses    = 5 * time.Minute
	lagWrong     = time.Hour
)

// lagFindings says what the ledger knows that is not well.
func (a *app) lagFindings(t drover.Tenant, f admin.FeedCheck, now time.Time) (list []admin.Finding) {
	add := func(what string, ok bool, says, cause, hint string) {
		list = append(list, admin.Finding{What: string(f.Source) + " " + what, Source: f.Source, OK: ok, Warn: ok, Says: says, Cause: cause, Hint: hint, Who: string(entra.Us)})
	}
	switch {
	case f.Parked != "" && f.Answers:
		add("parked", true, "it is parked, and the test call works now: "+f.Parked, "", "drover asks again within the hour by itself")
	case f.Parked != "":
		add("parked", true, "nothing of it is read: "+f.Parked, "", "mend what is said of it above; drover asks again within the hour by itself")
	}
	usual := lagIntervals*a.cfg.Collect.Interval + lagPasses
	if f.Behind != nil && t.State == drover.Active && *f.Behind > usual && f.Parked == "" && a.reading() {
		add("lag", *f.Behind <= usual+lagWrong, "it was last read whole "+ago(*f.Behind)+" ago, at "+f.LastWhole.Time().UTC().Format("2006-01-02 15:04Z"), "calls fail, are slowed down, or there is more to read than the API's limits allow", "see: drover status, and the log")
	}
	if f.OpenGaps > 0 {
		add("gaps", true, fmt.Sprintf("%d open gaps: stretches that could not be read or delivered", f.OpenGaps), "", "drover tries them again by itself; see: drover status")
	}
	return list
}

// reading reports whether this process reads, so that lag means something.
func (a *app) reading() bool { return !a.since.IsZero() }

// checkSignIn says how old the sign-in is with which a tenant is read; nothing of
// one that is read with the app's own permissions.
func (a *app) checkSignIn(ctx context.Context, t drover.Tenant, now time.Time) []admin.Finding {
	if a.store == nil {
		return nil
	}
	s, there, err := a.keeping.Of(ctx, t)
	f := admin.Finding{What: "sign-in", OK: true, Who: string(entra.Us)}
	switch {
	case err != nil:
		f.OK, f.Says, f.Hint = false, err.Error(), admin.Hint(err)
		return []admin.Finding{f}
	case !there:
		return nil
	}
	f.Says = fmt.Sprintf("it is read with a person's sign-in; its refresh token is of %s and ends on %s unless it is used", day(s.Renewed.Time()), day(s.Ends))
	if left := s.Ends.Sub(now); left < time.Duration(expiry.SignIn[0])*24*time.Hour {
		f.Warn, f.Cause, f.Hint = true, "drover has not renewed it", "sign in again: drover tenant connect "+t.Name+"; better, read it with the app's own permissions"
		f.OK = left >= expiry.SignInAlarm*24*time.Hour
	}
	if s.Trouble != nil {
		f.OK, f.Cause, f.Hint = false, "it could not be renewed: "+s.Trouble.Error(), s.Hint
	}
	return []admin.Finding{f}
}

// sameTogether makes one finding of those that are said of several sources'
// tokens.
func sameTogether(list []admin.Finding) (out []admin.Finding) {
	const token = " token"
	for _, f := range list {
		i := slices.IndexFunc(out, func(o admin.Finding) bool {
			return !f.OK && !o.OK && strings.HasSuffix(f.What, token) && strings.HasSuffix(o.What, token) && o.Says == f.Says && o.Hint == f.Hint && o.Link == f.Link
		})
		if i < 0 {
			out = append(out, f)
			continue
		}
		out[i].What, out[i].Source = strings.TrimSuffix(out[i].What, token)+", "+f.What, ""
	}
	return out
}

// beyondRead names permissions that do more than read: drover needs none.
func beyondRead(tokens []admin.TokenCheck) []admin.Finding {
	var more []string
	for _, k := range tokens {
		for _, r := range k.Roles {
			if !k.Delegated && !(registration.Permission{Value: r}).Reads() && !slices.Contains(more, r) {
				more = append(more, r)
			}
		}
	}
	if more == nil {
		return nil
	}
	return []admin.Finding{{What: "permissions", OK: true, Warn: true, Says: "the app may do more there than read: " + strings.Join(more, ", "), Cause: "its registration asks for more, or did", Hint: "take them out of the registration (drover app check), and have the customer's admin revoke them", Who: string(entra.Us)}}
}

// clockFinding says how far Microsoft's clocks are from ours; ok is false if none
// was heard.
func clockFinding(c admin.TenantCheck) (f admin.Finding, ok bool) {
	var says []string
	far := false
	heard := func(whose string, d *time.Duration) {
		if d != nil {
			says, far = append(says, whose+" "+ahead(*d)+" ours"), far || d.Abs() > farApart
		}
	}
	heard("Entra's is", c.EntraAhead)
	for _, x := range c.Feeds {
		heard("that of "+string(x.Source)+" is", x.ClockAhead)
	}
	if says == nil {
		return f, false
	}
	f = admin.Finding{What: "clock", OK: true, Warn: far, Says: strings.Join(says, ", ")}
	if far {
		f.Cause, f.Hint, f.Who = "this machine's clock is wrong, or Microsoft's", "set this machine's clock by NTP: tokens and certificates are judged by it", string(entra.Us)
	}
	return f, true
}
