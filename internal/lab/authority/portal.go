package authority

import (
	"html/template"
	"net/http"
	"strings"
)

// portal is the page of the customer's Defender portal on which the customer
// authorises an MSSP's app (reference mssp-onboarding §4).
var portal = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>SIEM: MSSP</title>
<h1>Settings &gt; Endpoints &gt; APIs &gt; SIEM: MSSP</h1>{{if .Error}}<p id="error">{{.Error}}</p>{{end}}
{{if .ID}}<p>Organization: {{.Domain}} ({{.ID}})</p>
<form method="post"><input type="hidden" name="canary" value="{{.Canary}}">
<p>Signed in as {{range .Users}}<label><input type="radio" name="user" value="{{.}}"{{if eq . $.User}} checked{{end}}> {{.}}</label> {{end}}</p>
<table><tr><th>Application ID</th><th>Tenant ID</th><th></th></tr>
{{range .Lines}}<tr><td>{{.App}}</td><td>{{.MSSP}}</td><td><button name="remove" value="{{.App}} {{.MSSP}}">Remove</button></td></tr>
{{end}}<tr><td><input name="app" size="36" autocomplete="off"></td><td><input name="tenant" size="36" autocomplete="off"></td><td><button name="add" value="yes">Authorize application</button></td></tr></table></form>
{{else}}<p>Choose an organization:</p><ul>{{range .Others}}<li><a href="?tid={{.ID}}">{{.Domain}}</a></li>{{end}}</ul>{{end}}</html>
`))

// Portal serves that page: ?tid= names the tenant. Who signs in is chosen on
// the page; only an admin may change anything, and nobody checks what is
// entered.
func (s *Server) Portal(w http.ResponseWriter, r *http.Request) {
	d := s.opt.Directory
	d.mu.Lock()
	defer d.mu.Unlock()
	var p struct {
		ID, Domain, User, Canary, Error string
		Users                           []string
		Lines                           []Listing
		Others                          []*Tenant
	}
	t := d.find(r.URL.Query().Get("tid"))
	status := http.StatusOK
	if t != nil {
		p.User = d.session(r)
		if r.Method == http.MethodPost {
			if p.Error = d.posted(w, r); p.Error == "" {
				p.User = r.PostForm.Get("user")
				p.Error = d.enter(t, r)
			}
			if p.Error != "" {
				status = http.StatusForbidden
			}
		}
		p.ID, p.Domain, p.Users, p.Lines = t.ID, t.Domain, t.names(), t.lines()
	} else {
		p.Others = d.sorted()
	}
	p.Canary = d.begin(w, r)
	w.WriteHeader(status)
	_ = portal.Execute(w, p)
}

// enter changes the list as the form says; it returns what is wrong.
func (d *Directory) enter(t *Tenant, r *http.Request) string {
	f := r.PostForm
	user := f.Get("user")
	if admin, _ := t.member(user); !admin {
		return "You need the permission 'Manage portal system settings' in this organization."
	}
	d.signedIn(r, user)
	if line := f.Get("remove"); line != "" {
		app, home, _ := strings.Cut(line, " ")
		d.list(t, Listing{app, home}, false)
		return ""
	}
	l := Listing{strings.TrimSpace(f.Get("app")), strings.TrimSpace(f.Get("tenant"))}
	if l.App == "" || l.MSSP == "" {
		return "Enter the application ID and the MSSP's tenant ID."
	}
	d.list(t, l, true)
	return ""
}
