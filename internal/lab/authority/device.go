package authority

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Device codes (reference entra-oauth §3).
const (
	deviceGrant    = "urn:ietf:params:oauth:grant-type:device_code"
	oldDeviceGrant = "device_code" // of before the RFC, and of MSAL Go to this day
	deviceLife     = 15 * time.Minute
	deviceInterval = 5 * time.Second
)

// device is a sign-in on another device.
type device struct {
	client, segment, userCode, scope, resource string
	issued, polled                             time.Time
	user, tenant                               string // once somebody signed in
	declined, used                             bool
}

// deviceCode begins one.
func (s *Server) deviceCode(w http.ResponseWriter, r *http.Request, segment string, v2 bool) {
	d := s.opt.Directory
	f, e := form(w, r)
	d.mu.Lock()
	defer d.mu.Unlock()
	app := d.app(f.Get("client_id"))
	switch {
	case e != nil:
	case f.Get("client_id") == "":
		e = missing("client_id")
	case d.find(segment) == nil && !shared(segment):
		e = s.noTenant(segment)
	case app == nil || !app.MultiTenant && d.find(segment) != nil && d.find(segment).ID != app.HomeTenant:
		e = noApp(f.Get("client_id"))
	case app.Disabled:
		e = disabled(app.ClientID)
	case !app.MultiTenant && shared(segment):
		e = singleTenant(app.ClientID)
	case v2 && f.Get("scope") == "":
		e = missing("scope")
	}
	if e != nil {
		s.refuse(w, r, e)
		return
	}
	raw, user := "FAQAB"+randomText(40), userCode()
	d.devices[raw] = &device{client: app.ClientID, segment: segment, userCode: user, scope: f.Get("scope"), resource: f.Get("resource"), issued: d.now()}
	at := "https://" + s.host(r) + "/devicelogin"
	out := map[string]any{"user_code": user, "device_code": raw, "verification_uri": at, "expires_in": int(deviceLife.Seconds()), "interval": int(deviceInterval.Seconds()),
		"message": "To sign in, use a web browser to open the page " + at + " and enter the code " + user + " to authenticate."}
	if !v2 {
		out["verification_url"] = at
		delete(out, "verification_uri")
		out["expires_in"], out["interval"] = fmt.Sprint(out["expires_in"]), fmt.Sprint(out["interval"])
	}
	write(w, http.StatusOK, out)
}

// userCode is nine letters and digits that are not mixed up when read aloud.
func userCode() string {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	b := make([]byte, 9)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

// redeemDevice answers a poll.
func (s *Server) redeemDevice(q *request) (map[string]any, *refusal) {
	d := s.opt.Directory
	v := d.devices[q.form.Get("device_code")]
	now := d.now()
	switch {
	case q.form.Get("device_code") == "":
		return nil, missing("device_code")
	case v == nil || v.client != q.app.ClientID || v.segment != q.segment || v.used:
		return nil, &refusal{status: 400, code: 70018, word: "bad_verification_code", text: "The verification code is not valid."}
	case now.Sub(v.issued) > deviceLife:
		return nil, &refusal{status: 400, code: 70020, word: "expired_token", text: "The provided value for the input parameter 'device_code' is not valid. This device code has expired."}
	case v.declined:
		return nil, &refusal{status: 400, code: 90120, word: "authorization_declined", text: "The user declined the request."}
	case v.user == "":
		soon := now.Sub(v.polled) < deviceInterval && d.SlowDownPolls
		v.polled = now
		if soon {
			return nil, &refusal{status: 400, code: 70016, word: "slow_down", text: "The app polls too often."}
		}
		return nil, &refusal{status: 400, code: 70016, word: "authorization_pending", text: "OAuth 2.0 device flow error. Authorization is pending. Continue polling."}
	}
	as := &code{resource: v.resource, scope: v.scope}
	if e := s.sameTarget(q, as); e != nil {
		return nil, e
	}
	t := d.tenants[v.tenant]
	mfa := !d.Partner.NoMFA
	if e := s.admit(q, t, v.user, mfa); e != nil {
		return nil, e
	}
	v.used = true
	g := grantee{t: t, user: v.user, mfa: mfa}
	if q.offline {
		d.families++
		g.refresh = d.newRefresh(refresh{client: v.client, tenant: v.tenant, user: v.user, audience: q.audience, mfa: mfa, family: d.families})
	}
	return s.issue(q, g)
}

// deviceLogin is the page on which a person enters the code.
func (s *Server) deviceLogin(w http.ResponseWriter, r *http.Request) {
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	p := &page{Title: "Enter the code shown on your device", Ask: "Sign in to the app on your other device?", AskCode: true, Free: true}
	if r.Method != http.MethodPost {
		d.show(w, r, p, http.StatusOK)
		return
	}
	if e := d.posted(w, r); e != "" {
		p.Error = e
		d.show(w, r, p, http.StatusBadRequest)
		return
	}
	var v *device
	for _, one := range d.devices {
		if strings.EqualFold(one.userCode, strings.TrimSpace(r.PostForm.Get("code"))) && !one.used && d.now().Sub(one.issued) <= deviceLife {
			v = one
		}
	}
	user := r.PostForm.Get("user")
	switch {
	case v == nil:
		p.Error = "AADSTS70018: That code didn't work. Check the code and try again."
	case r.PostForm.Get("decision") != "accept":
		v.declined = true
		p = &page{Title: "You have declined", Done: true}
	default:
		t := d.find(v.segment)
		if t == nil {
			t = d.home(user)
		}
		admin, member := t.member(user)
		if !member {
			p.Error = "AADSTS50020: User account does not exist in the tenant."
			break
		}
		if t.consent(v.client).now < Delegated { // the page asks for the person's agreement too
			if !admin && !d.UsersMayConsent {
				p.Error = "AADSTS90094: Need admin approval: the app needs permission to access resources in your organization that only an admin can grant."
				break
			}
			d.agree(t, v.client, Delegated)
		}
		v.user, v.tenant = user, t.ID
		p = &page{Title: "You have signed in", Done: true}
	}
	d.show(w, r, p, http.StatusOK)
}
