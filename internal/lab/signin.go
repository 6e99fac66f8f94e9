package lab

import (
	"net"
	"net/http"
	"strings"
)

// signInDesk is for whoever drives the lab, and no part of the pretend cloud:
// /lab/entra/ is the authority's control, /lab/portal the customers' MSSP tab.
func (l *Lab) signInDesk() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/lab/entra/", http.StripPrefix("/lab/entra", l.auth.Control()))
	mux.HandleFunc("/lab/portal", l.auth.Portal)
	return onlyHere(mux)
}

// onlyHere refuses what a page of another site could have a browser send: the
// desks have no sign-in. The host must be the machine itself or one of the
// lab's names, so that no other name can be made to lead here.
func onlyHere(h http.Handler) http.Handler {
	guarded := http.NewCrossOriginProtection().Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "localhost" && !strings.HasSuffix(host, ".lab.test") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "the lab's desks answer to localhost, 127.0.0.1 and *.lab.test only", http.StatusForbidden)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}
