package gdap

import (
	"slices"
	"time"

	"drover"
)

// Seen is what a ledger remembers of the partner's customers: the last list that
// could be had, and since when each is known. No credential is in it.
type Seen struct {
	At        time.Time                     `json:"at"`
	Partner   drover.TenantID               `json:"partner"`
	Account   string                        `json:"account"`          // who signed in, to read
	Planned   time.Time                     `json:"planned,omitzero"` // when somebody last looked at all of them to connect them
	First     map[drover.TenantID]time.Time `json:"first"`            // when each was seen first
	Gone      map[drover.TenantID]time.Time `json:"gone,omitempty"`   // since when one has had no active relationship that had one
	Customers []Customer                    `json:"customers"`
}

// News is what a list brought that the one before did not have.
type News struct {
	New      []Customer // with an active relationship, and not seen before
	Gone     []Customer // the last active relationship is not there any more
	Doubtful bool       // it is empty and the one before was not: it counts for nothing
}

// Update takes over a list. One that names nobody, where the one before did,
// changes nothing.
func (s *Seen) Update(list []Customer, now time.Time) (n News) {
	if len(list) == 0 && len(s.Customers) > 0 {
		return News{Doubtful: true}
	}
	if s.First == nil {
		s.First = make(map[drover.TenantID]time.Time)
	}
	if s.Gone == nil {
		s.Gone = make(map[drover.TenantID]time.Time)
	}
	listed := make(map[drover.TenantID]bool)
	for _, c := range list {
		listed[c.Tenant] = true
		if c.Standing() != Related {
			continue
		}
		delete(s.Gone, c.Tenant)
		if _, known := s.First[c.Tenant]; !known {
			s.First[c.Tenant] = now
			n.New = append(n.New, c)
		}
	}
	kept := slices.Clone(list)
	for _, old := range s.Customers {
		i := slices.IndexFunc(list, func(c Customer) bool { return c.Tenant == old.Tenant })
		current := old
		if i >= 0 {
			current = list[i]
		} else {
			current.Relationships, current.Lists = nil, nil
			kept = append(kept, current)
		}
		if _, was := s.First[old.Tenant]; was && current.Standing() != Related && s.Gone[old.Tenant].IsZero() {
			s.Gone[old.Tenant] = now
			n.Gone = append(n.Gone, current)
		}
	}
	s.Customers, s.At = kept, now
	return n
}

// New reports whether a customer appeared after somebody last looked at all of
// them to connect them.
func (s *Seen) New(id drover.TenantID) bool {
	first, ok := s.First[id]
	return ok && first.After(s.Planned)
}
