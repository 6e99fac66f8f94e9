package entra

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"drover"
)

// DeviceSignIn is one person's sign-in on another device (reference entra-oauth
// §3, RFC 8628). It works once.
type DeviceSignIn struct {
	k        *Tokens
	r        request
	code     drover.Secret
	user     string
	address  string
	until    time.Time
	interval time.Duration
}

// Pace and life of a device code, where the answer does not say or says
// something odd (reference entra-oauth §3, RFC 8628 §3.5).
const (
	deviceInterval    = 5 * time.Second
	deviceIntervalMax = time.Minute
	deviceSlower      = 5 * time.Second // on slow_down
	deviceLife        = 15 * time.Minute
	deviceLifeMax     = time.Hour
)

// BeginDevice asks for a device code in the tenant's directory. opt.Redirect is
// not used.
func (k *Tokens) BeginDevice(ctx context.Context, t drover.Tenant, opt SignInOptions) (*DeviceSignIn, error) {
	r, err := k.resolve(t, opt.Source)
	if err != nil {
		return nil, err
	}
	r.old = opt.V1
	return k.beginDevice(ctx, r)
}

func (k *Tokens) beginDevice(ctx context.Context, r request) (*DeviceSignIn, error) {
	fields := url.Values{"client_id": {r.app.ClientID}}
	r.person(fields)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	asked := time.Now()
	m, err := k.members(ctx, r, r.at("devicecode"), fields)
	if err != nil {
		return nil, unsure(err)
	}
	d := &DeviceSignIn{k: k, r: r, code: drover.NewSecret(text(m["device_code"])), user: text(m["user_code"]), address: text(m["verification_uri"])}
	if d.address == "" {
		d.address = text(m["verification_url"]) // v1
	}
	if at, err := url.Parse(d.address); err != nil || at.Scheme != "https" || at.User != nil || d.user == "" || d.code.Empty() {
		return nil, &drover.Error{Op: opSignIn, Tenant: r.tenant.ID, Kind: drover.Transient, Err: errors.New("the answer holds no device code")}
	}
	d.interval = spanOf(m["interval"], deviceInterval, deviceIntervalMax)
	d.until = asked.Add(spanOf(m["expires_in"], deviceLife, deviceLifeMax))
	return d, nil
}

// UserCode is what the person types at Address. It is shown to the one who
// asked only, on a terminal or a page that they signed in to: whoever it is
// passed on to signs in for us.
func (d *DeviceSignIn) UserCode() string { return d.user }

// Address is where the person goes.
func (d *DeviceSignIn) Address() string { return d.address }

// Until is when the code ends.
func (d *DeviceSignIn) Until() time.Time { return d.until }

// Wait polls until somebody has signed in, has declined, or the code ends; never
// sooner after an answer than the interval, which slow_down makes longer.
func (d *DeviceSignIn) Wait(ctx context.Context) (drover.Person, drover.Secret, error) {
	who, got, err := d.await(ctx)
	if err != nil || d.r.source == "" {
		got.refresh = drover.Secret{}
	}
	return who, got.refresh, err
}

// await is Wait with all that was given; nothing of it after an error.
func (d *DeviceSignIn) await(ctx context.Context) (drover.Person, grant, error) {
	wait := d.interval
	for {
		if !time.Now().Add(wait).Before(d.until) {
			wait = time.Until(d.until)
		}
		select {
		case <-ctx.Done():
			return drover.Person{}, grant{}, gaveUp(d.r.tenant, ctx.Err())
		case <-time.After(wait):
		}
		if !time.Now().Before(d.until) {
			return drover.Person{}, grant{}, d.r.stop("begin again, for a new code", errors.New("the code has ended and nobody signed in"))
		}
		got, err := d.poll(ctx)
		if err == nil {
			who, err := d.r.whose(got, drover.Secret{}, d.k.now())
			if err != nil {
				got = grant{}
			}
			return who, got, err
		}
		word := ""
		if r, ok := errors.AsType[*Refusal](err); ok {
			word = r.Word
		}
		switch {
		case word == "slow_down":
			d.interval += deviceSlower
			wait = d.interval
		case word == "authorization_pending", isCode(err, 70016):
			wait = d.interval
		case drover.KindOf(err) == drover.Throttled:
			wait = max(d.interval, drover.WaitOf(err))
		case drover.KindOf(err) == drover.Transient:
			wait = min(2*max(wait, d.interval), deviceIntervalMax) // RFC 8628 §3.5: after a time-out, ever more slowly
		default:
			return drover.Person{}, grant{}, unsure(declined(err, word))
		}
	}
}

// declined says what a refusal of a device's sign-in means, where the number's
// own remedy says less.
func declined(err error, word string) error {
	de, ok := errors.AsType[*drover.Error](err)
	if !ok {
		return err
	}
	e := *de
	switch word {
	case "authorization_declined":
		e.Hint = "whoever was asked has declined; begin again when they agree"
	case "expired_token":
		e.Hint = "the code has ended; begin again, for a new one"
	case "bad_verification_code":
		e.Hint = "Entra does not know the code any more: it may have been used up by an answer that got lost; begin again"
	}
	return &e
}

func isCode(err error, code int) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Code == code
}

// poll asks once.
func (d *DeviceSignIn) poll(ctx context.Context) (grant, error) {
	fields := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.code.Reveal()}}
	if d.r.v1() { // as ADAL asks it
		fields.Set("grant_type", "device_code")
		fields.Set("code", d.code.Reveal())
		d.r.person(fields)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return d.k.send(ctx, d.r, fields, true)
}

// members posts a form to one of the tenant's endpoints and returns the members
// of its answer.
func (k *Tokens) members(ctx context.Context, r request, endpoint string, fields url.Values) (map[string]json.RawMessage, error) {
	client := k.opt.HTTP(r.cloud).HTTPClient(r.cloud.Authority+"/"+string(r.tenant.ID), maxAnswer)
	p := &post{next: client.Transport, seen: k.heard, whole: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(fields.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := p.RoundTrip(req)
	if err != nil {
		return nil, &drover.Error{Op: opSignIn, Tenant: r.tenant.ID, Kind: drover.Transient, Err: err}
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case p.bad != nil:
		p.bad.Op, p.bad.Tenant = opSignIn, r.tenant.ID
		return nil, p.bad
	case res.StatusCode != http.StatusOK:
		body, err := io.ReadAll(res.Body) // bounded by post
		if err != nil {
			return nil, err
		}
		return nil, refused(r.tenant.ID, res.StatusCode, res.Header, body)
	}
	var m map[string]json.RawMessage
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
		return nil, &drover.Error{Op: opSignIn, Tenant: r.tenant.ID, Kind: drover.Transient, Err: errors.New("the answer is no JSON object")}
	}
	return m, nil
}

// spanOf reads seconds, a number or a number in a string as v1 has it.
func spanOf(raw json.RawMessage, otherwise, most time.Duration) time.Duration {
	sec, err := strconv.ParseFloat(strings.Trim(strings.TrimSpace(string(raw)), `"`), 64)
	if err != nil || !(sec >= 1) {
		return otherwise
	}
	return time.Duration(min(sec, most.Seconds()) * float64(time.Second))
}
