package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"drover/internal/lab/estate"
	"drover/internal/lab/fault"
)

// deskPath is reserved on every host for whoever drives the lab. It has no
// sign-in: the lab is for loopback.
const deskPath = "/lab/"

// desk serves what lies below deskPath; docs/lab.md has the list.
func (l *Lab) desk() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /lab/{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"app": l.appID, "customers": l.customers, "desks": []string{"/lab/ca.pem", "/lab/faults", "/lab/kinds", "/lab/switches", "/lab/entra/", "/lab/portal", "/lab/alerts", "/lab/incidents", "/lab/truth", "/lab/keyvault", "/lab/splunk/"}})
	})
	mux.HandleFunc("GET /lab/ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(l.CAPEM())
	})
	mux.Handle("/lab/faults", l.faults)
	mux.HandleFunc("GET /lab/kinds", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"kinds": fault.Kinds(), "bad_rows": fault.BadRows})
	})
	mux.HandleFunc("/lab/switches", l.api.Desk)
	mux.Handle("/lab/entra/", http.StripPrefix("/lab/entra", l.auth.Control()))
	mux.HandleFunc("/lab/portal", l.auth.Portal)
	mux.Handle("/lab/issuer/", l.auth.Issuers())
	mux.HandleFunc("/lab/keyvault", l.keys.Control)
	mux.HandleFunc("POST /lab/alerts", l.alert)
	mux.HandleFunc("POST /lab/incidents", l.incident)
	mux.HandleFunc("GET /lab/truth", l.showTruth)
	if s, ok := l.opt.Splunk.(interface{ Control() http.Handler }); ok {
		mux.Handle("/lab/splunk/", http.StripPrefix("/lab/splunk", s.Control()))
	}
	return onlyHere(mux)
}

// onlyHere refuses what a page of another site could have a browser send: the
// desks have no sign-in. The host must be the machine itself or one of the
// lab's names, so that no other name can be made to lead here.
func onlyHere(h http.Handler) http.Handler {
	guarded := http.NewCrossOriginProtection().Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := bare(r.Host)
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "localhost" && !strings.HasSuffix(host, ".lab.test") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "the lab's desks answer to localhost, 127.0.0.1 and *.lab.test only", http.StatusForbidden)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// alert makes a new alert in a customer's tenant now, or changes one.
func (l *Lab) alert(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Tenant string `json:"tenant"`
		ID     string `json:"id"`     // of one that is visible; "": a new one
		Silent bool   `json:"silent"` // the change time stays
		Back   bool   `json:"back"`   // into the state before the last change
	}
	if !l.order(w, r, &ask, &ask.Tenant, estate.Graph, &ask.ID) {
		return
	}
	now := l.opt.Clock()
	switch {
	case ask.ID == "":
		ask.ID = fmt.Sprintf("da%08x-0000-4000-b000-%012d_1", l.opt.Seed&0xffffffff, l.made.Add(1))
		l.estate.Put(ask.Tenant, estate.Graph, estate.Row{ID: ask.ID, Created: now.UTC(), Changed: now.UTC(), Visible: now})
	case ask.Back:
		l.estate.Return(ask.Tenant, ask.ID, now)
	default:
		l.estate.Change(ask.Tenant, ask.ID, now, ask.Silent)
	}
	answer(w, http.StatusOK, map[string]string{"id": ask.ID})
}

// order reads what is asked of a desk, and refuses what names a tenant or rows
// of a source that are not there.
func (l *Lab) order(w http.ResponseWriter, r *http.Request, ask any, tenant *string, source string, ids ...*string) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	dec.DisallowUnknownFields()
	if err := dec.Decode(ask); err != nil {
		http.Error(w, "want a JSON object: "+err.Error(), http.StatusBadRequest)
		return false
	}
	if !slices.ContainsFunc(l.customers, func(c Customer) bool { return c.Tenant == *tenant }) {
		http.Error(w, "there is no tenant "+strconv.Quote(*tenant), http.StatusNotFound)
		return false
	}
	for _, id := range ids {
		there := *id == ""
		l.estate.See(*tenant, source, l.opt.Clock(), func(v estate.View) {
			there = there || slices.ContainsFunc(v.Rows, func(row *estate.Row) bool { return row.ID == *id })
		})
		if !there {
			http.Error(w, "there is no "+strconv.Quote(*id)+" in "+source, http.StatusNotFound)
			return false
		}
	}
	return true
}

// incident makes a new incident in a customer's tenant now, changes one, or
// merges it into another.
func (l *Lab) incident(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Tenant string `json:"tenant"`
		ID     string `json:"id"`     // of one that is visible; "": a new one
		Into   string `json:"into"`   // merged into that one
		Silent bool   `json:"silent"` // the change time stays
	}
	if !l.order(w, r, &ask, &ask.Tenant, estate.Incidents, &ask.ID, &ask.Into) {
		return
	}
	now := l.opt.Clock()
	switch {
	case ask.ID == "":
		ask.ID = strconv.FormatInt(500_000_000+l.made.Add(1), 10)
		l.estate.Put(ask.Tenant, estate.Incidents, estate.Row{ID: ask.ID, Created: now.UTC(), Changed: now.UTC(), Visible: now})
	case ask.Into != "":
		l.estate.MergeIncident(ask.Tenant, ask.ID, ask.Into, now)
	default:
		l.estate.ChangeIncident(ask.Tenant, ask.ID, now, ask.Silent)
	}
	answer(w, http.StatusOK, map[string]string{"id": ask.ID})
}

// showTruth serves the truth log from a byte on; X-Lab-Next says from where to
// ask next.
func (l *Lab) showTruth(w http.ResponseWriter, r *http.Request) {
	log, ok := l.opt.Truth.(io.ReaderAt)
	if !ok {
		http.Error(w, "the truth log is not kept where it can be read back", http.StatusNotFound)
		return
	}
	size := l.truth.Size()
	from, err := strconv.ParseInt(strings.TrimSpace(r.URL.Query().Get("from")), 10, 64)
	if err != nil {
		from = 0
	}
	from = min(max(from, 0), size)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Lab-Next", strconv.FormatInt(size, 10))
	_, _ = io.Copy(w, io.NewSectionReader(log, from, size-from))
}
