package authority

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// directoryPath is what of Graph is the directory's: a collection, one of it by
// ID or by appId, and what lies below.
var directoryPath = regexp.MustCompile(`(?i)^/v1\.0/(applications|servicePrincipals|oauth2PermissionGrants|tenantRelationships|contracts|me)(?:\(appId='([^']*)'\)|/([^/()]+))?(?:/(.+))?$`)

// IsDirectoryPath reports whether a path of Graph leads to applications, service
// principals, grants, or what partners have.
func IsDirectoryPath(path string) bool {
	return directoryPath.MatchString(strings.TrimSuffix(path, "/"))
}

// Graph serves Graph's applications, servicePrincipals and
// oauth2PermissionGrants over the directory, and a partner's relationships. accepts says whether a host takes
// tokens for an audience.
func (d *Directory) Graph(accepts func(host, audience string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := directoryPath.FindStringSubmatch(strings.TrimSuffix(r.URL.Path, "/"))
		q := &call{d: d, w: w, r: r, body: []byte("{}")}
		w.Header().Set("request-id", newGUID())
		w.Header().Set("client-request-id", correlation(r))
		w.Header().Set("Date", d.clockTime().UTC().Format(http.TimeFormat))
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		c, err := d.Verify(raw)
		switch {
		case !ok:
			q.fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty.")
			return
		case err != nil:
			q.fail(http.StatusUnauthorized, "InvalidAuthenticationToken", err.Error())
			return
		case !accepts(r.Host, c.Audience):
			q.fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience.")
			return
		}
		q.who, q.has = c, append(strings.Fields(c.Scope), c.Roles...)
		if r.Method == http.MethodPost || r.Method == http.MethodPatch {
			if q.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm)); err != nil || !json.Valid(q.body) {
				q.fail(http.StatusBadRequest, "BadRequest", "Unable to read JSON request payload.")
				return
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if q.t = d.tenants[c.TenantID]; q.t == nil {
			q.fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "The tenant of the token is not known.")
			return
		}
		if q.unmapped() {
			return
		}
		switch strings.ToLower(m[1]) {
		case "tenantrelationships":
			q.relations(m[3], m[4])
		case "contracts":
			q.listContracts()
		case "me":
			q.me(m[3])
		case "applications":
			q.applications(m[2], m[3], m[4])
		case "serviceprincipals":
			q.principals(m[2], m[3], m[4])
		default:
			q.grants(m[3])
		}
	})
}

// call is one request to the directory. The directory is locked while it is
// answered.
type call struct {
	d    *Directory
	w    http.ResponseWriter
	r    *http.Request
	body []byte
	who  Claims
	has  []string // scopes of the signed-in user, or roles of the app
	t    *Tenant  // whose directory it is
}

// fail answers in Graph's error form.
func (q *call) fail(status int, code, message string) {
	h := q.w.Header()
	write(q.w, status, map[string]any{"error": map[string]any{"code": code, "message": message, "innerError": map[string]string{
		"date": q.d.Clock().UTC().Format("2006-01-02T15:04:05"), "request-id": h.Get("request-id"), "client-request-id": h.Get("client-request-id")}}})
}

// bad is a request that cannot be understood or carried out.
func (q *call) bad(message string) { q.fail(http.StatusBadRequest, "Request_BadRequest", message) }

func (q *call) denied() {
	q.fail(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

func (q *call) absent(what string) {
	q.fail(http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+what+"' does not exist or one of its queried reference-property objects are not present.")
}

func (q *call) wrongMethod() {
	q.fail(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
}

// Permissions of which one is needed.
var (
	mayRead  = []string{"Application.Read.All", "Application.ReadWrite.All", "Application.ReadWrite.OwnedBy", "Directory.Read.All", "Directory.ReadWrite.All"}
	mayWrite = []string{"Application.ReadWrite.All", "Directory.ReadWrite.All"}
	mayGrant = []string{"AppRoleAssignment.ReadWrite.All"}
	mayShare = []string{"DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All"}
)

// holds reports whether the token has one of the permissions, and whoever signed
// in may use it: reading may everybody, writing an admin, or owns is true.
func (q *call) holds(one []string, owns bool) bool {
	if !slices.ContainsFunc(q.has, func(p string) bool { return slices.Contains(one, p) }) {
		return false
	}
	if q.who.User == "" || q.r.Method == http.MethodGet || owns {
		return true
	}
	return q.administers(ApplicationAdministrator, CloudApplicationAdministrator)
}

// read decodes the body; names that are not known are refused.
func (q *call) read(into any) bool {
	dec := json.NewDecoder(strings.NewReader(string(q.body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		q.bad("Invalid property or value: " + strings.TrimPrefix(err.Error(), "json: "))
		return false
	}
	return true
}

// one answers an object, with the properties that $select names.
func (q *call) one(status int, set string, v map[string]any) {
	out := q.selected(v)
	out["@odata.context"] = "https://graph.microsoft.com/v1.0/$metadata#" + set + "/$entity"
	write(q.w, status, out)
}

// list answers a collection.
func (q *call) list(set string, all []map[string]any) {
	out := []map[string]any{}
	for _, v := range all {
		out = append(out, q.selected(v))
	}
	write(q.w, http.StatusOK, map[string]any{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#" + set, "value": out})
}

func (q *call) selected(v map[string]any) map[string]any {
	want := q.r.URL.Query().Get("$select")
	if want == "" || q.r.Method != http.MethodGet {
		return v
	}
	out := make(map[string]any)
	for name := range strings.SplitSeq(want, ",") {
		if have, ok := v[name]; ok {
			out[name] = have
		}
	}
	return out
}

var equals = regexp.MustCompile(`^(appId|displayName) eq '((?:[^']|'')*)'$`)

// filter reads $filter: appId or displayName, eq. ok false if it was answered.
func (q *call) filter() (property, value string, ok bool) {
	for name := range q.r.URL.Query() {
		if strings.HasPrefix(name, "$") && !slices.Contains([]string{"$select", "$filter", "$top", "$count"}, name) {
			q.bad("The query option '" + name + "' is not supported here.")
			return "", "", false
		}
	}
	f := q.r.URL.Query().Get("$filter")
	if f == "" {
		return "", "", true
	}
	m := equals.FindStringSubmatch(f)
	if m == nil {
		q.fail(http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified for property of resource.")
		return "", "", false
	}
	return m[1], strings.ReplaceAll(m[2], "''", "'"), true
}

// stampOf writes a time as Graph does.
func stampOf(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// mayRedirect reports whether a registration takes a redirect URI.
func mayRedirect(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Host != "" && u.Fragment == "" && (u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1"))
}
