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

	IncidentsPerMinute int    `json:"incidents_per_minute" what:"the same at Graph's incidents"`
	IncidentsPerHour   int    `json:"incidents_per_hour" what:"the same an hour; both hold"`
	MDEPerMinute       int    `json:"mde_per_minute" what:"the same at the API of Defender for Endpoint"`
	MDEPerHour         int    `json:"mde_per_hour" what:"the same an hour; both hold"`
	HourWindow         bool   `json:"hour_window" what:"an hour's limit is counted from its first request on, and a 429 asks to wait until it is over; else a bucket"`
	Code429            string `json:"code_429" what:"code of a 429 of incidents and Defender for Endpoint: name (or empty), number, turns"`

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

	ExpandLimit int `json:"expand_limit" what:"incidents with more alerts answer 500 to $expand=alerts, again and again; 0: none does"`

	MDELinks          bool   `json:"mde_links" what:"Defender for Endpoint: nextLinks; else none, however many rows there are"`
	MDECap            int    `json:"mde_cap" what:"Defender for Endpoint: rows of an answer at most, and without $top; 0: 10,000"`
	MDETopRefused     bool   `json:"mde_top_refused" what:"Defender for Endpoint: $top above that is refused with 400; else clamped"`
	MDEFewerFilters   bool   `json:"mde_fewer_filters" what:"Defender for Endpoint: $filter over the seven properties that both pages list; else over eleven"`
	MDEStrictOptions  bool   `json:"mde_strict_options" what:"Defender for Endpoint: $orderby, $select and $count are refused with 400; else taken"`
	MDEOneBare        bool   `json:"mde_one_bare" what:"Defender for Endpoint: an alert by ID has no evidence without $expand=evidence; else it has"`
	MDEStrictAudience bool   `json:"mde_strict_audience" what:"Defender for Endpoint: tokens for its documented audiences only; else those of the Defender XDR API and, at GCC, of the commercial cloud too"`
	MDEAudience401    bool   `json:"mde_audience_401" what:"Defender for Endpoint: a token for another audience is answered 401; else 403"`
	MDERetired        string `json:"mde_retired" what:"Defender for Endpoint: gone (410), unresolved (its names do not resolve) or refused (nobody listens); empty: it is there"`
}

// Documented returns the switches at what Microsoft documents of one app in one
// tenant: 150 requests a minute at Graph's alerts, 100 a minute and 1,500 an
// hour at Defender for Endpoint. For incidents those of the native API are
// taken, 50 and 1,500, since Graph's page has none.
func Documented() Switches {
	return Switches{PerMinute: 150, IncidentsPerMinute: 50, IncidentsPerHour: 1500, MDEPerMinute: 100, MDEPerHour: 1500}
}

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
	switch s.Code429 {
	case "", "name", "number", "turns":
	default:
		return "code_429 is name, number or turns"
	}
	switch s.MDERetired {
	case "", retiredGone, retiredUnresolved, retiredRefused:
	default:
		return "mde_retired is gone, unresolved or refused"
	}
	if min(s.PerMinute, s.SIEMPerMinute, s.IncidentsPerMinute, s.IncidentsPerHour, s.MDEPerMinute, s.MDEPerHour, s.LastOffset, s.ExpandLimit, s.MDECap) < 0 {
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
