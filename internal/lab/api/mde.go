package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// What says mde_retired of the API's end.
const (
	retiredGone       = "gone"       // 410
	retiredUnresolved = "unresolved" // its name does not resolve
	retiredRefused    = "refused"    // nobody listens
)

// MDE serves /api/alerts and /api/v1.0/alerts of Defender for Endpoint
// (reference mde-api §4), in any case, and below /mde.
func (a *API) MDE(w http.ResponseWriter, r *http.Request) {
	q := a.begin(w, r, mdeFeed)
	q.fail = q.mdeError
	defer q.end()
	id, one, known := mdePath(r.URL.Path)
	switch {
	case q.sw.MDERetired == retiredGone:
		q.fail(http.StatusGone, "NotFound", "This API is retired.")
	case q.sw.MDERetired != "": // its host is not there; a connection that came by address is cut
		q.reset(false)
	case !q.authenticate(func(_, audience string) bool { return a.opt.MDEAudience(r.Host, audience, q.sw.MDEStrictAudience) }):
	case !known:
		q.fail(http.StatusNotFound, "NotFound", "No HTTP resource was found that matches the request URI.")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		q.fail(http.StatusMethodNotAllowed, "BadRequest", "The requested resource does not support http method '"+r.Method+"'.")
	case q.throttled():
	case !q.allowed():
		q.missingRoles(q.caller.Roles)
	case q.before():
	case one:
		q.one(id)
	default:
		q.collection(nil)
	}
}

// mdePath finds the ID in …/alerts/ID, and whether the path is the API's.
func mdePath(path string) (id string, one, known bool) {
	path = strings.TrimSuffix(path, "/")
	for _, prefix := range []string{"/mde/api/v1.0/alerts", "/mde/api/alerts", "/api/v1.0/alerts", "/api/alerts"} {
		if len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix) {
			id, one = strings.CutPrefix(path[len(prefix):], "/")
			return id, one, path[len(prefix):] == "" || one && id != "" && !strings.Contains(id, "/")
		}
	}
	return "", false, false
}

// mdeError answers in the form of this API. Its target, for Microsoft's
// support, is a GUID or something like one.
func (q *request) mdeError(status int, code, message string) {
	type inner struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Target  string `json:"target"`
	}
	target := fmt.Sprintf("00000000-0000-4000-8000-%012d", q.n)
	if q.n%2 == 1 {
		target = fmt.Sprintf("|%08x-%016x.1.", q.n, q.n)
	}
	b, _ := json.Marshal(map[string]inner{"error": {code, message, target}})
	q.plain(status, "application/json", string(b))
}
