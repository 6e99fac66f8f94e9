package authority

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxTop is the longest page of the partner's lists (reference partner-gdap §3).
const maxTop = 300

var (
	byStatus   = regexp.MustCompile(`^status eq '([A-Za-z]+)'$`)
	byCustomer = regexp.MustCompile(`^customer/tenantId eq '([0-9A-Fa-f-]+)'$`)
)

// relations answers what lies at /tenantRelationships, with a token of the
// partner's own tenant.
func (q *call) relations(what, below string) {
	if !q.may("DelegatedAdminRelationship.Read.All") {
		return
	}
	id, rest, _ := strings.Cut(below, "/")
	switch strings.ToLower(what) {
	case "delegatedadminrelationships":
		switch {
		case below == "":
			q.listRelationships()
		case strings.EqualFold(rest, "accessAssignments"):
			q.listAssignments(id)
		default:
			q.absent(below)
		}
	case "delegatedadmincustomers":
		var out []map[string]any
		done := make(map[string]bool)
		for _, r := range q.d.seen(q.t.ID) {
			if q.d.state(r) == "active" && !done[r.Customer] {
				done[r.Customer] = true
				out = append(out, map[string]any{"@odata.etag": `W/"1"`, "id": r.Customer, "tenantId": r.Customer, "displayName": r.Called})
			}
		}
		q.page("tenantRelationships/delegatedAdminCustomers", out, 0)
	default:
		q.absent(what)
	}
}

// may checks the scope of a read.
func (q *call) may(scopes ...string) bool {
	if q.r.Method != http.MethodGet {
		q.wrongMethod()
		return false
	}
	if !slices.ContainsFunc(q.has, func(p string) bool { return slices.Contains(scopes, p) }) {
		q.denied()
		return false
	}
	return true
}

func (q *call) listRelationships() {
	want := q.r.URL.Query().Get("$filter")
	status, customer := byStatus.FindStringSubmatch(want), byCustomer.FindStringSubmatch(want)
	if want != "" && status == nil && customer == nil {
		q.fail(http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified for property of resource.")
		return
	}
	var out []map[string]any
	for _, r := range q.d.seen(q.t.ID) {
		state := q.d.state(r)
		if status != nil && status[1] != state || customer != nil && !strings.EqualFold(customer[1], r.Customer) {
			continue
		}
		if q.d.Partner.UnknownStatus != "" && state != "active" {
			state = q.d.Partner.UnknownStatus
		}
		out = append(out, q.relationship(r, state))
	}
	q.page("tenantRelationships/delegatedAdminRelationships", out, q.d.Partner.FailPage)
}

func (q *call) relationship(r *Relationship, state string) map[string]any {
	date := func(t time.Time) any {
		if q.d.Partner.NullDates || state == "created" || state == "approvalPending" {
			return nil
		}
		return t.UTC().Format("2006-01-02T15:04:05.9999999Z")
	}
	v := map[string]any{"@odata.etag": `W/"1"`, "id": r.ID, "displayName": r.Name, "duration": "P730D", "status": state, "autoExtendDuration": r.Extends,
		"customer": map[string]any{"tenantId": r.Customer, "displayName": r.Called}, "accessDetails": map[string]any{"unifiedRoles": roleRefs(r.Roles)},
		"createdDateTime": r.Created.UTC().Format(time.RFC3339Nano), "lastModifiedDateTime": r.Created.UTC().Format(time.RFC3339Nano), "activatedDateTime": date(r.Activated), "endDateTime": date(r.End)}
	if r.Reseller {
		v["@odata.type"] = "#microsoft.graph.resellerDelegatedAdminRelationship"
		v["isPartnerConsentPending"], v["indirectProviderTenantId"] = false, nil
	}
	return v
}

func roleRefs(roles []string) []map[string]string {
	out := []map[string]string{}
	for _, r := range roles {
		out = append(out, map[string]string{"roleDefinitionId": r})
	}
	return out
}

func (q *call) listAssignments(id string) {
	for _, r := range q.d.seen(q.t.ID) {
		if r.ID != id {
			continue
		}
		var out []map[string]any
		for _, a := range r.Assignments {
			out = append(out, map[string]any{"@odata.etag": `W/"1"`, "id": a.ID, "status": a.Status, "createdDateTime": stampOf(r.Created),
				"accessContainer": map[string]string{"accessContainerId": a.Group, "accessContainerType": "securityGroup"}, "accessDetails": map[string]any{"unifiedRoles": roleRefs(a.Roles)}})
		}
		q.page("accessAssignments", out, 0)
		return
	}
	q.absent(id)
}

// listContracts answers /contracts: names are copies that are never updated.
func (q *call) listContracts() {
	if q.d.Partner.ContractsRefused {
		q.denied()
		return
	}
	if !q.may("Directory.Read.All") {
		return
	}
	var out []map[string]any
	for _, customer := range slices.Sorted(maps.Keys(q.d.gdap.contracts[q.t.ID])) {
		domain := ""
		if t := q.d.tenants[customer]; t != nil {
			domain = t.Domain
		}
		out = append(out, map[string]any{"id": objectID(q.t.ID, customer), "contractType": "ResellerPartner", "customerId": customer, "defaultDomainName": domain, "displayName": q.d.gdap.contracts[q.t.ID][customer]})
	}
	q.page("contracts", out, 0)
}

// me answers of which groups the signed-in user is. A partner's user is no
// object of a customer's.
func (q *call) me(what string) {
	if q.d.partnered(q.who.User, q.t) {
		q.fail(http.StatusBadRequest, "Request_BadRequest", "Current authenticated context is not valid for this request.")
		return
	}
	if q.d.Partner.GroupsRefused {
		q.denied()
		return
	}
	if !q.may("Directory.Read.All", "GroupMember.Read.All") {
		return
	}
	if !strings.EqualFold(what, "transitiveMemberOf") && !strings.EqualFold(what, "memberOf") {
		q.absent(what)
		return
	}
	var out []map[string]any
	for _, g := range q.d.gdap.groups[q.who.User] {
		out = append(out, map[string]any{"@odata.type": "#microsoft.graph.group", "id": g, "displayName": "group " + g[:8]})
	}
	q.page("directoryObjects", out, 0)
}

// page answers a part of a list, with a link to the next one.
func (q *call) page(set string, all []map[string]any, fails int) {
	query := q.r.URL.Query()
	top := 100
	if raw := query.Get("$top"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxTop {
			q.bad(fmt.Sprintf("Invalid page size specified: '%s'. Must be between 1 and %d inclusive.", raw, maxTop))
			return
		}
		top = n
	}
	if n := q.d.Partner.PageSize; n > 0 {
		top = min(top, n)
	}
	from, err := strconv.Atoi("0" + query.Get("$skiptoken"))
	if err != nil || from > len(all) {
		q.bad("The skip token is not valid.")
		return
	}
	if fails > 0 && from/top == fails-1 {
		q.fail(http.StatusInternalServerError, "InternalServerError", "An error has occurred.")
		return
	}
	if q.d.Partner.Empty {
		all, from = nil, 0
	}
	to := min(from+top, len(all))
	out := map[string]any{"@odata.context": "https://graph.microsoft.com/v1.0/$metadata#" + set, "value": append([]map[string]any{}, all[from:to]...)}
	if to < len(all) {
		query.Set("$skiptoken", strconv.Itoa(to))
		next := url.URL{Scheme: "https", Host: q.r.Host, Path: q.r.URL.Path, RawQuery: query.Encode()}
		out["@odata.nextLink"] = next.String()
	}
	write(q.w, http.StatusOK, out)
}
