package splunk

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// maxControl bounds the body of a control request in bytes.
const maxControl = 64 << 10

// Control is the receiver's own desk, JSON over HTTP. It has no sign-in: mount
// it where only whoever drives a run can reach it. No answer holds the value of
// a token.
//
//	GET    /            faults that are set, kinds there are, counters
//	POST   /faults      a Fault (times in RFC 3339, delay and for in nanoseconds or as "5s") → {"id":n}
//	DELETE /faults      all; DELETE /faults/{id} one
//	POST   /restart     acknowledgement ids are lost
//	POST   /nodes       {"nodes":n}
//	PUT    /tokens      a Token
//	POST   /tokens/{name}/disable, /tokens/{name}/enable
func (r *Receiver) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"faults": r.Faults(), "kinds": Kinds(), "counters": r.Counters()})
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, req *http.Request) {
		var ask struct {
			Fault
			Delay duration `json:"delay"`
			For   duration `json:"for"` // until = from (or now) + for
		}
		if !readJSON(w, req, &ask) {
			return
		}
		f := ask.Fault
		f.Delay = time.Duration(ask.Delay)
		if ask.For > 0 {
			start := f.From
			if start.IsZero() {
				start = r.opt.Now()
			}
			f.Until = start.Add(time.Duration(ask.For))
		}
		id, err := r.Set(f)
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, map[string]int{"id": id})
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		r.Unset(0)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /faults/{id}", func(w http.ResponseWriter, req *http.Request) {
		if id, err := strconv.Atoi(req.PathValue("id")); err != nil || id <= 0 || !r.Unset(id) {
			writeJSON(w, http.StatusNotFound, map[string]string{"error": "no fault has this id"})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /restart", func(w http.ResponseWriter, _ *http.Request) {
		r.Restart()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /nodes", func(w http.ResponseWriter, req *http.Request) {
		var ask struct {
			Nodes int `json:"nodes"`
		}
		if !readJSON(w, req, &ask) {
			return
		}
		if ask.Nodes < 1 || ask.Nodes > 1000 {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": "nodes is from 1 to 1000"})
			return
		}
		r.SetNodes(ask.Nodes)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /tokens", func(w http.ResponseWriter, req *http.Request) {
		var t Token
		if !readJSON(w, req, &t) {
			return
		}
		if err := r.PutToken(t); err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	disable := func(disabled bool) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if err := r.DisableToken(req.PathValue("name"), disabled); err != nil {
				writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}
	mux.HandleFunc("POST /tokens/{name}/disable", disable(true))
	mux.HandleFunc("POST /tokens/{name}/enable", disable(false))
	return mux
}

// duration reads "5s" or a number of nanoseconds.
type duration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *duration) UnmarshalJSON(b []byte) error {
	var n int64
	if json.Unmarshal(b, &n) == nil {
		*d = duration(n)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New(`a duration is a text like "5s" or a number of nanoseconds`)
	}
	v, err := time.ParseDuration(s)
	*d = duration(v)
	return err
}

func readJSON(w http.ResponseWriter, req *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxControl))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "read request: " + err.Error()})
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked is gone
}
