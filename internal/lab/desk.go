package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
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
		answer(w, http.StatusOK, map[string]any{"app": l.appID, "customers": l.customers, "desks": []string{"/lab/ca.pem", "/lab/faults", "/lab/kinds", "/lab/switches", "/lab/entra/", "/lab/portal", "/lab/alerts", "/lab/truth", "/lab/splunk/"}})
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
	mux.HandleFunc("POST /lab/alerts", l.alert)
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
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ask); err != nil {
		http.Error(w, "want a JSON object: "+err.Error(), http.StatusBadRequest)
		return
	}
	known := false
	for _, c := range l.customers {
		known = known || c.Tenant == ask.Tenant
	}
	if !known {
		http.Error(w, "there is no tenant "+strconv.Quote(ask.Tenant), http.StatusNotFound)
		return
	}
	now, there := l.opt.Clock(), ask.ID == ""
	l.estate.See(ask.Tenant, estate.Graph, now, func(v estate.View) {
		for _, row := range v.Rows {
			there = there || row.ID == ask.ID
		}
	})
	switch {
	case !there:
		http.Error(w, "there is no alert "+strconv.Quote(ask.ID), http.StatusNotFound)
		return
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
