package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"drover/internal/lab/estate"
)

// collection is the only path of Graph that is served.
const collection = "/v1.0/security/alerts_v2"

// Graph serves /v1.0/security/alerts_v2, in any case.
func (a *API) Graph(w http.ResponseWriter, r *http.Request) {
	q := a.begin(w, r, "graph", estate.Graph)
	q.fail = q.graphError
	defer q.end()
	path := strings.ToLower(strings.TrimSuffix(r.URL.Path, "/"))
	id, one := alertID(strings.TrimSuffix(r.URL.Path, "/"))
	switch {
	case !q.authenticate(a.opt.GraphAudience):
	case path != collection && !one || strings.HasPrefix(strings.ToLower(r.Host), "microsoftgraph."):
		// The national cloud of China has no alerts_v2.
		q.fail(http.StatusNotFound, "ResourceNotFound", "Resource not found for the segment.")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		q.fail(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	case q.throttled():
	case !allowed(q.caller.Roles) && !allowed(q.caller.Scopes):
		q.missingRoles(q.caller.Roles)
	case q.before():
	case one:
		q.oneAlert(id)
	default:
		l, bad := q.understand()
		if bad != nil {
			q.fail(http.StatusBadRequest, bad.code, bad.message)
			return
		}
		q.list(l)
	}
}

// alertID finds the ID in …/alerts_v2/ID and …/alerts_v2('ID').
func alertID(path string) (id string, ok bool) {
	if len(path) <= len(collection) || !strings.EqualFold(path[:len(collection)], collection) {
		return "", false
	}
	rest := path[len(collection):]
	if id, ok = strings.CutPrefix(rest, "/"); !ok {
		if id, ok = strings.CutPrefix(rest, "('"); ok {
			id, ok = strings.CutSuffix(id, "')")
		}
	}
	return id, ok && id != "" && !strings.Contains(id, "/")
}

// readers are the permissions of which any one opens alerts_v2 (reference
// graph-security §1).
var readers = []string{"SecurityAlert.Read.All", "SecurityAlert.ReadWrite.All", "SecurityIncident.Read.All", "SecurityIncident.ReadWrite.All"}

func allowed(has []string) bool {
	return slices.ContainsFunc(has, func(s string) bool { return slices.Contains(readers, s) })
}

// missingRoles is the first of two forms of 403; the other has no such text.
func (q *request) missingRoles(has []string) {
	if len(q.caller.Scopes) > 0 {
		q.fail(http.StatusForbidden, "Forbidden", "Missing user scopes. API required scopes: "+strings.Join(readers, ",")+", user scopes: "+strings.Join(q.caller.Scopes, ",")+".")
		return
	}
	q.fail(http.StatusForbidden, "Forbidden", "Missing application roles. API required roles: "+strings.Join(readers, ",")+", application roles: "+strings.Join(has, ",")+".")
}

// graphError answers in Graph's error form; one without a code has details.
func (q *request) graphError(status int, code, message string) {
	type inner struct {
		Date    string `json:"date"`
		Request string `json:"request-id"`
		Client  string `json:"client-request-id"`
	}
	var body struct {
		Error struct {
			Code       string `json:"code"`
			Message    string `json:"message"`
			Details    *[]int `json:"details,omitempty"`
			InnerError inner  `json:"innerError"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = code, message
	if code == "" {
		body.Error.Details = &[]int{}
	}
	h := q.w.Header()
	body.Error.InnerError = inner{q.a.opt.Clock().UTC().Format("2006-01-02T15:04:05"), h.Get("request-id"), h.Get("client-request-id")}
	b, _ := json.Marshal(body)
	q.plain(status, "application/json", string(b))
}

// oneAlert answers one alert by ID.
func (q *request) oneAlert(id string) {
	for name := range q.r.URL.Query() {
		if strings.HasPrefix(name, "$") {
			q.fail(http.StatusBadRequest, "BadRequest", "The query option '"+name+"' is not supported for one alert.")
			return
		}
	}
	var body []byte
	q.a.opt.Estate.See(q.caller.Tenant, estate.Graph, q.a.opt.Clock(), func(v estate.View) {
		for _, r := range q.shown(v.Rows) {
			if r.ID == id {
				body = q.render(nil, r, v, nil)
				return
			}
		}
	})
	if body == nil {
		q.fail(http.StatusNotFound, "itemNotFound", "")
		return
	}
	q.send(http.StatusOK, body)
}
