package authority

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// PartnerSwitches choose among readings of what is contested or unknown of
// partners (reference partner-gdap). The zero value is the milder one.
// docs/lab-partner.md has the list.
type PartnerSwitches struct {
	// The sign-in.
	NoMFA bool `json:"no_mfa"` // it has no second factor, whatever is asked for
	NoAMR bool `json:"no_amr"` // no token says how somebody signed in

	// Entering a customer; -1: "User was not found." without a number.
	NoRelationship int  `json:"no_relationship"` // 0: 50020
	NoGroup        int  `json:"no_group"`        // 0: 50020
	NoPrincipal    int  `json:"no_principal"`    // 0: 700016
	Guest          int  `json:"guest"`           // 0: 65001
	Unsupported    bool `json:"unsupported"`     // Graph answers 400 where no role maps to anything
	// Scoped: Defender's device groups show a partner's user about half of the
	// alerts and incidents, with 200 and without a word.
	Scoped bool `json:"scoped"`
	// RelationshipDelay is how long a relationship lets in unevenly after it has
	// been activated.
	RelationshipDelay Span `json:"relationship_delay"`
	ActiveAfterEnd    bool `json:"active_after_end"` // it is called active after its end, and lets nobody in

	// Consent through Partner Center.
	Conflict      bool `json:"conflict"`        // one that is there is 409, not 400
	ManyRefused   bool `json:"many_refused"`    // two resources in one request are 400
	BlankNeeded   bool `json:"blank_needed"`    // scopes without a blank behind the comma are 400
	NoEffect      bool `json:"no_effect"`       // 201, and nothing has happened
	GrantNoEffect bool `json:"grant_no_effect"` // the same of a role, at Graph
	Indirect      bool `json:"indirect"`        // an indirect reseller's: no calls of the API
	OfCustomer    bool `json:"of_customer"`     // who is no customer by contract is 404

	// Lists.
	Empty            bool   `json:"empty"`          // every one is 200 and empty
	FailPage         int    `json:"fail_page"`      // that page of the relationships is 500; from 1
	PageSize         int    `json:"page_size"`      // no page is longer, whatever is asked for
	NullDates        bool   `json:"null_dates"`     // of relationships
	UnknownStatus    string `json:"unknown_status"` // of those that are not active
	GroupsRefused    bool   `json:"groups_refused"` // nobody says of which groups the account is
	ContractsRefused bool   `json:"contracts_refused"`

	// Throttling of Partner Center.
	CenterPerMinute int  `json:"center_per_minute"` // calls until 429; 0: any number
	NoRetryAfter    bool `json:"no_retry_after"`
	PlainTooMany    bool `json:"plain_too_many"` // the 429's body is bare text
}

func (s PartnerSwitches) check() error {
	for name, n := range map[string]int{"fail_page": s.FailPage, "page_size": s.PageSize, "center_per_minute": s.CenterPerMinute, "relationship_delay": int(s.RelationshipDelay)} {
		if n < 0 {
			return fmt.Errorf("%s is not negative", name)
		}
	}
	return nil
}

// SwitchPartner changes switches while requests may be under way.
func (d *Directory) SwitchPartner(change func(*PartnerSwitches)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.Partner)
}

// partnerControl is what concerns partners; docs/lab-partner.md has the list.
func (s *Server) partnerControl(mux *http.ServeMux) {
	d := s.opt.Directory
	mux.HandleFunc("/partner/switches", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		now := d.Partner
		d.mu.Unlock()
		serveSwitches(w, r, now, func(next PartnerSwitches) { d.SwitchPartner(func(s *PartnerSwitches) { *s = next }) })
	})
	mux.HandleFunc("GET /partner/relationships", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, d.Relationships())
	})
	mux.HandleFunc("PUT /partner/relationships/{id}", func(w http.ResponseWriter, r *http.Request) {
		all := d.Relationships()
		one := Relationship{ID: r.PathValue("id")}
		if i := slices.IndexFunc(all, func(o Relationship) bool { return o.ID == one.ID }); i >= 0 {
			one = all[i] // what is not named stays
		}
		if !readJSON(w, r, &one) {
			return
		}
		one.ID = r.PathValue("id")
		for _, tenant := range []*string{&one.Partner, &one.Customer} {
			id, _, ok := d.Tenant(*tenant)
			if !ok {
				wrong(w, http.StatusBadRequest, errors.New("partner and customer are tenants of the lab"))
				return
			}
			*tenant = id
		}
		d.Relate(one)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /partner/relationships/{id}", func(w http.ResponseWriter, r *http.Request) {
		if !d.Unrelate(r.PathValue("id")) {
			wrong(w, http.StatusNotFound, errors.New("there is no such relationship"))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /partner/users/{name}/groups", func(w http.ResponseWriter, r *http.Request) {
		var groups []string
		if !readJSON(w, r, &groups) {
			return
		}
		d.Join(r.PathValue("name"), groups...)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("PUT /partner/contracts/{partner}/{customer}", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Name string `json:"name"`
		}
		if !readJSON(w, r, &in) {
			return
		}
		partner, _, ok1 := d.Tenant(r.PathValue("partner"))
		customer, _, ok2 := d.Tenant(r.PathValue("customer"))
		if !ok1 || !ok2 {
			wrong(w, http.StatusNotFound, errors.New("there is no such tenant"))
			return
		}
		d.Contract(partner, customer, in.Name)
		w.WriteHeader(http.StatusNoContent)
	})
}
