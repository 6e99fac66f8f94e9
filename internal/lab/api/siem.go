package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

var manySlashes = regexp.MustCompile(`/+`)

// SIEM serves /api/alerts of the SIEM detections API (reference siem-api §3,
// §6): bare arrays, filtered by LastProcessedTimeUtc, in no order.
func (a *API) SIEM(w http.ResponseWriter, r *http.Request) {
	q := &request{a: a, w: w, r: r, n: a.opt.Truth.Request(), api: "siem", source: estate.SIEM}
	q.headers()
	fail := func(status int, _, message string) {
		b, _ := json.Marshal(map[string]string{"Message": message})
		q.plain(status, "application/json", string(b))
	}
	path := strings.TrimSuffix(strings.ToLower(manySlashes.ReplaceAllString(r.URL.Path, "/")), "/")
	switch {
	case path != "/api/alerts":
		fail(http.StatusNotFound, "", "No HTTP resource was found that matches the request URI.")
	case !q.authenticate(a.opt.SIEMAudience, func(s int, _, _ string) { fail(s, "", "Authorization has been denied for this request.") }):
	case a.opt.Authorised != nil && !a.opt.Authorised(q.caller.Tenant, q.caller.App):
		fail(http.StatusForbidden, "", "Any of the domains is not managed by the tenant administrator, or tenant state is deleted.")
	case q.before():
	default:
		from, to, limit, err := siemWindow(r, a.opt.Clock())
		if err != nil {
			fail(http.StatusBadRequest, "", err.Error())
			break
		}
		q.detections(from, to, limit)
	}
	q.end()
}

// siemWindow reads the parameters.
func siemWindow(r *http.Request, now time.Time) (from, to time.Time, limit int, err error) {
	v := make(map[string]string)
	for k, list := range r.URL.Query() {
		v[strings.ToLower(k)] = list[0]
	}
	from, to = now.Add(-2*time.Hour), now
	if ago, ok := v["ago"]; ok {
		if v["sincetimeutc"] != "" || v["untiltimeutc"] != "" {
			return from, to, 0, errors.New("ago does not go with sinceTimeUtc or untilTimeUtc")
		}
		d, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(ago, "P"), "T")))
		if err != nil {
			return from, to, 0, errors.New("ago is no duration")
		}
		from = now.Add(-d)
	}
	for name, dest := range map[string]*time.Time{"sincetimeutc": &from, "untiltimeutc": &to} {
		if s := v[name]; s != "" {
			if *dest, err = siemTime(s); err != nil {
				return from, to, 0, err
			}
		}
	}
	if s := v["limit"]; s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 0 {
			return from, to, 0, errors.New("limit is no number")
		}
	}
	return from, to, limit, nil
}

// siemTime takes the spellings of reference siem-api §3.
func siemTime(s string) (time.Time, error) {
	s = strings.Trim(s, `"`)
	if len(s) > 19 && s[len(s)-6] == ' ' {
		s = s[:len(s)-6] + "+" + s[len(s)-5:] // an unescaped + arrives as a blank
	}
	for _, form := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("the time cannot be read")
}

// detections answers the rows of a window, shuffled.
func (q *request) detections(from, to time.Time, limit int) {
	body := []byte{'['}
	q.a.opt.Estate.See(q.caller.Tenant, estate.SIEM, q.a.opt.Clock(), func(v estate.View) {
		i, _ := slices.BinarySearchFunc(v.Rows, from, func(r *estate.Row, t time.Time) int { return r.Changed.Compare(t) })
		var rows []*estate.Row
		for _, r := range v.Rows[i:] {
			if !r.Changed.Before(to) {
				break
			}
			rows = append(rows, r)
		}
		if f, ok := q.has(fault.NewestOnly); ok && (limit == 0 || limit > f.Param) {
			limit = f.Param
		}
		if limit > 0 && len(rows) > limit {
			rows = rows[len(rows)-limit:]
		}
		for i := range rows {
			j := (i*31 + v.Read*7) % len(rows)
			rows[i], rows[j] = rows[j], rows[i]
		}
		for i, r := range rows {
			if i > 0 {
				body = append(body, ',')
			}
			start := len(body)
			body = q.a.opt.Estate.RenderDetection(body, r)
			q.row(r, body[start:])
		}
	})
	q.send(http.StatusOK, append(body, ']'))
}
