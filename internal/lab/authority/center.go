package authority

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// centerURL is Partner Center's audience (reference partner-gdap §1.1).
const centerURL = "https://api.partnercenter.microsoft.com"

// centerID is the ID of Partner Center's own app.
const centerID = "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd"

// centerWait is what Partner Center's 429 asks for, in seconds.
const centerWait = 57

// Center plays Partner Center's API: customers, and consents of the partner's
// apps in them.
func (s *Server) Center(w http.ResponseWriter, r *http.Request) {
	d := s.opt.Directory
	q := &centerCall{d: d, w: w, r: r}
	for _, name := range []string{"MS-RequestId", "MS-CorrelationId"} {
		if id := r.Header.Get(name); id != "" {
			w.Header().Set(name, id)
		}
	}
	w.Header().Set("Date", d.clockTime().UTC().Format(http.TimeFormat))
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c, err := d.Verify(raw)
	body, readErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	d.mu.Lock()
	defer d.mu.Unlock()
	if q.tooMany() {
		return
	}
	q.who, q.body, q.home = c, body, d.tenants[c.TenantID]
	switch {
	case !ok || err != nil || c.Audience != centerURL || q.home == nil || readErr != nil:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		q.fail(http.StatusUnauthorized, "InvalidToken", "The access token is not valid.")
	case c.User != "" && !slices.Contains(c.AMR, "mfa"):
		// Without a body; the words stand in the status line, which Go does not let
		// a server choose.
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	case d.Partner.Indirect, c.User != "" && !slices.Contains(d.gdap.groups[c.User], AdminAgents):
		q.fail(http.StatusForbidden, "Forbidden", "Access denied.")
	default:
		q.serve()
	}
}

type centerCall struct {
	d    *Directory
	w    http.ResponseWriter
	r    *http.Request
	who  Claims
	home *Tenant
	body []byte
}

// fail answers in Partner Center's error form.
func (q *centerCall) fail(status int, code, text string) {
	write(q.w, status, map[string]any{"code": code, "description": text, "data": []string{}, "source": "PartnerFD"})
}

// tooMany throttles; true when it did.
func (q *centerCall) tooMany() bool {
	p := q.d.Partner
	now := q.d.Clock()
	q.d.gdap.asked = slices.DeleteFunc(q.d.gdap.asked, func(t time.Time) bool { return now.Sub(t) >= time.Minute })
	if p.CenterPerMinute <= 0 || len(q.d.gdap.asked) < p.CenterPerMinute {
		q.d.gdap.asked = append(q.d.gdap.asked, now)
		return false
	}
	if !p.NoRetryAfter {
		q.w.Header().Set("Retry-After", strconv.Itoa(centerWait))
	}
	if p.PlainTooMany {
		q.w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(q.w, "Too Many Requests")
		return true
	}
	write(q.w, http.StatusTooManyRequests, map[string]any{"statusCode": 429, "message": "Rate limit is exceeded. Try again in " + strconv.Itoa(centerWait) + " seconds."})
	return true
}

func (q *centerCall) serve() {
	parts := strings.Split(strings.Trim(strings.TrimPrefix(strings.ToLower(q.r.URL.Path), "/v1/"), "/"), "/")
	switch {
	case len(parts) == 1 && parts[0] == "customers" && q.r.Method == http.MethodGet:
		q.customers()
	case len(parts) >= 3 && parts[0] == "customers" && parts[2] == "applicationconsents":
		t := q.d.tenants[parts[1]]
		if t == nil || !slices.Contains(q.listed(), t.ID) {
			q.fail(http.StatusNotFound, "600033", "The customer is not found in the partner's customer list.")
			return
		}
		switch {
		case len(parts) == 3 && q.r.Method == http.MethodPost:
			q.consent(t)
		case len(parts) == 4 && q.r.Method == http.MethodDelete:
			q.withdraw(t, parts[3])
		default:
			q.fail(http.StatusMethodNotAllowed, "405", "The method is not allowed.")
		}
	default:
		q.fail(http.StatusNotFound, "404", "There is no such resource.")
	}
}

// listed are the partner's customers: by contract, and unless a switch says
// otherwise by relationship.
func (q *centerCall) listed() []string {
	set := maps.Clone(q.d.gdap.contracts[q.home.ID])
	if set == nil {
		set = make(map[string]string)
	}
	if !q.d.Partner.OfCustomer {
		for _, r := range q.d.seen(q.home.ID) {
			if q.d.state(r) == "active" {
				set[r.Customer] = r.Called
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// customers lists them, page by page: the next one by a link and the
// continuation header that stands beside it.
func (q *centerCall) customers() {
	query := q.r.URL.Query()
	size, err := strconv.Atoi(query.Get("size"))
	if err != nil || size < 1 {
		size = 100
	}
	if n := q.d.Partner.PageSize; n > 0 {
		size = min(size, n)
	}
	all, from := q.listed(), 0
	if q.d.Partner.Empty {
		all = nil
	}
	if query.Get("seekOperation") == "Next" {
		if from, err = strconv.Atoi(q.r.Header.Get("MS-ContinuationToken")); err != nil || from > len(all) {
			q.fail(http.StatusBadRequest, "400", "The continuation token is missing or not valid.")
			return
		}
	}
	to := min(from+size, len(all))
	items := []map[string]any{}
	for _, id := range all[from:to] {
		domain, name := q.d.tenants[id].Domain, q.d.gdap.contracts[q.home.ID][id]
		for _, r := range q.d.between(q.home.ID, id) {
			name = r.Called
		}
		items = append(items, map[string]any{"id": id, "relationshipToPartner": "reseller", "attributes": map[string]string{"objectType": "Customer"},
			"companyProfile": map[string]any{"tenantId": id, "domain": domain, "companyName": name, "attributes": map[string]string{"objectType": "CustomerCompanyProfile"}}})
	}
	path := "/v1/customers?size=" + strconv.Itoa(size)
	links := map[string]any{"self": map[string]any{"uri": path, "method": "GET", "headers": []string{}}}
	if to < len(all) {
		links["next"] = map[string]any{"uri": path + "&seekOperation=Next", "method": "GET", "headers": []map[string]string{{"key": "MS-ContinuationToken", "value": strconv.Itoa(to)}}}
	}
	write(q.w, http.StatusOK, map[string]any{"totalCount": len(all), "items": items, "links": links, "attributes": map[string]string{"objectType": "Collection"}})
}

// mayConsent are the roles of which one is needed in the customer.
func (q *centerCall) mayConsent(t *Tenant) bool {
	roles, _ := q.d.partnerRoles(q.who.User, t.ID)
	return slices.ContainsFunc(roles, func(r string) bool {
		return r == GlobalAdministrator || r == CloudApplicationAdministrator || r == ApplicationAdministrator
	})
}

// consent grants an app delegated permissions in a customer (reference
// partner-gdap §4a).
func (q *centerCall) consent(t *Tenant) {
	var in struct {
		App    string `json:"applicationId"`
		Name   string `json:"displayName"`
		Grants []struct {
			API   string `json:"enterpriseApplicationId"`
			Scope string `json:"scope"`
		} `json:"applicationGrants"`
	}
	p := q.d.Partner
	bad := func(text string) { q.fail(http.StatusBadRequest, "400", text) }
	if json.Unmarshal(q.body, &in) != nil || len(in.Grants) == 0 {
		bad("The request is not valid.")
		return
	}
	a := q.d.app(in.App)
	switch {
	case a == nil || !a.MultiTenant:
		bad("The application is not found.")
		return
	case !strings.EqualFold(q.who.AppID, a.ClientID):
		q.fail(http.StatusForbidden, "Forbidden", "The token was not issued to the application in the request.")
		return
	case !q.mayConsent(t):
		q.fail(http.StatusForbidden, "Forbidden", "Access denied.")
		return
	case len(in.Grants) > 1 && p.ManyRefused:
		bad("Only one enterprise application is allowed in a request.")
		return
	}
	for _, g := range in.Grants {
		api, ok := apiOf(g.API)
		if !ok {
			bad("The enterprise application is not found.")
			return
		}
		var scopes []string
		for scope := range strings.SplitSeq(g.Scope, ",") {
			trimmed := strings.TrimSpace(scope)
			if p.BlankNeeded && len(scopes) > 0 && trimmed == scope || !slices.Contains(api.scopes, trimmed) {
				bad("The scope " + scope + " is not valid.")
				return
			}
			scopes = append(scopes, trimmed)
		}
		if _, there := t.shared[strings.ToLower(a.ClientID)][api.id]; there {
			if p.Conflict {
				q.fail(http.StatusConflict, "409", "The consent exists.")
				return
			}
			bad("Permission entry already exists.")
			return
		}
		if !p.NoEffect {
			t.share(a.ClientID, api.id, scopes)
		}
	}
	if !p.NoEffect && t.consent(a.ClientID).now < Delegated {
		q.d.agree(t, a.ClientID, Delegated)
	}
	write(q.w, http.StatusCreated, map[string]any{"applicationId": in.App, "displayName": in.Name, "applicationGrants": in.Grants})
}

// withdraw takes the grants back; the service principal stays.
func (q *centerCall) withdraw(t *Tenant, client string) {
	if !q.mayConsent(t) {
		q.fail(http.StatusForbidden, "Forbidden", "Access denied.")
		return
	}
	if t.shared[client] == nil {
		q.fail(http.StatusNotFound, "404", "There is no such consent.")
		return
	}
	t.shared[client] = map[string][]string{}
	q.w.WriteHeader(http.StatusNoContent)
}
