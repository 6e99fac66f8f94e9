package authority

import (
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// page is a page of the sign-in. A program drives it as a person would: it
// sends the form back with the fields that stand in it, and with the cookie.
type page struct {
	Title, Tenant, App, Ask, Error string
	Users                          []string // to choose from
	Hint                           string
	Free                           bool // another account can be typed
	AskCode                        bool // a device's code
	Done                           bool // nothing to send
	Canary                         string
}

var pages = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>{{.Title}}</title>
<h1>{{.Title}}</h1>{{if .Tenant}}<p>Organization: {{.Tenant}}</p>{{end}}{{if .Error}}<p id="error">{{.Error}}</p>{{end}}{{if not .Done}}
<form method="post"><input type="hidden" name="canary" value="{{.Canary}}">
{{if .AskCode}}<p><label>Code <input name="code" autocomplete="off"></label></p>{{end}}
{{range .Users}}<label><input type="radio" name="user" value="{{.}}"{{if eq . $.Hint}} checked{{end}}> {{.}}</label><br>
{{end}}{{if .Free}}<p><label>Account <input name="user" value="{{.Hint}}" autocomplete="off"></label></p>{{end}}
{{if .Ask}}<p>{{.Ask}}{{if .App}} (app {{.App}}){{end}}</p>{{end}}
<button name="decision" value="accept">Accept</button> <button name="decision" value="deny">Cancel</button></form>{{end}}</html>
`))

// browser is the cookie that names a browser session.
const browser = "ESTSAUTH"

// show writes a page and starts a browser session if there is none. The canary
// in the form is that session, so that no other site can send the form.
func (d *Directory) show(w http.ResponseWriter, r *http.Request, p *page, status int) {
	p.Canary = d.begin(w, r)
	w.WriteHeader(status)
	_ = pages.Execute(w, p)
}

// begin sets a page's headers and returns its canary.
func (d *Directory) begin(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(browser)
	if err != nil || !d.hasSession(c.Value) {
		c = &http.Cookie{Name: browser, Value: randomText(24), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode}
		d.sessions[c.Value] = ""
		http.SetCookie(w, c)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Frame-Options", "DENY")
	return c.Value
}

func (d *Directory) hasSession(id string) bool {
	_, ok := d.sessions[id]
	return ok
}

// posted reads a form that was sent back, and says what is wrong with it.
func (d *Directory) posted(w http.ResponseWriter, r *http.Request) string {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.ParseForm() != nil {
		return "AADSTS9002313: Invalid request. Request is malformed or invalid."
	}
	c, err := r.Cookie(browser)
	if err != nil || !d.hasSession(c.Value) || r.PostForm.Get("canary") != c.Value {
		return "AADSTS165000: Invalid Request: The request tokens do not match the user context. Are cookies enabled?"
	}
	return ""
}

// signedIn remembers who signed in at a browser.
func (d *Directory) signedIn(r *http.Request, user string) {
	if c, err := r.Cookie(browser); err == nil && d.hasSession(c.Value) {
		d.sessions[c.Value] = user
	}
}

// session is who signed in at a browser, if anybody.
func (d *Directory) session(r *http.Request) string {
	c, err := r.Cookie(browser)
	if err != nil {
		return ""
	}
	return d.sessions[c.Value]
}

func (t *Tenant) names() []string { return slices.Sorted(maps.Keys(t.users)) }

// member reports whether a user is one of the tenant's, and an admin.
func (t *Tenant) member(user string) (admin, ok bool) {
	if t == nil {
		return false, false
	}
	admin, ok = t.users[user]
	return admin, ok
}

var formPost = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Working...</title><body onload="document.forms[0].submit()">
<form method="post" action="{{.To}}">{{range $k, $v := .Fields}}<input type="hidden" name="{{$k}}" value="{{index $v 0}}">{{end}}<noscript><button>Continue</button></noscript></form></body></html>
`))

// sendBack leads the browser back to the app.
func sendBack(w http.ResponseWriter, redirect, mode string, fields url.Values) {
	if mode == "form_post" {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_ = formPost.Execute(w, map[string]any{"To": redirect, "Fields": fields})
		return
	}
	sep := "?"
	if u, err := url.Parse(redirect); err == nil && u.RawQuery != "" {
		sep = "&"
	}
	if mode == "fragment" {
		sep = "#"
	}
	w.Header().Set("Location", redirect+sep+fields.Encode())
	w.WriteHeader(http.StatusFound)
}
