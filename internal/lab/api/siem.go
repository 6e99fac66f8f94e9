package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

var manySlashes = regexp.MustCompile(`/+`)

// SIEM serves /api/alerts of the SIEM detections API (reference siem-api §3,
// §6): bare arrays, filtered by LastProcessedTimeUtc, in no order.
func (a *API) SIEM(w http.ResponseWriter, r *http.Request) {
	q := a.begin(w, r, siemFeed)
	q.fail = func(status int, _, message string) {
		b, _ := json.Marshal(map[string]string{"Message": message})
		q.plain(status, "application/json; charset=utf-8", string(b))
	}
	defer q.end()
	path := strings.TrimSuffix(strings.ToLower(manySlashes.ReplaceAllString(r.URL.Path, "/")), "/")
	switch {
	case q.sw.SIEMOff:
		q.fail(http.StatusGone, "", "The service is no longer available.")
	case path != "/api/alerts":
		q.fail(http.StatusNotFound, "", "No HTTP resource was found that matches the request URI.")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", "GET")
		q.fail(http.StatusMethodNotAllowed, "", "The requested resource does not support http method '"+r.Method+"'.")
	case !q.authenticate(a.opt.SIEMAudience):
	case a.opt.Authorised != nil && !a.opt.Authorised(q.caller.Tenant, q.caller.App):
		q.fail(http.StatusForbidden, "", "Any of the domains is not managed by the tenant administrator, or tenant state is deleted.")
	case q.sw.StrictRegion && a.opt.Region != nil && hostRegion(r.Host) != "" && hostRegion(r.Host) != a.opt.Region(q.caller.Tenant):
		q.fail(http.StatusForbidden, "", "The tenant's data is not stored in this region.")
	case q.throttled():
	case q.before():
	default:
		ask, err := readAsk(r.URL.RawQuery, a.opt.Clock())
		if err != nil {
			q.fail(http.StatusBadRequest, "", err.Error())
			return
		}
		q.detections(ask)
	}
}

// hostRegion is the region that a host name stands for: that of the real hosts
// (reference siem-api §2) and of siem-eu.lab.test; "" for a host without one.
func hostRegion(host string) string {
	first, _, _ := strings.Cut(strings.ToLower(host), ".")
	for _, prefix := range []string{"wdatp-alertexporter-", "siem-"} {
		if region, ok := strings.CutPrefix(first, prefix); ok {
			return region
		}
	}
	return ""
}

// detections answers the rows of a window.
func (q *request) detections(ask ask) {
	body := []byte{'['}
	q.a.opt.Estate.See(q.caller.Tenant, estate.SIEM, q.a.opt.Clock(), func(v estate.View) {
		var rows []*estate.Row
		for _, r := range since(q.shown(v.Rows), ask.from) {
			if !r.Changed.Before(ask.to) {
				break
			}
			if ask.wants(r) {
				rows = append(rows, r)
			}
		}
		limit := ask.limit
		if f, ok := q.has(fault.NewestOnly); ok && (limit < 0 || limit > f.Param) {
			limit = f.Param
		}
		if limit >= 0 && len(rows) > limit {
			rows = rows[len(rows)-limit:]
		}
		if q.sw.SIEMNewestFirst {
			slices.Reverse(rows)
		} else {
			for i := range rows {
				j := (i*31 + v.Read*7) % len(rows)
				rows[i], rows[j] = rows[j], rows[i]
			}
		}
		for i, r := range rows {
			if i > 0 {
				body = append(body, ',')
			}
			start := len(body)
			body = q.mangled(q.render(body, r, v, nil, nil), start, i, r)
		}
	})
	q.send(http.StatusOK, append(body, ']'))
}
