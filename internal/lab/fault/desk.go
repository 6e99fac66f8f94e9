package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// ruleJSON is a rule as the desk reads and shows it.
type ruleJSON struct {
	*plainRule
	Obey string `json:"obey,omitempty"` // as "30s"
	For  string `json:"for,omitempty"`  // to = from (or now) + for
	ID   int    `json:"id,omitempty"`
	Hits *int   `json:"hits,omitempty"`
}

type plainRule Rule

// MarshalJSON shows the rule with its number and how often it hit.
func (r Rule) MarshalJSON() ([]byte, error) {
	p := plainRule(r)
	out := ruleJSON{plainRule: &p, ID: r.id}
	if r.id != 0 {
		out.Hits = &r.hits
	}
	if r.Obey > 0 {
		out.Obey = r.Obey.String()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads a rule and refuses members that it does not know.
func (r *Rule) UnmarshalJSON(text []byte) error {
	var p plainRule
	in := ruleJSON{plainRule: &p}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	var err error
	if in.Obey != "" {
		if p.Obey, err = time.ParseDuration(in.Obey); err != nil {
			return fmt.Errorf("obey: %w", err)
		}
	}
	if in.For != "" {
		if p.span, err = time.ParseDuration(in.For); err != nil {
			return fmt.Errorf("for: %w", err)
		}
	}
	*r = Rule(p)
	return nil
}

// ServeHTTP is the desk: GET shows the rules, POST adds an array of them, PUT
// replaces all, DELETE removes all or that of ?id=.
func (d *Dealer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost, http.MethodPut:
		var rules []Rule
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&rules); err != nil {
			http.Error(w, "want a JSON array of rules: "+err.Error(), http.StatusBadRequest)
			return
		}
		for i := range rules {
			if err := rules[i].Check(); err != nil {
				http.Error(w, fmt.Sprintf("rule %d: %v", i+1, err), http.StatusBadRequest)
				return
			}
		}
		if r.Method == http.MethodPut {
			d.Clear()
		}
		d.Set(rules...)
	case http.MethodDelete:
		id := r.URL.Query().Get("id")
		if id == "" {
			d.Clear()
			break
		}
		n, err := strconv.Atoi(id)
		if err != nil || !d.remove(n) {
			http.Error(w, "there is no rule "+id, http.StatusNotFound)
			return
		}
	default:
		w.Header().Set("Allow", "GET, POST, PUT, DELETE")
		http.Error(w, "GET, POST, PUT or DELETE", http.StatusMethodNotAllowed)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rules := make([]Rule, len(d.rules)) // never null
	for i, rule := range d.rules {
		rules[i] = *rule
	}
	_ = json.NewEncoder(w).Encode(rules)
}

// remove takes one rule away.
func (d *Dealer) remove(id int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.rules)
	d.rules = slices.DeleteFunc(d.rules, func(r *Rule) bool { return r.id == id })
	return len(d.rules) < n
}
