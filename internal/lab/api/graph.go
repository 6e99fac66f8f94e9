package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"drover/internal/lab/estate"
)

// Graph serves /v1.0/security/alerts_v2 and /v1.0/security/incidents, in any
// case.
func (a *API) Graph(w http.ResponseWriter, r *http.Request) {
	at := graphPath(r.URL.Path)
	q := a.begin(w, r, at.feed)
	q.fail = q.graphError
	defer q.end()
	switch {
	case !q.authenticate(a.opt.GraphAudience):
	case !at.known || strings.HasPrefix(strings.ToLower(r.Host), "microsoftgraph."):
		// The national cloud of China has none of them.
		q.fail(http.StatusNotFound, "ResourceNotFound", "Resource not found for the segment.")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		q.fail(http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	case q.throttled():
	case !q.allowed():
		q.missingRoles(q.caller.Roles)
	case q.before():
	case at.alerts:
		q.alertsOf(at.id)
	case at.id != "":
		q.one(at.id)
	default:
		q.collection(nil)
	}
}

// place is what a path of Graph leads to.
type place struct {
	feed   feed
	known  bool
	id     string // one row
	alerts bool   // the alerts of one incident
}

// graphPath understands COLLECTION, COLLECTION/ID and COLLECTION('ID'), and
// behind an incident /alerts.
func graphPath(path string) place {
	path = strings.TrimSuffix(path, "/")
	for prefix, f := range map[string]feed{"/v1.0/security/alerts_v2": alertFeed, "/v1.0/security/incidents": incidentFeed} {
		if len(path) < len(prefix) || !strings.EqualFold(path[:len(prefix)], prefix) {
			continue
		}
		at, rest := place{feed: f}, path[len(prefix):]
		if rest == "" {
			at.known = true
			return at
		}
		if f.api == incidentFeed.api && len(rest) > len("/alerts") && strings.EqualFold(rest[len(rest)-len("/alerts"):], "/alerts") {
			rest, at.alerts = rest[:len(rest)-len("/alerts")], true
		}
		var ok bool
		if at.id, ok = strings.CutPrefix(rest, "/"); !ok {
			if at.id, ok = strings.CutPrefix(rest, "('"); ok {
				at.id, ok = strings.CutSuffix(at.id, "')")
			}
		}
		at.known = ok && at.id != "" && !strings.Contains(at.id, "/")
		return at
	}
	return place{feed: alertFeed}
}

// allowed reports whether the caller has a permission of which any one opens
// the feed.
func (q *request) allowed() bool {
	in := func(list []string) func(string) bool {
		return func(s string) bool { return slices.Contains(list, s) }
	}
	return slices.ContainsFunc(q.caller.Roles, in(q.feed.roles)) || slices.ContainsFunc(q.caller.Scopes, in(q.feed.scopes))
}

// missingRoles is the first of two forms of 403; the other has no such text.
func (q *request) missingRoles(has []string) {
	if len(q.caller.Scopes) > 0 {
		q.fail(http.StatusForbidden, "Forbidden", "Missing user scopes. API required scopes: "+strings.Join(q.feed.scopes, ",")+", user scopes: "+strings.Join(q.caller.Scopes, ",")+".")
		return
	}
	q.fail(http.StatusForbidden, "Forbidden", "Missing application roles. API required roles: "+strings.Join(q.feed.roles, ",")+", application roles: "+strings.Join(has, ",")+".")
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

// collection answers a list; only: the alerts of one incident instead of all
// rows.
func (q *request) collection(only func(estate.View) []*estate.Row) {
	l, bad := q.understand()
	if bad != nil {
		q.fail(http.StatusBadRequest, bad.code, bad.message)
		return
	}
	q.list(l, only)
}

// alertsOf answers the alerts of an incident: rows of alerts, under the limits
// and permissions of incidents.
func (q *request) alertsOf(incident string) {
	there := false
	q.a.opt.Estate.See(q.caller.Tenant, estate.Incidents, q.a.opt.Clock(), func(v estate.View) {
		there = slices.ContainsFunc(q.shown(v.Rows), func(r *estate.Row) bool { return r.ID == incident })
	})
	if !there {
		q.fail(http.StatusNotFound, "itemNotFound", "")
		return
	}
	f := alertFeed
	f.context = "/v1.0/$metadata#security/incidents('" + incident + "')/alerts"
	q.feed, q.source = &f, f.source
	q.collection(func(v estate.View) []*estate.Row { return estate.Within(v.Rows, incident) })
}

// one answers one row by ID.
func (q *request) one(id string) {
	q.expand = q.api == "mde" && !q.sw.MDEOneBare
	for name, v := range q.r.URL.Query() {
		if name == "$expand" && v[0] != "" && v[0] == q.expandable() {
			q.expand = true
		} else if strings.HasPrefix(name, "$") {
			q.fail(http.StatusBadRequest, "BadRequest", "The query option '"+name+"' is not supported for one row.")
			return
		}
	}
	var body []byte
	crowded := false
	q.a.opt.Estate.See(q.caller.Tenant, q.source, q.a.opt.Clock(), func(v estate.View) {
		for _, r := range q.shown(v.Rows) {
			if r.ID == id {
				var with crowds
				with, crowded = q.crowds(v, []*estate.Row{r})
				body = q.render(nil, r, v, nil, with)
				return
			}
		}
	})
	switch {
	case body == nil && q.api == "mde":
		q.fail(http.StatusNotFound, "ResourceNotFound", "Resource not found.")
	case body == nil:
		q.fail(http.StatusNotFound, "itemNotFound", "")
	case crowded:
		q.tooCrowded()
	default:
		q.send(http.StatusOK, body)
	}
}

// crowds are the alerts of incidents, by their ID; nil where nobody asked for
// them.
type crowds map[string][]*estate.Row

// crowds gathers the alerts of the incidents of an answer with $expand=alerts;
// over reports that one has more than the service can bear.
func (q *request) crowds(v estate.View, page []*estate.Row) (with crowds, over bool) {
	if !q.expand || q.source != estate.Incidents {
		return nil, false
	}
	with = make(crowds)
	all := estate.ByIncident(v.Alerts)
	for _, r := range page {
		with[r.ID] = all[r.ID]
		over = over || q.sw.ExpandLimit > 0 && len(all[r.ID]) > q.sw.ExpandLimit
	}
	return with, over
}

// tooCrowded is what $expand=alerts meets on big incidents, however often it is
// asked.
func (q *request) tooCrowded() {
	q.rows = nil
	q.fail(http.StatusInternalServerError, "UnknownError", "")
}
