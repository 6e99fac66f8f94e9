package api

import (
	"encoding/json"
	"net/http"

	"drover/internal/lab/estate"
)

// Switches choose among readings of what no document settles, and between the
// service on most days and on its worst. The zero value limits nothing and
// takes the milder reading; the tag says what a switch does, and docs/lab.md
// has the same text.
type Switches struct {
	PerMinute     int    `json:"per_minute" what:"requests of one app in one tenant a minute, a token bucket; 0: any number"`
	SIEMPerMinute int    `json:"siem_per_minute" what:"the same at the SIEM API"`
	RetryAfter    string `json:"retry_after" what:"of a 429 by the bucket: integer (or empty), fractional, none"`

	TopRefused      bool `json:"top_refused" what:"$top above 1000 is refused with 400 and an empty code; else clamped"`
	SkipToken       bool `json:"skiptoken" what:"nextLinks carry $skiptoken from the first page on; else $skip up to 500"`
	LastOffset      int  `json:"last_offset" what:"no nextLink leads beyond this offset, though there is more; 0: any"`
	NewestByCreated bool `json:"newest_by_created" what:"without $orderby the newest createdDateTime comes first; else the newest lastUpdateDateTime"`
	StrictRegion    bool `json:"strict_region" what:"a SIEM host of another region than the tenant's answers 403"`
	SIEMNewestFirst bool `json:"siem_newest_first" what:"detections come newest first; else shuffled"`
	SIEMFields      int  `json:"siem_fields" what:"fields of a detection: 33 (2017), 46 (2018), 48 (2019) or 50 (or 0)"`
	SIEMNulls       bool `json:"siem_nulls" what:"null where a detection has no text; else an empty text"`
	SIEMCommas      bool `json:"siem_commas" what:"lists in a detection are separated by a comma and a blank; else by a semicolon"`
	SIEMOldTagNames bool `json:"siem_old_names" what:"BuiltInMachineTags, UserDefinedMachineTags, IoaDefinitiondId"`
	SIEMOff         bool `json:"siem_off" what:"the SIEM API is switched off: 410 for everything"`
}

// Documented returns the switches at what Microsoft documents: 150 requests a
// minute of one app in one tenant.
func Documented() Switches { return Switches{PerMinute: 150} }

func (s *Switches) shape() estate.Shape {
	return estate.Shape{Fields: s.SIEMFields, Nulls: s.SIEMNulls, Commas: s.SIEMCommas, OldNames: s.SIEMOldTagNames}
}

// check names a value that is none of its switch's.
func (s *Switches) check() string {
	switch s.RetryAfter {
	case "", "integer", "fractional", "none":
	default:
		return "retry_after is integer, fractional or none"
	}
	switch s.SIEMFields {
	case 0, 33, 46, 48, 50:
	default:
		return "siem_fields is 33, 46, 48 or 50"
	}
	if s.PerMinute < 0 || s.SIEMPerMinute < 0 || s.LastOffset < 0 {
		return "a number is below 0"
	}
	return ""
}

// Switches returns them as they stand.
func (a *API) Switches() Switches {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.switches
}

// Switch changes switches while requests may be under way.
func (a *API) Switch(change func(*Switches)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.switches)
}

// Desk is the desk of the switches: GET shows them, PATCH changes those that it
// names, PUT sets all.
func (a *API) Desk(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
	case http.MethodPatch, http.MethodPut:
		next := a.switches
		if r.Method == http.MethodPut {
			next = Switches{}
		}
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&next); err != nil {
			http.Error(w, "want a JSON object of switches: "+err.Error(), http.StatusBadRequest)
			return
		}
		if wrong := next.check(); wrong != "" {
			http.Error(w, wrong, http.StatusBadRequest)
			return
		}
		a.switches = next
	default:
		w.Header().Set("Allow", "GET, PATCH, PUT")
		http.Error(w, "GET, PATCH or PUT", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a.switches)
}
